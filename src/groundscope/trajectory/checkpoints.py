"""A training run as an ordered series of checkpoints: the only independent variable of every analysis."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from groundscope.errors import GroundscopeError
from groundscope.files import sha256_file
from groundscope.models.base import LanguageModel
from groundscope.models.load import load_model
from groundscope.tables import read_table
from groundscope.training.checkpoints import WEIGHTS, read_card
from groundscope.training.metrics import LOSS
from groundscope.training.order import DataOrder
from groundscope.training.run import LOSS_TABLE, RunCard, read_run


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights after ``step`` updates."""

    step: int
    tokens_seen: int  # training tokens, repetitions included
    weight_hash: str  # SHA-256 of the weights' file
    path: Path

    @classmethod
    def open(cls, path: Path) -> "Checkpoint":
        """Open a checkpoint's folder; raises GroundscopeError when it has no card or no weights."""
        card = read_card(path)
        if not (path / WEIGHTS).is_file():
            raise GroundscopeError(f"{path} has a card but no {WEIGHTS}. Delete the folder and train again.")
        return cls(card.step, card.tokens_seen, card.weight_hash, path)

    def load(self, device: torch.device | str = "cpu") -> LanguageModel:
        """Return the model in fp32 and eval mode on ``device``; raises ModelError when its weights cannot be read."""
        return load_model(self.path).to(device)  # type: ignore[arg-type]

    def verify(self) -> None:
        """Read the weights and compare their hash with the card's; raises GroundscopeError when they differ."""
        found = sha256_file(self.path / WEIGHTS)
        if found != self.weight_hash:
            raise GroundscopeError(
                f"{self.path / WEIGHTS} is not what was written: its SHA-256 is {found}, its card says "
                f"{self.weight_hash}. Delete {self.path} and train again."
            )


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run's checkpoints by rising step, and what they came from. A run that still trains may be opened too."""

    path: Path
    card: RunCard
    checkpoints: tuple[Checkpoint, ...]

    @classmethod
    def open(cls, run: Path) -> "Trajectory":
        """Open a run directory; raises GroundscopeError when it is none, is damaged or holds no checkpoint yet."""
        card = read_run(run)
        folders = sorted((run / "checkpoints").glob("step-*"))
        if not folders:
            raise GroundscopeError(f"The run in {run} has no checkpoints yet; train it first.")
        return cls(run, card, tuple(Checkpoint.open(folder) for folder in folders))

    @property
    def arch(self) -> str:
        """Name of the model in tables."""
        return self.card.arch

    @property
    def seed(self) -> int:
        """Seed of initialisation, data order and dropout."""
        return self.card.seed

    @property
    def order(self) -> DataOrder:
        """The order in which the run read its chunks, and how often each by any step."""
        return self.card.order

    @property
    def is_finished(self) -> bool:
        """Whether every checkpoint that the run was asked for is there."""
        return {checkpoint.step for checkpoint in self.checkpoints} >= {*self.card.checkpoint_steps}

    def at(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step; raises GroundscopeError that lists those there are."""
        for checkpoint in self.checkpoints:
            if checkpoint.step == step:
                return checkpoint
        steps = ", ".join(str(checkpoint.step) for checkpoint in self.checkpoints)
        raise GroundscopeError(f"{self.path} has no checkpoint of step {step}; it has {steps}.")

    def verify(self) -> None:
        """Compare all weights with their hashes; raises GroundscopeError at the first that differs."""
        for checkpoint in self.checkpoints:
            checkpoint.verify()

    def losses(self) -> pl.DataFrame:
        """Return the loss of each step (see `training.metrics.LOSS`); raises TableError when it is missing."""
        return read_table(self.path / LOSS_TABLE, LOSS)
