"""Cells `train/MODEL.ENCODER/seed-S` of a study of pictures, and the names of their checkpoints."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from groundscope.errors import StudyError
from groundscope.models.grounded_vlm import GroundedVLMConfig
from groundscope.progress import Progress
from groundscope.study.architecture import model_config
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.corpus import CHUNKS
from groundscope.study.cells.seeing_corpus import PictureCorpus
from groundscope.study.cells.train import TRAINS, Point, asked_for, digests_of, settings_of
from groundscope.study.config import ModelSettings, PicturesSource, Study
from groundscope.study.disk import refuse_full_disk
from groundscope.training.loop import train
from groundscope.training.schedule import checkpoint_steps
from groundscope.trajectory.at import At


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per model, encoder and seed."""
    for model, encoder, seed in trainings(study):
        yield Cell(
            name=f"train/{model}.{encoder}/seed-{seed}",
            code=TRAINS,
            settings=settings_of(study, model, seed, study.training_of(model)),
            inputs=(Source("corpus", CHUNKS), Source("corpus", f"training-{encoder}")),
            work=partial(_train, study, run, model, encoder, seed),
            resumable=True,
        )


def trainings(study: Study) -> Iterator[tuple[str, str, int]]:
    """Yield (model, encoder, seed) of every training."""
    assert isinstance(study.corpus, PicturesSource)
    for model in study.models:
        for encoder in study.corpus.encoders:
            for seed in study.seeds:
                yield model, encoder, seed


def points(study: Study, model: str, encoder: str, seed: int) -> list[Point]:
    """Return the checkpoints of one training, by rising step."""
    config = study.training_of(model)
    return [Point(f"{model}.{encoder}", seed, step) for step in checkpoint_steps(config.checkpoints, config.steps)]


def points_at(study: Study, model: str, encoder: str, seed: int, at: At, option: str) -> list[Point]:
    """Return the checkpoints of one training that ``at`` asks for, as `train.asked_for` does."""
    return asked_for(points(study, model, encoder, seed), at, option)


def _train(
    study: Study, run: Path, model: str, encoder: str, seed: int, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    refuse_full_disk(study, run)
    corpus = PictureCorpus(run)
    bank = corpus.bank(encoder, "training")
    settings = ModelSettings.model_validate({**study.models[model].model_dump(), "d_patch": bank.shape[1]})
    config = model_config(settings, len(corpus.vocabulary), corpus.chunks.shape[1])
    if not isinstance(config, GroundedVLMConfig):
        raise StudyError(f"models.{model}: a study of pictures wants a preset that sees (vlm-4, vlm-12).")
    train(
        corpus.chunks,
        config,
        study.training_of(model),
        seed,
        folder,
        arch=f"{model}.{encoder}",
        patches=bank,
        progress=progress,
        provenance={"study": study.name, "encoder": encoder},
    )
    return digests_of(folder)
