"""The rolling train state: what a stopped run needs to go on to the same bits.

    state/step-00000480/{state.safetensors, card.json}

Data order, dropout and learning rate are functions of the step, so a state is the weights, the optimizer's moments and
the measurements so far. Two generations are kept: a newer one is only trusted once it is whole on the disk.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from groundscope.errors import GroundscopeError
from groundscope.files import atomic_directory, read_json, sha256_file, write_json
from groundscope.training.metrics import Measurements

TENSORS = "state.safetensors"
CARD = "card.json"
GENERATIONS = 2
OPTIMIZER = "optimizer/"  # + slot + "/" + name of the weight


@dataclass(frozen=True, slots=True)
class TrainState:
    """Everything that changes while a run trains, on the CPU, after ``step`` updates."""

    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Mapping[str, Tensor]]  # name of the weight -> slot ("exp_avg", ...) -> tensor
    measurements: Measurements


def write_state(run: Path, state: TrainState, identity: str, machine: Mapping[str, int | str] | None = None) -> None:
    """Write a state, atomically and with its hash, then drop all but the newest generations.

    ``identity`` is the hash of the run's configuration: a state belongs to one run alone. ``machine`` is what rounding
    depends on beside it: threads, processes and the kind of device.
    """
    tensors = {f"weights/{name}": weight for name, weight in state.weights.items()}
    for name, slots in state.optimizer.items():
        tensors |= {f"{OPTIMIZER}{slot}/{name}": tensor for slot, tensor in slots.items()}
    tensors["loss_nats"] = torch.tensor(state.measurements.loss, dtype=torch.float64)
    tensors["gradient_norm"] = torch.tensor(state.measurements.gradient_norm, dtype=torch.float64)
    with atomic_directory(_states(run) / f"step-{state.step:08d}") as folder:
        save_file(tensors, folder / TENSORS)
        digest = sha256_file(folder / TENSORS)
        write_json(folder / CARD, {"step": state.step, "identity": identity, "sha256": digest, "machine": machine})
    for old in _generations(run)[GENERATIONS:]:
        shutil.rmtree(old, ignore_errors=True)


def newest_state(
    run: Path, identity: str, is_usable: Callable[[int], str | None], say: Callable[[str], None]
) -> Path | None:
    """Return the newest state that is whole, or None; says in a line why each newer one is not used, and deletes it.

    Left there, a state of a later step would outlive those that the run writes from now on. ``is_usable`` gives a
    reason against going on from a step, or None.
    """
    generations = _generations(run)
    for folder, older in zip_longest(generations, generations[1:]):
        reason = _damage(folder, identity) or is_usable(_step(folder))
        if reason is None:
            return folder
        then = f"Trying the one before it, of step {_step(older)}." if older else "Beginning again from step 0."
        say(f"The train state of step {_step(folder)} is not used: {reason}. {then}")
        shutil.rmtree(folder, ignore_errors=True)
    return None


def read_state(folder: Path) -> TrainState:
    """Read a state that `newest_state` has proven."""
    tensors = load_file(folder / TENSORS)
    weights: dict[str, Tensor] = {}
    optimizer: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(OPTIMIZER):
            slot, name = key.removeprefix(OPTIMIZER).split("/", 1)
            optimizer.setdefault(name, {})[slot] = tensor
        elif key.startswith("weights/"):
            weights[key.removeprefix("weights/")] = tensor
    measurements = Measurements(tensors["loss_nats"].tolist(), tensors["gradient_norm"].tolist())
    return TrainState(_step(folder), weights, optimizer, measurements)


def machine_of(folder: Path) -> Mapping[str, int | str] | None:
    """Return the threads, processes and device that a proven state was computed with, None where it does not say."""
    return read_json(folder / CARD).get("machine")


def count_states(run: Path) -> int:
    """Return how many states lie on the disk."""
    return len(_generations(run))


def remove_states(run: Path) -> None:
    """Remove all states: the run is finished and nothing needs them."""
    shutil.rmtree(_states(run), ignore_errors=True)


def _damage(folder: Path, identity: str) -> str | None:
    try:
        card = read_json(folder / CARD)
        if card["identity"] != identity:
            return "it belongs to a run of another configuration"
        if card["sha256"] != sha256_file(folder / TENSORS):
            return f"{folder / TENSORS} is damaged, its bytes are not those that were written"
    except (GroundscopeError, OSError, KeyError, TypeError) as error:
        return f"{folder} is damaged ({error})"
    return None


def _generations(run: Path) -> list[Path]:
    """States on disk, the newest first."""
    return sorted(_states(run).glob("step-*"), reverse=True)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _states(run: Path) -> Path:
    return run / "state"
