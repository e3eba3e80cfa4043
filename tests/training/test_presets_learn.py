"""Every architecture of the paper, at tiny widths, learns from the toy world."""

import polars as pl
import pytest

from groundscope.corpus.chunks import ChunkOptions, Corpus, build_corpus
from groundscope.corpus.toyworld import ToyWorld, ToyWorldOptions
from groundscope.models.presets import PRESETS, preset
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train

LENGTH = 32


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    world = ToyWorld(ToyWorldOptions(documents=30))
    out = tmp_path_factory.mktemp("corpus") / "toy"
    return build_corpus(world.documents(), out, ChunkOptions(length=LENGTH), provenance={})


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_loses_loss_in_50_steps(name, corpus, tmp_path):
    sizes = {} if name == "lstm-4" else {"n_positions": LENGTH, "n_heads": 2, "ssm_d_head": 16, "ssm_d_state": 8}
    model = preset(name, len(corpus.vocabulary), d_model=32, **sizes)
    config = TrainConfig.model_validate(
        {
            "steps": 50,
            "batch_size": 4,
            "learning_rate": 5e-3,
            "warmup_steps": 5,
            "checkpoints": [50],
            "device": "cpu",
            "precision": "fp32",
        }
    )
    train(corpus.chunks, model, config, 42, tmp_path / "run", arch=name)
    losses = pl.read_parquet(tmp_path / "run" / "loss.parquet")["loss_nats"]
    assert losses[-5:].mean() < losses[0] - 0.5
