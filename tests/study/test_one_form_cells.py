"""Plain retrieval in a study: the same chunks in one form, models trained on them, and G beside the study's own."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from groundscope.behaviour.one_form import ONE_FORM
from groundscope.cli import main
from groundscope.corpus.chunks import Corpus
from groundscope.errors import StudyError
from groundscope.report.run import open_run
from groundscope.report.sections_behaviour import CONTROLS, RETRIEVED
from groundscope.study.disk import disk_needs
from groundscope.study.load import load_study

SMALL = [
    "name=small", "corpus.world.documents=300", "corpus.world.nouns=12", "corpus.chunks.length=32", "seeds=[1, 2]",
    "models={transformer-4: {preset: transformer-4, d_model: 32, n_heads: 2, dropout: 0.0}}",
    "training.steps=6", "training.warmup_steps=2", "training.batch_size=4", "training.checkpoints=[0, 6]",
    "training.precision=fp32", "statistics.resamples=100", "mechanism=null", "lens=null", "behaviour.minimum=15",
    "behaviour.controls=[shuffled]", "behaviour.controls_at=final", "behaviour.directions=[env2lan]", "one_form={}",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    with pytest.raises(SystemExit) as done:
        main(["run", "--quiet", "--out", str(out), *(part for setting in SMALL for part in ("--set", setting))])
    assert not done.value.code
    return out


def test_one_form_stands_beside_two(finished: Path) -> None:
    table = ONE_FORM.conform(pl.read_parquet(finished / "tables/one_form.parquet"))
    assert table["step"].to_list() == [0, 6]
    gain = pl.read_parquet(finished / "tables/gain.parquet").group_by("step").agg(pl.col("gain_nats").mean())
    assert table["two_forms_nats"].to_list() == pytest.approx(gain.sort("step")["gain_nats"].to_list())
    difference = table["gain_nats"] - table["two_forms_nats"]
    np.testing.assert_allclose(table["difference_nats"], difference)
    assert (table["difference_low"] < table["difference_high"]).all()
    assert not np.allclose(difference, 0), "another training, asked otherwise"


def test_the_models_learned_from_the_same_chunks_in_one_form(finished: Path) -> None:
    two, one = (Corpus.open(finished / place) for place in ("corpus", "one_form/corpus"))
    assert two.chunks.shape == one.chunks.shape
    assert not np.array_equal(two.chunks, one.chunks)
    place = "behaviour/transformer-4/seed-1/step-00000006/gain.parquet"
    of_two, of_one = (pl.read_parquet(finished / branch / place) for branch in (".", "one_form"))
    seen = ["word", "cooccurring_chunks", "seen_env", "seen_lan", "n_mismatches", "n_contexts"]
    assert of_one.select(seen).equals(of_two.select(seen)), "what was seen is counted in two forms"
    assert of_one["weight_hash"][0] != of_two["weight_hash"][0]


def test_the_page_sets_it_beside_the_controls(finished: Path) -> None:
    content = CONTROLS.build(open_run(finished))
    assert content is not None
    assert RETRIEVED in content.figures["controls"].layout.yaxis.ticktext


def test_its_trainings_are_counted_and_its_models_checked(tmp_path: Path) -> None:
    names = set(disk_needs(load_study(None, SMALL), tmp_path))
    assert {f"one_form/train/transformer-4/seed-{seed}" for seed in (1, 2)} <= names
    with pytest.raises(StudyError, match=r"one_form.models: there is no model 'lstm'"):
        load_study(None, [*SMALL, "one_form={models: [lstm]}"])
    with pytest.raises(StudyError, match=r"one_form.at names step 3"):
        load_study(None, [*SMALL, "one_form={at: [3]}"])
