"""Cell `report`: the study and what ran it, kept beside the tables, and the page made of all of it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import yaml

from groundscope.files import atomic_file, sha256_file, write_json
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream, catalogue
from groundscope.study.config import Study
from groundscope.study.portable import keep_given_files, portable
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
        work=partial(_write, study, run, command_line(), write_page),  # asked here: a cluster's worker has its own
    )


def _write(
    study: Study,
    run: Path,
    command: str,
    write_page: WritePage,
    folder: Path,
    progress: Progress,
    upstream: Upstream,
) -> Digests:
    keep_given_files(study, run)
    resolved = portable(study, run)
    with atomic_file(run / "study.yaml") as file:
        file.write_text(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_json(run / "resolved.json", resolved)
    seconds = {name: record.seconds for name, record in catalogue(run).items()}
    write_json(run / "provenance.json", {**provenance(command), "seconds": seconds})
    page = write_page(run, folder / "index.html")
    return {"": sha256_file(page)}
