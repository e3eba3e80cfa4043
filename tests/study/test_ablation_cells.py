"""An ablation in a study: which cells, from which corpora, and the table that sets G against the share removed."""

from pathlib import Path

import polars as pl
import pytest

from groundscope.behaviour.dose_tests import FALLS, LEFT, SPECIFIC
from groundscope.cli import main
from groundscope.study.load import load_study
from groundscope.study.plan import plan

SMALL = [
    "name=small", "corpus.world.documents=300", "corpus.world.nouns=12", "corpus.world.described=0.3",
    "corpus.world.cooccurrence=0.5", "corpus.chunks.length=32", "behaviour.minimum=20", "behaviour.controls=[]",
    "behaviour.directions=[env2lan]", "seeds=[1]", "statistics.resamples=100",
    "models={transformer-4: {preset: transformer-4, d_model: 32, n_heads: 2}}",
    "training.steps=6", "training.warmup_steps=2", "training.batch_size=4", "training.checkpoints=[0, 2, 4]",
    "training.precision=fp32", "mechanism=null", "lens=null",
    "ablation={remove: [0, 50, 100], at: [0], arms: [cooccurring, random, separated]}",
]  # fmt: skip


ARMS = ("cooccurring", "random", "separated")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    arguments = ["run", "--quiet", "--out", str(out), *(part for s in SMALL for part in ("--set", s))]
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert not done.value.code
    return out


def test_each_dose_is_a_corpus_a_training_and_its_checkpoints() -> None:
    cells = plan(load_study(None, SMALL), Path("run"), lambda run, page: page)
    names = [cell.name for cell in cells if cell.kind == "ablation"]
    assert names[:6] == [f"ablation/{arm}-{share}/corpus" for share in ("050", "100") for arm in ARMS]
    for dose in ("cooccurring-050", "random-100"):
        assert [name for name in names[6:] if dose in name] == [
            f"ablation/{dose}/train/transformer-4/seed-1",
            f"ablation/{dose}/behaviour/transformer-4/seed-1/step-00000000",
            f"ablation/{dose}/behaviour/transformer-4/seed-1/step-00000006",
        ]
    places = [cell.name for cell in cells]
    assert places.index(names[5]) < places.index("train/transformer-4/seed-1"), "what cannot be made fails first"
    assert load_study(None).ablation is None


def test_gain_stands_against_the_share_removed(finished: Path) -> None:
    dose = pl.read_parquet(finished / "tables/dose.parquet")
    assert dose.select("arm", "share_removed").unique().height == 3 * 3
    assert set(dose["step"]) == {0, 6}
    sizes = dict(dose.filter(arm="cooccurring").select("share_removed", "cooccurring_left").unique().iter_rows())
    assert sizes[1.0] == 0
    assert sizes[0.5] == pytest.approx(sizes[0.0] / 2, abs=1)
    chunks = dose.pivot("arm", index=["share_removed", "step"], values="chunks_left")
    assert chunks["random"].equals(chunks["cooccurring"]), "both arms lose as much text"
    assert chunks["separated"].n_unique() == 1, "and this one loses none"
    tested = pl.read_parquet(finished / "tables/dose_conclusions.parquet")
    assert tested["claim"].to_list() == [LEFT, FALLS, LEFT, FALLS, SPECIFIC]
    assert tested["arm"].to_list() == ["cooccurring"] * 2 + ["separated"] * 2 + ["cooccurring"]
    assert tested["control"].to_list() == [None] * 4 + ["random"]
    ends = dict(dose.filter(arm="cooccurring", step=6).select("share_removed", "gain_nats").iter_rows())
    assert tested["estimate_nats"].to_list()[:2] == pytest.approx([ends[1.0], ends[1.0] - ends[0.0]])
    whole = pl.read_parquet(finished / "tables/gain.parquet").filter(step=6)["gain_nats"].mean()
    for arm in ARMS:
        assert dose.filter(arm=arm, share_removed=0.0, step=6)["gain_nats"].item() == pytest.approx(whole)


def test_an_ablated_model_is_measured_on_the_words_of_the_whole_corpus_with_its_own_counts(finished: Path) -> None:
    branch = finished / "ablation/cooccurring-100"
    ablated = pl.read_parquet(branch / "behaviour/transformer-4/seed-1/step-00000006/gain.parquet")
    whole = pl.read_parquet(finished / "tables/gain.parquet").filter(step=6)
    assert set(ablated["word"]) == set(whole["word"])
    assert ablated["cooccurring_chunks"].sum() == 0 < whole["cooccurring_chunks"].sum()
    kept = {path.name for path in (branch / "train/transformer-4/seed-1/checkpoints").iterdir()}
    assert kept == {"step-00000000", "step-00000006"}


def test_doses_are_measured_in_the_frames_that_the_study_keeps(finished: Path) -> None:
    audit = pl.read_parquet(finished / "tables/audit.parquet").filter(step=6).sort("preference_nats", "context")
    within, kept = audit["preference_nats"][2], audit["context"].head(3).to_list()
    settings = [*SMALL, f"behaviour.neutral_within={within}"]
    arguments = ["run", "--quiet", "--out", str(finished), *(part for s in settings for part in ("--set", s))]
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert not done.value.code
    dose = pl.read_parquet(finished / "tables/dose.parquet").filter(step=6)
    for arm, share in (("cooccurring", 100), ("random", 50)):
        place = finished / f"ablation/{arm}-{share:03d}/behaviour/transformer-4/seed-1/step-00000006/surprisal.parquet"
        nats = pl.read_parquet(place).filter(pl.col("context").is_in(kept)).group_by("condition")
        means = dict(nats.agg(pl.col("surprisal_nats").mean()).iter_rows())
        found = dose.filter(arm=arm, share_removed=share / 100)["gain_nats"].item()
        assert found == pytest.approx(means["mismatch"] - means["match"])
    whole = pl.read_parquet(finished / "tables/gain.parquet").filter(step=6)["gain_nats"].mean()
    assert dose.filter(arm="random", share_removed=0.0)["gain_nats"].item() == pytest.approx(whole)
