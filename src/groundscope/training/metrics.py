"""What training measures: a row per step that is the same on every run, and the speed, which is not."""

import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from groundscope.errors import GroundscopeError
from groundscope.files import read_json, write_json
from groundscope.tables import MODEL_COLUMNS, Column, TableSchema, write_table
from groundscope.training.config import TrainConfig
from groundscope.training.schedule import learning_rate

LOSS = TableSchema(
    "loss",
    "one optimizer step of one run",
    (
        *MODEL_COLUMNS,
        Column("step", pl.Int64(), "optimizer steps done before this one; its loss is that of these weights"),
        Column("tokens_seen", pl.Int64(), "training tokens read before this step, repetitions included"),
        Column("loss_nats", pl.Float64(), "mean next-token loss of the step's batch, with dropout, in nats"),
        Column("learning_rate", pl.Float64(), "learning rate of the step's update"),
        Column("gradient_norm", pl.Float64(), "norm of the gradient over all weights, before clipping"),
    ),
)


class Measurements:
    """Loss and gradient norm of each step so far, from step 0."""

    def __init__(self, loss: Sequence[float] = (), gradient_norm: Sequence[float] = ()):
        self.loss = array("d", loss)
        self.gradient_norm = array("d", gradient_norm)

    def add(self, loss: float, gradient_norm: float) -> None:
        """Append the next step's measurements."""
        self.loss.append(loss)
        self.gradient_norm.append(gradient_norm)

    def write(self, path: Path, *, arch: str, seed: int, tokens_per_step: int, config: TrainConfig) -> None:
        """Write the loss table of all steps so far."""
        steps = range(len(self.loss))
        frame = pl.DataFrame(
            {
                "step": pl.Series(steps, dtype=pl.Int64),
                "loss_nats": self.loss,
                "gradient_norm": self.gradient_norm,
                "learning_rate": pl.Series([learning_rate(step, config) for step in steps], dtype=pl.Float64),
            }
        ).with_columns(arch=pl.lit(arch), seed=pl.lit(seed), tokens_seen=pl.col("step") * tokens_per_step)
        write_table(path, frame, LOSS)


class Speed:
    """Tokens per second of the steps themselves; the time they wait for checkpoints and states is not counted."""

    def __init__(self, tokens_per_step: int, first_step: int):
        self._tokens_per_step = tokens_per_step
        self._first = self._step = first_step
        self._seconds = 0.0
        self._since = time.perf_counter()

    def start(self) -> None:
        """Count from now on; the time since the last step went into something else."""
        self._since = time.perf_counter()

    def step_done(self) -> None:
        """Count one step and the time since the one before it, or since `start`."""
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since = now
        self._step += 1

    @property
    def tokens_per_second(self) -> float:
        """Mean over the steps of this session."""
        return (self._step - self._first) * self._tokens_per_step / max(self._seconds, 1e-9)

    def write(self, path: Path, **about: str | int) -> None:
        """Add this session to the run's list of sessions, in the place of those it repeats; ``about``: on what."""
        sessions = _sessions(path)
        session = {
            "first_step": self._first,
            "last_step": self._step,
            "seconds": round(self._seconds, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
            **about,
        }
        kept = [earlier for earlier in sessions if earlier["first_step"] < self._first]
        write_json(path, {"sessions": [*kept, session]})


def _sessions(path: Path) -> list[dict]:
    """Earlier sessions; a damaged list is of no more use than none, and no reason to stop a training."""
    try:
        return [session for session in read_json(path)["sessions"] if "first_step" in session]
    except (GroundscopeError, TypeError, KeyError):
        return []
