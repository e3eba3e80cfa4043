"""Cells `train/MODEL/seed-S`: one architecture trained with one seed, and its checkpoints."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from groundscope.corpus.chunks import Corpus
from groundscope.files import sha256_file, sha256_json
from groundscope.models.base import LanguageModel
from groundscope.progress import Progress
from groundscope.study.architecture import model_config
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.corpus import CHUNKS
from groundscope.study.config import Study
from groundscope.study.devices import measured_on
from groundscope.study.disk import refuse_full_disk
from groundscope.training.config import FREE_TO_CHANGE, TrainConfig
from groundscope.training.loop import train
from groundscope.training.schedule import checkpoint_steps
from groundscope.trajectory.at import At, steps_at
from groundscope.trajectory.checkpoints import Trajectory

LOSS_PART = "loss"
TRAINS = ("training.loop", "models.presets")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per model and seed."""
    for model in study.models:
        for seed in study.seeds:
            yield training_cell(study, run, Training(model, seed), study.training_of(model))


class Training(NamedTuple):
    """One model trained with one seed on the study's corpus or, in a ``branch`` of the study, on another."""

    model: str
    seed: int
    branch: str = ""
    """A folder that ends in a slash; empty: the study itself."""

    @property
    def place(self) -> str:
        """The rest of the name of every cell about this training."""
        return f"{self.model}/seed-{self.seed}"

    @property
    def cell(self) -> str:
        """Name of the cell that trains."""
        return f"{self.branch}train/{self.place}"

    @property
    def corpus(self) -> str:
        """Name of the cell whose chunks are trained on."""
        return f"{self.branch}corpus"


def training_cell(study: Study, run: Path, training: Training, config: TrainConfig) -> Cell:
    """Return the cell that trains as ``config`` says."""
    return Cell(
        name=training.cell,
        code=TRAINS,
        settings=settings_of(study, training.model, training.seed, config),
        inputs=(Source(training.corpus, CHUNKS),),
        after=("words",),  # a study whose words never reach the count must not train first
        work=partial(_train, study, run, training, config),
        resumable=True,
    )


def settings_of(study: Study, model: str, seed: int, config: TrainConfig) -> dict[str, Any]:
    """Return the settings that a training's result depends on, a precision among them where one is named."""
    asked = {} if config.precision == "auto" else {"precision": config.precision}
    return {
        "model": study.models[model].model_dump(mode="json", exclude={"training"}),
        "training": config.model_dump(mode="json", exclude=set(FREE_TO_CHANGE)) | asked,
        "seed": seed,
    }


def digests_of(folder: Path) -> Digests:
    """Return what a finished training hands on: each checkpoint's weights, all of them, and the losses."""
    digests = {f"step-{point.step:08d}": point.weight_hash for point in Trajectory.open(folder).checkpoints}
    return {**digests, "": sha256_json(digests), LOSS_PART: sha256_file(folder / "loss.parquet")}


class Point(NamedTuple):
    """One checkpoint of a study that is yet to be run."""

    model: str
    seed: int
    step: int
    branch: str = ""

    @property
    def training(self) -> Training:
        """The training that leaves this checkpoint."""
        return Training(self.model, self.seed, self.branch)

    @property
    def place(self) -> str:
        """The rest of the name of every cell that measures this checkpoint."""
        return f"{self.training.place}/step-{self.step:08d}"

    @property
    def weights(self) -> Source:
        """The input that is this checkpoint's weights."""
        return Source(self.training.cell, f"step-{self.step:08d}")

    def trajectory(self, run: Path) -> Trajectory:
        """Open the trajectory that the checkpoint is part of."""
        return Trajectory.open(run / self.training.cell)

    def open(self, study: Study, run: Path) -> tuple[LanguageModel, dict[str, Any]]:
        """Return the model, where it is measured, and the columns that name the checkpoint in every table.

        Raises GroundscopeError when its weights are damaged.
        """
        checkpoint = self.trajectory(run).at(self.step)
        checkpoint.verify()  # every row of a table carries the hash of these weights
        return checkpoint.load(measured_on(study, self.model)), {
            "arch": self.model,
            "seed": self.seed,
            "step": self.step,
            "tokens_seen": checkpoint.tokens_seen,
            "weight_hash": checkpoint.weight_hash,
        }


def points(study: Study, model: str, seed: int) -> list[Point]:
    """Return the checkpoints of one training, by rising step."""
    config = study.training_of(model)
    return [Point(model, seed, step) for step in checkpoint_steps(config.checkpoints, config.steps)]


def asked_for(points: Sequence[Point], at: At, option: str = "at") -> list[Point]:
    """Return those of a training's checkpoints, by rising step, that ``at`` asks for; the last is always among them.

    Raises StudyError for a step that is no checkpoint; ``option`` is what the study file calls ``at``.
    """
    steps = steps_at(at, [point.step for point in points], option)
    return [point for point in points if point.step in steps]


def points_at(study: Study, model: str, seed: int, at: At, option: str = "at") -> list[Point]:
    """Return the checkpoints of one training that ``at`` asks for, as `asked_for` does."""
    return asked_for(points(study, model, seed), at, option)


def all_points_at(study: Study, at: At, option: str) -> Iterator[list[Point]]:
    """Yield, for each training of the study, its checkpoints that ``at`` asks for, as `asked_for` does."""
    for model in study.models:
        for seed in study.seeds:
            yield points_at(study, model, seed, at, option)


def all_points(study: Study) -> list[Point]:
    """Return every checkpoint of the study."""
    return [point for model in study.models for seed in study.seeds for point in points(study, model, seed)]


def _train(
    study: Study,
    run: Path,
    training: Training,
    config: TrainConfig,
    folder: Path,
    progress: Progress,
    upstream: Upstream,
) -> Digests:
    refuse_full_disk(study, run)
    corpus = Corpus.open(run / training.corpus)
    train(
        corpus.chunks,
        model_config(study.models[training.model], len(corpus.vocabulary), corpus.card.chunk_length),
        config,
        training.seed,
        folder,
        arch=training.model,
        progress=progress,
        provenance={"study": study.name, "corpus": corpus.card.content_hash},
    )
    return digests_of(folder)
