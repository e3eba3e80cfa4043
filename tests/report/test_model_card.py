"""The card of a trained model is read from its run and names its weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from groundscope.cli import main
from groundscope.errors import GroundscopeError, StudyError
from groundscope.files import write_json
from groundscope.models.presets import build, preset
from groundscope.report.model_card import write_model_card
from groundscope.study.runs import trainings
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train
from groundscope.trajectory.checkpoints import Trajectory

MODEL = preset("transformer-4", 50, d_model=16, n_heads=2, n_positions=32, n_layers=2)
STEPS = TrainConfig(steps=2, warmup_steps=1, batch_size=2, checkpoints=(0, 2), device="cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    chunks = np.arange(8 * 32, dtype=np.int32).reshape(8, 32) % 50
    for seed in (142, 42):
        train(chunks, MODEL, STEPS, seed, folder / "train" / "narrow" / f"seed-{seed}", arch="narrow")
    return folder


def test_the_card_names_settings_weights_and_size(run: Path):
    text = write_model_card(run, None, run / "deep" / "card.md").read_text(encoding="utf-8")
    seeds = [Trajectory.open(run / "train" / "narrow" / f"seed-{seed}") for seed in (42, 142)]
    hashes = [training.checkpoints[-1].weight_hash for training in seeds]
    assert 0 < text.index(hashes[0]) < text.index(hashes[1])
    size = sum(weight.numel() for weight in build(MODEL, 0).parameters())
    assert f"{size:,} parameters, 2 seeds" in text
    for row in ("| mixers | 2 x attention |", "| steps | 2 |", "| precision | fp32 |", "| tokens per step | 64 |"):
        assert row.replace("fp32", seeds[0].card.precision) in text
    assert "The run does not hold its corpus." in text
    assert 'from_pretrained("train/narrow/seed-42/checkpoints/step-00000002")' in text


@pytest.mark.parametrize(
    ("mixer", "told", "untold"), [("attention", "n_heads", "ssm_d_head"), ("mamba2", "ssm_d_head", "n_heads")]
)
def test_only_sizes_that_a_model_has_are_told(tmp_path: Path, mixer: str, told: str, untold: str):
    model = preset("transformer-4", 50, d_model=16, n_heads=2, n_positions=32, ssm_d_head=16, mixers=[mixer])
    chunks = np.arange(8 * 32, dtype=np.int32).reshape(8, 32) % 50
    train(chunks, model, STEPS, 42, tmp_path / "train" / "one" / "seed-42", arch="one")
    text = write_model_card(tmp_path, "one", tmp_path / "card.md").read_text(encoding="utf-8")
    assert f"| {told} |" in text
    assert untold not in text


def test_what_has_no_card_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert list(trainings(run)) == ["narrow"]
    with pytest.raises(StudyError, match="Did you mean 'narrow'"):
        write_model_card(run, "narow", tmp_path / "card.md")
    (tmp_path / "begun" / "catalogue").mkdir(parents=True)
    for folder, why in ((tmp_path / "begun", "holds no trainings"), (tmp_path / "nosuch", "There is no run at")):
        with pytest.raises(SystemExit) as refused:
            main(["card", str(folder), "narrow"])
        assert refused.value.code == 2
        assert why in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["begun", "catalogue"]


def test_trainings_that_an_earlier_study_left_are_not_of_the_card(run: Path, tmp_path: Path):
    left = tmp_path / "run"
    shutil.copytree(run, left)
    shutil.copytree(left / "train" / "narrow", left / "train" / "wide")
    assert list(trainings(left)) == ["narrow", "wide"]  # nothing says which study they are of
    write_json(left / "plan.json", {"cells": ["corpus", "train/narrow/seed-42"]})
    text = write_model_card(left, None, tmp_path / "card.md").read_text(encoding="utf-8")
    assert " parameters, 1 seed." in text
    assert Trajectory.open(left / "train/narrow/seed-142").checkpoints[-1].weight_hash not in text
    with pytest.raises(StudyError, match="has no model 'wide'; it has narrow"):
        write_model_card(left, "wide", tmp_path / "card.md")


def test_damaged_weights_are_named(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    weights = Trajectory.open(tmp_path / "run/train/narrow/seed-42").checkpoints[-1].path / "model.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(GroundscopeError, match=r"model\.safetensors cannot be read"):
        write_model_card(tmp_path / "run", "narrow", tmp_path / "card.md")
