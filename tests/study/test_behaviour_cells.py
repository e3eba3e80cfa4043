"""Everything that a study asks of behaviour, at a tiny size: which cells, which tables, and what is in them."""

from pathlib import Path

import polars as pl
import pytest

from groundscope.behaviour.options import Control
from groundscope.cli import main
from groundscope.study.load import load_study
from groundscope.study.plan import plan

SMALL = [
    "name=small", "corpus.world.documents=300", "corpus.world.nouns=12", "corpus.chunks.length=64", "seeds=[1, 2]",
    "models={transformer-4: {preset: transformer-4, d_model: 32, n_heads: 2}}",
    "training.steps=6", "training.warmup_steps=2", "training.batch_size=4", "training.checkpoints=[0, 2, 4]",
    "training.precision=fp32", "statistics.resamples=100", "mechanism=null", "lens=null",
    "behaviour.minimum=15", "behaviour.kinds=[noun, verb]", "behaviour.controls_at=[0]",
    f"behaviour.controls=[{', '.join(Control)}]",
]  # fmt: skip


def settings(*more: str) -> list[str]:
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    ages = out.parent / "ages.csv"
    ages.write_text("definition,aoa_months_50pct\nball,16.5\n")
    with pytest.raises(SystemExit) as done:
        main(["run", "--quiet", "--out", str(out), *settings(f"behaviour.acquisition={ages}")])
    assert not done.value.code
    return out


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "tables" / f"{name}.parquet")


def test_kinds_are_measured_among_themselves_and_conclusions_are_about_the_first(finished: Path) -> None:
    gain, words = table(finished, "gain"), table(finished, "words").filter("selected")
    assert gain.select("word", "kind").unique().sort("word").equals(words.select("word", "kind").sort("word"))
    for (kind,), rows in gain.group_by("kind"):
        assert set(rows["n_mismatches"]) == {words.filter(kind=kind).height - 1}
    assert set(table(finished, "kinds")["kind"]) == {"noun", "verb"}
    assert set(table(finished, "crossed")["kind"]) == {"noun", "verb"}
    assert set(table(finished, "word_emergence")["kind"]) == {"noun"}, "so few verbs prove nothing one by one"
    nouns = words.filter(kind="noun").height
    for name in ("evidence", "conclusions", "replication", "controls"):
        found = table(finished, name)
        size = found["word"].n_unique() if name == "controls" else found["n_words"].max()
        assert size == nouns, name


def test_controls_are_measured_where_the_study_says(finished: Path) -> None:
    controls = table(finished, "controls")
    assert set(controls["control"]) == set(Control)
    assert set(controls["step"]) == {0, 6}
    evidence = table(finished, "control_evidence")
    assert evidence.height == len(Control) * 2 * 2  # seeds, steps


def test_frames_are_audited_at_every_checkpoint_and_laid_out_once(finished: Path) -> None:
    audit, contexts = table(finished, "audit"), table(finished, "contexts")
    assert set(audit["step"]) == {0, 2, 4, 6}
    plain = contexts.filter(pl.col("shape") == "plain", pl.col("direction") == "env2lan", ~pl.col("held_out"))
    assert (
        plain.select("kind", "context")
        .sort("kind", "context")
        .equals(audit.select("kind", "context").unique().sort("kind", "context"))
    )
    assert set(contexts["shape"]) == {"plain", "single_word", "filler_first", "distant"}
    assert contexts.filter("held_out").height > 0
    assert contexts.filter(~pl.col("held_out"))["frame_count"].max() > 0  # type: ignore[operator]
    assert table(finished, "neutral_frames")["n_contexts"].max() == plain.filter(kind="noun").height


def test_ages_of_acquisition_stand_beside_the_words(finished: Path) -> None:
    words = table(finished, "word_emergence")
    assert set(words.drop_nulls("age_months")["word"]) <= {"ball"}
    assert table(finished, "acquisition").is_empty(), "one word is too few to agree on"


def test_frames_beyond_a_threshold_can_be_left_out(finished: Path) -> None:
    audit = table(finished, "audit").filter(pl.col("step") == 6)
    preferences = audit.group_by("kind", "context").agg(pl.col("preference_nats").mean())
    middle = preferences.group_by("kind").agg(pl.col("preference_nats").median())["preference_nats"].max()
    arguments = ["run", "--quiet", "--out", str(finished), *settings(f"behaviour.neutral_within={middle}")]
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert not done.value.code
    kept = preferences.filter(pl.col("preference_nats") <= middle, pl.col("kind") == "noun")
    gain = table(finished, "gain").filter(kind="noun")
    assert set(gain["n_contexts"]) == {kept.height}
    assert set(table(finished, "surprisal").filter(kind="noun")["context"]) == set(kept["context"])
    in_controls = dict(table(finished, "controls").select("control", "n_contexts").unique().iter_rows())
    held_out = in_controls.pop("held_out")
    assert set(in_controls.values()) == {kept.height}
    assert held_out == table(finished, "contexts").filter("held_out")["context"].n_unique()


def test_a_plain_study_has_some_controls_at_few_checkpoints() -> None:
    def steps(kind: str, *overrides: str) -> list[int]:
        cells = plan(load_study(None, overrides), Path("run"), lambda run, page: page)
        return [int(cell.name.split("step-")[1]) for cell in cells if cell.name.startswith(f"{kind}/lstm-4/seed-42/")]

    everywhere, few = steps("behaviour"), steps("controls")
    assert len(few) == 5 < len(everywhere)
    assert {everywhere[0], everywhere[-1]} < set(few) < set(everywhere)
    assert steps("controls", "behaviour.controls_at=final") == everywhere[-1:]
    assert steps("controls", "behaviour.controls=[]") == []
