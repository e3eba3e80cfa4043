"""Cells `statistics/training` and `tables`: what the others measured, joined, and put where people look for it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from groundscope.files import link, sha256_file, sha256_json
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.train import LOSS_PART
from groundscope.study.config import Study
from groundscope.study.portable import keep_study, portable
from groundscope.tables import TableSchema, read_table, write_table
from groundscope.training.metrics import LOSS


def statistics_cell(
    room: str,
    measured: Iterable[Cell],
    work: Callable[[Path, Progress, Upstream], Digests],
    *,
    code: tuple[str, ...],
    settings: Mapping[str, Any],
    part: str = "",
    also: tuple[Source, ...] = (),
) -> Cell:
    """Return the cell `statistics/ROOM`, which joins and weighs what the cells ``measured`` made, or some of them.

    It reads their ``part``, and of other cells ``also``, without which it does not run.
    """
    return Cell(
        name=f"statistics/{room}",
        code=code,
        settings=settings,
        inputs=(*also, *(Source(cell.name, part) for cell in measured)),
        after=tuple(source.cell for source in also),
        work=work,
        tolerant=True,
    )


def training_cells(run: Path, trainings: Iterable[Cell]) -> Iterator[Cell]:
    """Yield the cell that joins the losses of all trainings."""
    code = ("study.cells.tables", "tables")
    yield statistics_cell("training", trainings, partial(_losses, run), code=code, settings={}, part=LOSS_PART)


def cells(study: Study, run: Path, statistics: tuple[str, ...]) -> Iterator[Cell]:
    """Yield the cell that puts the tables of the cells ``statistics`` side by side into ``tables/``.

    The study is kept with them, so that what a run says of its settings is always what its tables were made with.
    """
    yield Cell(
        name="tables",
        code=("study.cells.tables", "study.portable", "tables"),
        settings=portable(study, run),
        inputs=tuple(Source(name) for name in statistics),
        work=partial(_gather, study, run),
        tolerant=True,
    )


def kept(folder: Path, tables: Mapping[TableSchema, pl.DataFrame]) -> Digests:
    """Write tables into a cell's folder; the digests are theirs by name, and "" is that of all."""
    for schema, frame in tables.items():
        write_table(folder / f"{schema.name}.parquet", frame, schema)
    digests = {schema.name: sha256_file(folder / f"{schema.name}.parquet") for schema in tables}
    return {**digests, "": sha256_json(digests)}


def joined(run: Path, upstream: Upstream, prefix: str, schema: TableSchema) -> pl.DataFrame:
    """Return one table from those of the finished cells whose names begin with ``prefix``; others failed or wait.

    Models and seeds come in the order of the cells, the checkpoints of each by rising step.
    """
    done = [name for name, digests in upstream.items() if digests and name.startswith(prefix)]
    trainings = list(dict.fromkeys(map(_training, done)))
    done.sort(key=lambda name: (trainings.index(_training(name)), name))
    frames = [read_table(run / name / f"{schema.name}.parquet", schema) for name in done]
    return pl.concat(frames) if frames else schema.frame([])


def _training(name: str) -> str:
    """What of the name of a cell about a checkpoint comes before its step; all of another's name."""
    training, step, _ = name.partition("/step-")
    return training if step else name


def _losses(run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    return kept(folder, {LOSS: joined(run, upstream, "train/", LOSS)})


def _gather(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    keep_study(study, run)
    digests = {}
    for name, made in upstream.items():
        for table in sorted((run / name).glob("*.parquet")) if made else ():
            link(table, folder / table.name)  # where people look for it
            digests[table.stem] = sha256_file(table)
    return {**digests, "": sha256_json(digests)}
