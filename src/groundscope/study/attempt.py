"""One attempt at a cell: its folder is made ready where the study is run, its work is done wherever there is room."""

import itertools
import platform
import shutil
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from groundscope.errors import GroundscopeError, RunError
from groundscope.models.float32 import whole_float32
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Record, Upstream
from groundscope.study.freshness import UNFINISHED
from groundscope.study.locks import only_attempt
from groundscope.study.provenance import made_with


@dataclass(frozen=True, slots=True)
class Job:
    """A cell that is to be computed: the record that it begins with, and the digests of what it reads."""

    cell: Cell
    run: Path
    wanted: Record
    upstream: Upstream

    @property
    def folder(self) -> Path:
        """The cell's own folder."""
        return self.run / self.cell.name


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a job ended: with digests, with an error for people, or with a defect (``trace`` is its traceback)."""

    digests: Digests | None = None
    seconds: float = 0.0
    error: GroundscopeError | None = None
    defect: str = ""
    trace: str = ""


def prepare(job: Job, reason: str, progress: Progress) -> None:
    """Make the cell's folder ready and enter the cell as begun.

    Only an unfinished folder of a resumable cell is left as it is. Finished work and that of a resumable cell moves to
    ``.superseded`` and is never deleted, for it may be dear; what else was left unfinished is of use to nobody.
    """
    found = Record.load(job.run, job.cell.name)
    if not (job.cell.resumable and reason == UNFINISHED):
        if found and not found.finished and not job.cell.resumable:
            shutil.rmtree(job.folder, ignore_errors=True)
        _set_aside(job.folder, job.run, progress)
    job.folder.mkdir(parents=True, exist_ok=True)
    job.wanted.save(job.run, job.cell.name)


def attempt(job: Job, progress: Progress) -> Attempt:
    """Do the work of a prepared job and record it; what goes wrong is returned, not raised.

    A job may be attempted again after its worker died: what that one finished is taken as it is, what it left half-made
    is cleared away unless the cell can go on from it.
    """
    try:
        with only_attempt(job.run, job.cell.name):
            return _work(job, progress)
    except GroundscopeError as error:
        return Attempt(error=error)
    except Exception as error:  # a defect of ours or of the machine: keep it, tell it, spare the siblings
        return Attempt(defect=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def _work(job: Job, progress: Progress) -> Attempt:
    begun = Record.load(job.run, job.cell.name)
    if begun is None:
        raise RunError(
            f"{platform.node()} does not see {job.run}. All machines need the run's folder at the same path."
        )
    if begun.finished:
        return Attempt(begun.digests, begun.seconds)
    if not job.cell.resumable:
        _empty(job.folder)
    maker = made_with()  # of the code that works: a checkout may be another by the end
    started = time.monotonic()
    try:
        with whole_float32():
            made = dict(job.cell.work(job.folder, progress, job.upstream))
    except GroundscopeError as error:
        if error.exit_status == 2 and not job.cell.resumable:  # the input is wrong: leave nothing half-written
            shutil.rmtree(job.folder, ignore_errors=True)
            Record.remove(job.run, job.cell.name)
        raise
    seconds = round(time.monotonic() - started, 2)
    holds = tuple(sorted(file.relative_to(job.folder).as_posix() for file in job.folder.rglob("*") if _is_result(file)))
    record = replace(job.wanted, finished=True, digests=made, seconds=seconds, holds=holds, made_with=maker)
    record.save(job.run, job.cell.name)
    return Attempt(made, seconds)


def _is_result(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _set_aside(folder: Path, run: Path, progress: Progress) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    place = run / ".superseded" / folder.relative_to(run)
    number = next(number for number in itertools.count(1) if not place.with_name(f"{place.name}.{number}").exists())
    aside = place.with_name(f"{place.name}.{number}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(aside)
    progress.say(f"  what was there is kept in {aside}; delete it when you no longer want it.")
