"""Cell `report`: what ran the study, kept beside the tables, and the page made of all of it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from groundscope.files import sha256_file, write_json
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream, catalogue
from groundscope.study.config import Study
from groundscope.study.portable import portable
from groundscope.study.provenance import command_line, provenance

WritePage = Callable[[Path, Path], Path]
"""Writes the page of a run (first path) to a file (second path); comes from the floor above, which this one may not
import."""


def cells(study: Study, run: Path, write_page: WritePage) -> Iterator[Cell]:
    """Yield the one cell."""
    yield Cell(
        name="report",
        code=("study.cells.report", "study.portable", "study.provenance", "report.page", "report/templates"),
        settings=portable(study, run),
        inputs=(Source("corpus"), Source("words"), Source("tables")),
        work=partial(_write, run, command_line(), write_page),  # asked here: a cluster's worker has its own
    )


def _write(
    run: Path, command: str, write_page: WritePage, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    write_json(run / "provenance.json", provenance(command, catalogue(run)))
    page = write_page(run, folder / "index.html")
    return {"": sha256_file(page)}
