"""Cells `train/MODEL/seed-S`: one architecture trained with one seed, and its checkpoints."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from groundscope.corpus.chunks import Corpus
from groundscope.files import sha256_file, sha256_json
from groundscope.models.presets import Config, own_fields, preset
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.corpus import CHUNKS
from groundscope.study.config import ModelSettings, Study
from groundscope.training.config import FREE_TO_CHANGE
from groundscope.training.loop import train
from groundscope.training.schedule import checkpoint_steps
from groundscope.trajectory.checkpoints import Checkpoint, Trajectory

LOSS_PART = "loss"


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per model and seed."""
    for model in study.models:
        config = study.training_of(model)
        for seed in study.seeds:
            yield Cell(
                name=f"train/{model}/seed-{seed}",
                code=("training.loop", "models.presets"),
                settings={
                    "model": study.models[model].model_dump(mode="json", exclude={"training"}),
                    "training": config.model_dump(mode="json", exclude=set(FREE_TO_CHANGE)),
                    "seed": seed,
                },
                inputs=(Source("corpus", CHUNKS),),
                after=("words",),  # a study whose words never reach the count must not train first
                work=partial(_train, study, run, model, seed),
                resumable=True,
            )


class Point(NamedTuple):
    """One checkpoint of a study that is yet to be run."""

    model: str
    seed: int
    step: int

    @property
    def place(self) -> str:
        """The rest of the name of every cell that measures this checkpoint."""
        return f"{self.model}/seed-{self.seed}/step-{self.step:08d}"

    @property
    def weights(self) -> Source:
        """The input that is this checkpoint's weights."""
        return Source(f"train/{self.model}/seed-{self.seed}", f"step-{self.step:08d}")

    def trajectory(self, run: Path) -> Trajectory:
        """Open the trajectory that the checkpoint is part of."""
        return Trajectory.open(run / "train" / self.model / f"seed-{self.seed}")

    def open(self, run: Path) -> tuple[Checkpoint, dict[str, Any]]:
        """Return the checkpoint and the columns that name it in every table; raises when its weights are damaged."""
        checkpoint = self.trajectory(run).at(self.step)
        checkpoint.verify()  # every row of a table carries the hash of these weights
        return checkpoint, {
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


def all_points(study: Study) -> list[Point]:
    """Return every checkpoint of the study."""
    return [point for model in study.models for seed in study.seeds for point in points(study, model, seed)]


def _train(
    study: Study, run: Path, model: str, seed: int, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    corpus = Corpus.open(run / "corpus")
    train(
        corpus.chunks,
        _model_config(study.models[model], corpus),
        study.training_of(model),
        seed,
        folder,
        arch=model,
        progress=progress,
        provenance={"study": study.name, "corpus": corpus.card.content_hash},
    )
    digests = {f"step-{point.step:08d}": point.weight_hash for point in Trajectory.open(folder).checkpoints}
    return {**digests, "": sha256_json(digests), LOSS_PART: sha256_file(folder / "loss.parquet")}


def _model_config(settings: ModelSettings, corpus: Corpus) -> Config:
    """The preset with its overrides, for this vocabulary, and with as many positions as a chunk has."""
    config = preset(settings.preset, len(corpus.vocabulary), **settings.overrides)
    if "n_positions" in own_fields(type(config)) and "n_positions" not in settings.overrides:
        overrides = {**settings.overrides, "n_positions": corpus.card.chunk_length}
        config = preset(settings.preset, len(corpus.vocabulary), **overrides)
    return config
