"""Cells `viewer/MODEL.ENCODER/seed-S/step-N` of a study of pictures: a few test pictures as each head sees them."""

import base64
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from groundscope.mechanism.picture_saliency import PICTURE_SALIENCY, PICTURES_SHOWN, of_numbers, picture_saliency
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.seeing_checkpoint import open_checkpoint
from groundscope.study.cells.seeing_corpus import PictureCorpus, shown
from groundscope.study.cells.seeing_train import points_at, trainings
from groundscope.study.cells.tables import joined, kept, statistics_cell
from groundscope.study.cells.train import Point
from groundscope.study.config import PicturesSource, Study

_CODE = ("study.cells.seeing_viewer", "behaviour.pictures", "mechanism.picture_saliency", "trajectory.checkpoints")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell for each of a few checkpoints of each first seed; none where mechanism is not studied."""
    source = study.corpus
    assert isinstance(source, PicturesSource)
    settings = {
        "tests": source.tests.model_dump(mode="json"),
        "criterion": source.criterion.model_dump(mode="json"),
    }
    for model, encoder, seed in trainings(study) if study.mechanism else ():
        if seed != study.seeds[0]:
            continue
        for point in points_at(study, model, encoder, seed, "few", "viewer"):
            yield Cell(
                name=f"viewer/{point.place}",
                code=_CODE,
                settings=settings,
                inputs=(Source("corpus"), Source("corpus", f"tests-{encoder}"), point.weights),
                work=partial(_look, study, run, point, encoder),
            )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that joins what `cells` saw."""
    if study.mechanism is None:
        return
    code = ("study.cells.seeing_viewer", "mechanism.picture_saliency")
    yield statistics_cell("viewer", cells(study, run), partial(_join, run), code=code, settings={})


def _look(
    study: Study, run: Path, point: Point, encoder: str, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    source, corpus, model, identity, every = open_checkpoint(study, run, point, encoder)
    numbers = shown(corpus.tests)
    found = picture_saliency(model, of_numbers(every, numbers), source.criterion, identity)
    return kept(folder, {PICTURE_SALIENCY: found, PICTURES_SHOWN: _pictures(corpus, encoder, numbers, point.model)})


def _pictures(corpus: PictureCorpus, encoder: str, numbers: list[int], arch: str) -> pl.DataFrame:
    looks = corpus.looks(encoder)
    rows = []
    for number in numbers:
        test, patches = corpus.tests[number], looks[number]
        rows.append(
            {
                "arch": arch,
                "picture": number,
                "word": test.word,
                "sentence": test.sentence,
                "style": test.style,
                "held_out": test.held_out,
                "width": test.size.width,
                "height": test.size.height,
                "box": test.box.corners.tolist(),
                "patches": patches.corners[patches.looks_somewhere].ravel().tolist(),
                "jpeg": base64.b64encode(corpus.jpeg(number)).decode(),
            }
        )
    return PICTURES_SHOWN.frame(rows)


def _join(run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    pictures = joined(run, upstream, "viewer/", PICTURES_SHOWN)
    return kept(
        folder,
        {
            PICTURE_SALIENCY: joined(run, upstream, "viewer/", PICTURE_SALIENCY),
            PICTURES_SHOWN: pictures.unique(["arch", "picture"], keep="first", maintain_order=True),
        },
    )
