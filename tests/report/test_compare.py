"""Several runs on one page."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from groundscope.errors import StudyError
from groundscope.mechanism.causal import CONTROLS
from groundscope.mechanism.conclusions import MECHANISM_CONCLUSIONS
from groundscope.mechanism.lens_table import LENS
from groundscope.report.compare import differences, joined_run, write_comparison
from groundscope.report.run import open_run
from groundscope.tables import write_table

CLAIMS = (
    "aggregate_heads_matter",
    "aggregate_heads_carry_grounding",
    "gather_heads_matter",
    "gather_heads_do_not_matter",
)


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """A shorter run of one model."""
    return make_run(tmp_path_factory.mktemp("runs") / "short", archs=("transformer-4",), steps=(0, 100, 300))


def test_models_keep_their_numbers_under_their_runs_names(plain_run: Path, other_run: Path) -> None:
    runs = {"A": open_run(plain_run), "B": open_run(other_run)}
    joined = joined_run(runs)
    assert joined.archs == ("A transformer-4", "A lstm-4", "B transformer-4")
    own, shown = runs["B"].evidence, joined.evidence
    assert own is not None
    assert shown is not None
    assert shown.filter(arch="B transformer-4").drop("arch").equals(own.filter(arch="transformer-4").drop("arch"))
    assert len({mark.colour for mark in joined.marks.values()}) == 3


def test_what_differs_is_listed_and_nothing_else(plain_run: Path, other_run: Path) -> None:
    runs = {"A": open_run(plain_run), "B": open_run(other_run)}
    rows = dict(differences(runs))
    assert rows["models.lstm-4.preset"] == ["lstm-4", "–"]
    assert "corpus.source" not in rows
    assert differences({"one": runs["A"], "two": runs["A"]}) == []


def test_settings_of_a_run_that_has_only_begun_are_not_told_as_absent(plain_run: Path, tmp_path: Path) -> None:
    (tmp_path / "begun" / "catalogue").mkdir(parents=True)
    rows = dict(differences({"A": open_run(plain_run), "B": open_run(tmp_path / "begun")}))
    assert rows["models.lstm-4.preset"] == ["lstm-4", "not known yet"]


def test_the_page_holds_verdicts_of_each_run(plain_run: Path, other_run: Path, tmp_path: Path) -> None:
    page = write_comparison([plain_run, other_run], tmp_path / "both.html")
    html = page.read_text(encoding="utf-8")
    for text in ("What differs", "A: toyworld", "B: short", "B transformer-4", 'id="gain"'):
        assert text in html
    assert write_comparison([plain_run, other_run]).name == "compare-with-short.html"
    with pytest.raises(StudyError, match="given twice"):
        write_comparison([plain_run, plain_run])


def test_what_several_runs_measured_of_heads_is_read_from_all(
    plain_run: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_run(tmp_path / "heads", archs=("mamba2-4",), steps=(0, 300))
    for folder, arch, effect in ((plain_run, "transformer-4", 0.5), (other, "mamba2-4", 0.25)):
        copy = tmp_path / f"with-{arch}"
        shutil.copytree(folder, copy)
        row = {
            "arch": arch, "step": 300, "claim": "aggregate_heads_matter", "estimate": effect, "ci_low": effect - 0.1,
            "ci_high": effect + 0.1, "p_holm": 0.001, "holds": True, "note": "", "n_seeds": 2, "n_words": 9,
            "mean_count": 2.0,
        }  # fmt: skip
        rows = [{**row, "claim": claim, "against": control} for claim in CLAIMS for control in CONTROLS]
        write_table(copy / f"tables/{MECHANISM_CONCLUSIONS.name}.parquet", complete(rows), MECHANISM_CONCLUSIONS)
        layers = {"step": 300, "tokens_seen": 1, "layer": 0, "lens": "tuned", "word": "cup", "n_prompts": 1, "seed": 42}
        read = [{**layers, "arch": arch, "condition": "match", "surprisal_nats": effect, "weight_hash": "x"}]
        write_table(copy / f"tables/{LENS.name}.parquet", LENS.frame(read), LENS)
    page = write_comparison([tmp_path / "with-transformer-4", tmp_path / "with-mamba2-4"], tmp_path / "both.html")
    html = page.read_text(encoding="utf-8")
    for text in (
        "0.50 nats [0.40, 0.60] than without random heads",
        "0.25 nats [0.15, 0.35] than without random heads",
    ):
        assert text in html.replace("\u00a0", " ").replace("\u202f", " ")
    assert "A transformer-4: surprisal by layer" in html
    assert "B mamba2-4: surprisal by layer" in html


def complete(rows: list[dict]) -> pl.DataFrame:
    frame = pl.DataFrame(rows)
    missing = [name for name in MECHANISM_CONCLUSIONS.dtypes if name not in rows[0]]
    return MECHANISM_CONCLUSIONS.conform(frame.with_columns(pl.lit(None).alias(name) for name in missing))
