"""Memory and disk: what a run needs, and a clear word when there is not enough."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from groundscope.errors import TrainingError
from groundscope.models.memory import out_of_memory
from groundscope.training.config import TrainConfig
from groundscope.training.state import GENERATIONS

BYTES = {"fp32": 4, "bf16": 2}
NO_SPACE = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """Bytes that a run has yet to write; the tables are small beside weights and states."""

    checkpoints: int
    checkpoint_bytes: int
    states: int
    state_bytes: int

    @classmethod
    def of(cls, parameters: int, checkpoints: int, states_there: int, config: TrainConfig) -> "DiskNeed":
        """Estimate it for the ``checkpoints`` that are left; a state is weights and two moments in float32.

        States need room for their generations and for the one being written beside them.
        """
        states = max(0, GENERATIONS + 1 - states_there)
        return cls(checkpoints, parameters * BYTES[config.keep], states, parameters * 3 * BYTES["fp32"])

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.checkpoints * self.checkpoint_bytes + self.states * self.state_bytes

    def __str__(self) -> str:
        return (
            f"{size(self.total)}: {self.checkpoints} checkpoints of {size(self.checkpoint_bytes)} and, until it is "
            f"finished, train states of {size(self.states * self.state_bytes)}"
        )


def refuse_full_disk(need: DiskNeed, folder: Path, config: TrainConfig) -> int:
    """Return the free bytes where ``folder`` lies; raises TrainingError when the run cannot fit there."""
    free = shutil.disk_usage(folder).free
    if need.total > free:
        halve = "keep: bf16 halves the checkpoints; " if config.keep == "fp32" else ""
        raise TrainingError(
            f"This run needs {need.total} bytes ({need}), but {folder} has {free} bytes free ({size(free)}). "
            f"Lower it: {halve}checkpoints: {{log: 20}} keeps fewer; or choose another folder."
        )
    return free


@contextmanager
def explain_shortage(config: TrainConfig, processes: int, out: Path) -> Iterator[None]:
    """Turn running out of memory or disk into a TrainingError that names the setting to change."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, OSError, RuntimeError, SafetensorError) as error:
        text = str(error)
        if out_of_memory(error):
            first = text.splitlines()[0] if text else "no details"
            raise TrainingError(f"Out of memory ({first}). {_advice(config, processes)}") from error
        if any(sign in text for sign in NO_SPACE):
            raise TrainingError(
                f"The disk of {out}, or its quota, is full. Make room and run the same command again: it goes on where "
                "it stopped."
            ) from error
        raise


def _advice(config: TrainConfig, processes: int) -> str:
    share = config.batch_size // processes
    finer = next((parts for parts in range(config.accumulate + 1, share + 1) if share % parts == 0), None)
    if finer is None:
        return "Each part of a batch is one sequence already: use shorter chunks, a smaller model or more devices."
    return (
        f"Set accumulate: {finer} (now {config.accumulate}) and run again: it goes on where it stopped, with the "
        f"same {config.batch_size} sequences per step in smaller parts."
    )


def size(count: int) -> str:
    """Write bytes as a person would: ``617 MB``, ``26.5 GB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
