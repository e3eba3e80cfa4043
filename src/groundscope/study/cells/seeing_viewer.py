"""Cells `viewer/MODEL.ENCODER/seed-S/step-N` of a study of pictures: a few test pictures as each head sees them."""

import base64
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from groundscope.behaviour.pictures import PictureTest, picture_prompts
from groundscope.corpus.boxes import Patches
from groundscope.corpus.scenes import SceneWorld
from groundscope.mechanism.picture_saliency import PICTURE_SALIENCY, PICTURES_SHOWN, of_numbers, picture_saliency
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.seeing_corpus import PictureCorpus, tests_of
from groundscope.study.cells.seeing_train import opened, points_at, trainings
from groundscope.study.cells.tables import joined, kept, statistics_cell
from groundscope.study.cells.train import Point
from groundscope.study.config import ScenesSource, Study

SHOWN, SHOWN_HELD_OUT = 8, 4
"""Pictures in the styles of the training and in the held-out one: the first of each of the first so many words."""
_QUALITY = 90  # of a JPEG
_CODE = ("study.cells.seeing_viewer", "behaviour.pictures", "mechanism.picture_saliency", "trajectory.checkpoints")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell for each of a few checkpoints of each first seed; none where mechanism is not studied."""
    source = study.corpus
    assert isinstance(source, ScenesSource)
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


def shown(tests: list[PictureTest], held_out: str | None) -> list[int]:
    """Return the numbers of the tests that are shown: of each word the first, whatever came out of it."""
    firsts: dict[tuple[bool, str], int] = {}
    for number, test in enumerate(tests):
        firsts.setdefault((test.style == held_out, test.word), number)
    new, known = ([number for (is_new, _), number in firsts.items() if is_new is which] for which in (True, False))
    return [*known[:SHOWN], *new[:SHOWN_HELD_OUT]]


def _look(
    study: Study, run: Path, point: Point, encoder: str, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    source, corpus = study.corpus, PictureCorpus.open(run)
    assert isinstance(source, ScenesSource)
    world, tests = tests_of(study)
    model, identity = opened(run, point, encoder, corpus)
    patches = corpus.looks(encoder, source.scenes.side)
    numbers = shown(tests, source.scenes.held_out)
    every = picture_prompts(tests, corpus.vocabulary, patches, inside=source.tests.inside)
    found = picture_saliency(model, of_numbers(every, numbers), source.criterion, identity)
    pictures = _pictures(world, tests, numbers, patches, point.model)
    return kept(folder, {PICTURE_SALIENCY: found, PICTURES_SHOWN: pictures})


def _pictures(
    world: SceneWorld, tests: list[PictureTest], numbers: list[int], patches: Patches, arch: str
) -> pl.DataFrame:
    rows = []
    for number in numbers:
        test, buffer = tests[number], io.BytesIO()
        world.render(test.match).save(buffer, "JPEG", quality=_QUALITY)
        rows.append(
            {
                "arch": arch,
                "picture": number,
                "word": test.word,
                "sentence": test.frame,
                "style": test.style,
                "held_out": test.style == world.options.held_out,
                "width": test.match.size.width,
                "height": test.match.size.height,
                "box": test.box.corners.tolist(),
                "patches": patches.corners[patches.looks_somewhere].ravel().tolist(),
                "jpeg": base64.b64encode(buffer.getvalue()).decode(),
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
