"""Cells `lens/MODEL.ENCODER/seed-S/step-N` of a study of pictures: what each layer of one checkpoint says of the words.

Lenses are trained on the talk about the training's pictures and read on the tests of what training showed, so that
the last column is what table `surprisal` holds.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from groundscope.mechanism.lens_study import fit_lenses, read_lenses
from groundscope.mechanism.picture_saliency import of_numbers
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.corpus import CHUNKS
from groundscope.study.cells.lens import earlier_lenses, joining, keep_lenses
from groundscope.study.cells.seeing_checkpoint import open_checkpoint
from groundscope.study.cells.seeing_train import points_at, trainings
from groundscope.study.cells.train import Point
from groundscope.study.config import PicturesSource, Study

_MEASURES = ("study.cells.seeing_lens", "behaviour.pictures", "mechanism.lens_study", "trajectory.checkpoints")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per checkpoint that is asked for; none where the study has no lens.

    Raises StudyError for a step that is no checkpoint.
    """
    options, source = study.lens, study.corpus
    if options is None:
        return
    assert isinstance(source, PicturesSource)
    settings = {
        "tests": source.tests.model_dump(mode="json"),
        "options": options.model_dump(mode="json", exclude={"at"}),
    }
    for model, encoder, seed in trainings(study):
        before: Point | None = None
        for point in points_at(study, model, encoder, seed, options.at, "lens.at"):
            goes_on = before if options.start == "previous" else None
            yield Cell(
                name=f"lens/{point.place}",
                code=_MEASURES,
                settings=settings,
                inputs=(
                    Source("corpus", CHUNKS),
                    Source("corpus", f"training-{encoder}"),
                    Source("corpus", f"tests-{encoder}"),
                    point.weights,
                    *((Source(f"lens/{goes_on.place}", "lenses"),) if goes_on else ()),
                ),
                work=partial(_read, study, run, point, encoder, goes_on),
            )
            before = point


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that joins what `cells` read."""
    yield from joining(study, run, cells(study, run))


def _read(
    study: Study,
    run: Path,
    point: Point,
    encoder: str,
    before: Point | None,
    folder: Path,
    progress: Progress,
    upstream: Upstream,
) -> Digests:
    options = study.lens
    assert options is not None
    _, corpus, model, identity, every = open_checkpoint(study, run, point, encoder, "training")
    fitted = fit_lenses(model, corpus.chunks, options, earlier_lenses(study, run, before))
    model.show(torch.from_numpy(corpus.bank(encoder, "tests")))
    known = [number for number, test in enumerate(corpus.tests) if not test.held_out]
    groups = of_numbers(every, known)
    words = [corpus.tests[number].word for group in groups for number in group.numbers.tolist()]
    table = read_lenses(model, fitted.lenses, groups, words, identity)
    return keep_lenses(folder, point, model, fitted, table, identity)
