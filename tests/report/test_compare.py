"""Several runs on one page."""

from collections.abc import Callable
from pathlib import Path

import pytest

from groundscope.errors import StudyError
from groundscope.report.compare import differences, joined_run, write_comparison
from groundscope.report.run import open_run


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


def test_the_page_holds_verdicts_of_each_run(plain_run: Path, other_run: Path, tmp_path: Path) -> None:
    page = write_comparison([plain_run, other_run], tmp_path / "both.html")
    html = page.read_text(encoding="utf-8")
    for text in ("What differs", "A: toyworld", "B: short", "B transformer-4", 'id="gain"'):
        assert text in html
    assert write_comparison([plain_run, other_run]).name == "compare-with-short.html"
    with pytest.raises(StudyError, match="given twice"):
        write_comparison([plain_run, plain_run])
