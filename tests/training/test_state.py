import pytest
import torch

from groundscope.training.metrics import Measurements
from groundscope.training.state import TrainState, newest_state, read_state, write_state


def _state(step: int) -> TrainState:
    weights = {"embedding.weight": torch.full((3, 2), float(step)), "norm.bias": torch.arange(2.0)}
    moments = {name: {"exp_avg": weight * 2, "step": torch.tensor(float(step))} for name, weight in weights.items()}
    return TrainState(step, weights, moments, Measurements([4.0] * step, [1.0] * step))


def _any_step(step: int) -> None:
    return None


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_state_comes_back_as_it_was(tmp_path, said):
    write_state(tmp_path, _state(3), "me")
    folder = newest_state(tmp_path, "me", _any_step, said.append)
    assert folder is not None
    back, was = read_state(folder), _state(3)
    assert back.step == 3
    assert back.measurements.loss == was.measurements.loss
    assert back.weights.keys() == was.weights.keys()
    for name, weight in was.weights.items():
        assert torch.equal(back.weights[name], weight)
        assert torch.equal(back.optimizer[name]["exp_avg"], was.optimizer[name]["exp_avg"])
        assert torch.equal(back.optimizer[name]["step"], was.optimizer[name]["step"])
    assert said == []


def test_two_generations_are_kept(tmp_path):
    for step in (5, 10, 15):
        write_state(tmp_path, _state(step), "me")
    assert sorted(folder.name for folder in (tmp_path / "state").iterdir()) == ["step-00000010", "step-00000015"]


def _flip_a_byte(folder):
    file = folder / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _cut(folder):
    file = folder / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


DAMAGE = {
    "one bit": _flip_a_byte,
    "cut short": _cut,
    "no tensors": lambda folder: (folder / "state.safetensors").unlink(),
    "no card": lambda folder: (folder / "card.json").unlink(),
    "half a card": lambda folder: (folder / "card.json").write_text('{"step": 1'),
    "another card": lambda folder: (folder / "card.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_state_is_passed_over_and_said(tmp_path, said, damage):
    write_state(tmp_path, _state(5), "me")
    write_state(tmp_path, _state(10), "me")
    damage(tmp_path / "state" / "step-00000010")
    folder = newest_state(tmp_path, "me", _any_step, said.append)
    assert folder == tmp_path / "state" / "step-00000005"
    assert len(said) == 1
    assert "step 10" in said[0]
    assert "damaged" in said[0]
    assert "Trying the one before it, of step 5." in said[0]


def test_a_state_of_another_configuration_is_passed_over(tmp_path, said):
    write_state(tmp_path, _state(5), "other")
    assert newest_state(tmp_path, "me", _any_step, said.append) is None
    assert "another configuration" in said[0]
    assert "Beginning again from step 0." in said[0]
