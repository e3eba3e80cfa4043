"""A study as a graph of cells; each kind is a module of `groundscope.study.cells`."""

from pathlib import Path

from groundscope.study.cell import Cell
from groundscope.study.cells import (
    ablation,
    behaviour,
    contexts,
    controls,
    corpus,
    frames,
    lens,
    mechanism,
    one_form,
    report,
    seeing,
    seeing_corpus,
    seeing_lens,
    seeing_train,
    seeing_viewer,
    tables,
    train,
    viewer,
    words,
)
from groundscope.study.cells.report import WritePage
from groundscope.study.config import PicturesSource, Study


def plan(study: Study, run: Path, write_page: WritePage) -> list[Cell]:
    """Return the cells of ``study`` in an order in which each stands behind what it reads."""
    if isinstance(study.corpus, PicturesSource):
        return _plan_of_pictures(study, run, write_page)
    measured = [*train.cells(study, run), *behaviour.cells(study, run)]
    weighed = list(behaviour.statistics_cells(study, run))
    deepened = [
        *controls.cells(study, run),
        *mechanism.cells(study, run),
        *lens.cells(study, run),
        *viewer.cells(study, run),
    ]
    again = [*ablation.cells(study, run), *one_form.cells(study, run)]
    if frames.all_count(study):
        in_order = [*_by_training([*measured, *deepened]), *again, *weighed]
    else:  # which frames count is only known when all trainings have been measured
        in_order = [*_by_training(measured), *weighed, *_by_training(deepened), *again]
    statistics = [
        *tables.training_cells(run, train.cells(study, run)),
        *controls.statistics_cells(study, run),
        *contexts.statistics_cells(study, run),
        *ablation.statistics_cells(study, run),
        *one_form.statistics_cells(study, run),
        *mechanism.statistics_cells(study, run),
        *lens.statistics_cells(study, run),
        *viewer.statistics_cells(study, run),
    ]
    return [
        *corpus.cells(study),
        *words.cells(study, run),
        *ablation.corpus_cells(study, run),
        *one_form.corpus_cells(study, run),
        *in_order,
        *statistics,
        *tables.cells(study, run, tuple(cell.name for cell in (*weighed, *statistics))),
        *report.cells(study, run, write_page),
    ]


def _plan_of_pictures(study: Study, run: Path, write_page: WritePage) -> list[Cell]:
    measured = [
        *seeing_train.cells(study, run),
        *seeing.cells(study, run),
        *seeing_lens.cells(study, run),
        *seeing_viewer.cells(study, run),
    ]
    statistics = [
        *seeing.statistics_cells(study, run),
        *seeing_lens.statistics_cells(study, run),
        *seeing_viewer.statistics_cells(study, run),
    ]
    return [
        *seeing_corpus.cells(study),
        *_by_training(measured),
        *statistics,
        *tables.cells(study, run, tuple(cell.name for cell in statistics)),
        *report.cells(study, run, write_page),
    ]


def _by_training(cells: list[Cell]) -> list[Cell]:
    """Put what measures a training right behind it, so that the first results do not wait for the last model."""
    trainings = list(dict.fromkeys(_training(cell) for cell in cells))
    return sorted(cells, key=lambda cell: trainings.index(_training(cell)))


def _training(cell: Cell) -> tuple[str, ...]:
    """(model, seed) of a cell called KIND/MODEL/seed-S/..."""
    return tuple(cell.name.split("/")[1:3])
