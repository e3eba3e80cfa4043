import shutil

import numpy as np
import pytest
import torch

from groundscope.errors import GroundscopeError, ModelError
from groundscope.models.presets import preset
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train
from groundscope.training.order import DataOrder
from groundscope.trajectory.checkpoints import Trajectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trajectory") / "run"
    chunks = np.random.default_rng(0).integers(0, 30, (20, 12)).astype(np.int32)
    config = TrainConfig(
        steps=6, batch_size=4, warmup_steps=1, learning_rate=1e-3, checkpoints=(0, 2, 6), precision="fp32", device="cpu"
    )
    model = preset("transformer-4", 30, n_layers=1, d_model=16, n_heads=2, n_positions=12)
    train(chunks, model, config, 42, out, arch="tiny", provenance={"corpus": "generated"})
    return out


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def test_a_trajectory_knows_its_run(trained):
    trajectory = Trajectory.open(trained)
    assert (trajectory.arch, trajectory.seed, trajectory.is_finished) == ("tiny", 42, True)
    assert trajectory.order == DataOrder(20, 4, 42)
    assert [checkpoint.step for checkpoint in trajectory.checkpoints] == [0, 2, 6]
    assert [checkpoint.tokens_seen for checkpoint in trajectory.checkpoints] == [0, 2 * 4 * 12, 6 * 4 * 12]
    assert len({checkpoint.weight_hash for checkpoint in trajectory.checkpoints}) == 3
    assert trajectory.card.provenance == {"corpus": "generated"}
    assert trajectory.losses().height == 6
    trajectory.verify()


def test_checkpoints_load_for_analysis(trained):
    models = [checkpoint.load() for checkpoint in Trajectory.open(trained).checkpoints]
    assert not any(model.training for model in models)
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        first, last = (models[index](tokens).logits for index in (0, -1))
    assert not torch.allclose(first, last)


def test_a_step_that_is_not_there_is_named(trained):
    trajectory = Trajectory.open(trained)
    assert trajectory.at(2).step == 2
    with pytest.raises(GroundscopeError, match="step 3; it has 0, 2, 6"):
        trajectory.at(3)


def test_an_unfinished_run_opens(copy):
    shutil.rmtree(copy / "checkpoints/step-00000006")
    trajectory = Trajectory.open(copy)
    assert not trajectory.is_finished
    assert [checkpoint.step for checkpoint in trajectory.checkpoints] == [0, 2]


def test_what_a_kill_left_is_no_checkpoint(copy):
    (copy / "checkpoints/.step-00000004.0a1b2c3d.partial").mkdir()
    assert len(Trajectory.open(copy).checkpoints) == 3


def test_damaged_weights_are_recognised(copy):
    weights = copy / "checkpoints/step-00000002/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    trajectory = Trajectory.open(copy)
    trajectory.at(0).verify()
    with pytest.raises(GroundscopeError, match=r"step-00000002.* is not what was written"):
        trajectory.verify()
    weights.write_bytes(content[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        trajectory.at(2).load()


def test_damaged_cards_are_named(copy):
    card = copy / "checkpoints/step-00000002/card.json"
    for content, says in (('{"step": 2}', "not a checkpoint's card"), ("{", "not valid JSON")):
        card.write_text(content)
        with pytest.raises(GroundscopeError, match=says):
            Trajectory.open(copy)
    card.unlink()
    with pytest.raises(GroundscopeError, match="no file"):
        Trajectory.open(copy)


def test_missing_weights_are_named(copy):
    (copy / "checkpoints/step-00000002/model.safetensors").unlink()
    with pytest.raises(GroundscopeError, match="has a card but no model"):
        Trajectory.open(copy)


def test_other_folders_are_no_runs(tmp_path, copy):
    with pytest.raises(GroundscopeError, match="not a training run"):
        Trajectory.open(tmp_path)
    (copy / "run.json").write_text('{"arch": "x"}')
    with pytest.raises(GroundscopeError, match=r"run\.json cannot be read"):
        Trajectory.open(copy)


def test_a_run_without_checkpoints_says_so(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(GroundscopeError, match="no checkpoints yet"):
        Trajectory.open(copy)
