"""Run the cells of a study on this machine: fresh ones are skipped, failures do not stop their siblings."""

import itertools
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from filelock import FileLock, Timeout

from groundscope.errors import GroundscopeError, RunError, StudyError, did_you_mean
from groundscope.progress import Progress, duration
from groundscope.study.cell import Cell, Digests, Record

UNFINISHED = "unfinished"


@dataclass
class Outcome:
    """What became of the cells of one run: name -> seconds, name -> reason."""

    computed: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)

    def raise_if_failed(self) -> None:
        """Raise RunError that names what failed, why, and what waits for it."""
        if not self.failed:
            return
        reasons = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
        waiting = f" {len(self.blocked)} cells wait for them." if self.blocked else ""
        raise RunError(f"{len(self.failed)} cells failed ({reasons}).{waiting} Run the same command to do just these.")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cells a person asked for: ``only`` and ``force`` hold kinds, names or patterns such as ``train/*``."""

    only: tuple[str, ...] = ()
    force: tuple[str, ...] = ()

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise StudyError for a pattern that no cell answers to."""
        for pattern in self.only + self.force:
            if not any(_matches(cell, pattern) for cell in cells):
                known = sorted({cell.kind for cell in cells} | {cell.name for cell in cells})
                kinds = ", ".join(dict.fromkeys(cell.kind for cell in cells))
                raise StudyError(f"No cell is called '{pattern}'. Kinds: {kinds}.{did_you_mean(pattern, known)}")

    def wanted(self, cells: Sequence[Cell]) -> set[str]:
        """The names asked for and, so that they can run, everything they stand on."""
        if not self.only:
            return {cell.name for cell in cells}
        by_name = {cell.name: cell for cell in cells}
        names: set[str] = set()
        open_names = [cell.name for cell in cells if any(_matches(cell, pattern) for pattern in self.only)]
        while open_names:
            name = open_names.pop()
            if name not in names:
                names.add(name)
                open_names += needs(by_name[name])
        return names


def needs(cell: Cell) -> tuple[str, ...]:
    """The names of the cells that must have succeeded before ``cell`` can run."""
    return tuple(dict.fromkeys([source.cell for source in cell.inputs] + list(cell.after)))


def run_cells(cells: Sequence[Cell], run: Path, progress: Progress, selection: Selection = Selection()) -> Outcome:
    """Bring every selected cell of ``run`` up to date, in order; ``cells`` stand behind what they read.

    The caller holds the run (`only_process`). A cell whose error is the reader's to mend (exit status 2) ends the run
    at once; any other failure stops only the cells that stand on it.
    """
    selection.check(cells)
    wanted = selection.wanted(cells)
    outcome = Outcome()
    digests: dict[str, Digests] = {}
    for cell in cells:
        if cell.name not in wanted:
            continue
        broken = [name for name in needs(cell) if name not in digests]
        if broken and not (cell.tolerant and len(broken) < len(needs(cell))):
            outcome.blocked[cell.name] = broken[0]
            continue
        try:
            digests[cell.name] = _bring_up_to_date(cell, run, digests, progress, selection, outcome)
        except GroundscopeError as error:
            if error.exit_status == 2:
                raise
            outcome.failed[cell.name] = str(error)
            progress.say(f"{cell.name} failed: {error}")
        except Exception as error:  # a defect of ours or of the machine: keep it, tell it, spare the siblings
            trace = run / f"{cell.name.replace('/', '-')}.error.txt"
            trace.write_text(traceback.format_exc(), encoding="utf-8")
            outcome.failed[cell.name] = f"{type(error).__name__}: {error}"
            progress.say(f"{cell.name} failed: {error} (see {trace})")
    return outcome


def reasons_to_run(cells: Sequence[Cell], run: Path, selection: Selection = Selection()) -> dict[str, str | None]:
    """Say for every selected cell why it would be computed; None where it is fresh. Nothing is written."""
    selection.check(cells)
    wanted = selection.wanted(cells)
    reasons: dict[str, str | None] = {}
    digests: dict[str, Mapping[str, str]] = {}
    for cell in cells:
        if cell.name not in wanted:
            continue
        waiting = next((source.cell for source in cell.inputs if reasons.get(source.cell)), None)
        if waiting:
            reasons[cell.name] = f"upstream: {waiting}"
            continue
        record = Record.load(run, cell.name)
        reasons[cell.name] = _reason(cell, run, record, _wanted_record(cell, digests), selection)
        digests[cell.name] = record.digests if record else {}
    return reasons


@contextmanager
def only_process(run: Path) -> Iterator[None]:
    """Hold the run for this process; raises StudyError when another holds it."""
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyError(f"Another groundscope process works in {run}. Wait for it, or choose another --out.") from None
    try:
        yield
    finally:
        lock.release()


def _bring_up_to_date(
    cell: Cell,
    run: Path,
    digests: Mapping[str, Mapping[str, str]],
    progress: Progress,
    selection: Selection,
    outcome: Outcome,
) -> Mapping[str, str]:
    folder = run / cell.name
    found, wanted = Record.load(run, cell.name), _wanted_record(cell, digests)
    reason = _reason(cell, run, found, wanted, selection)
    if found and reason is None:
        outcome.skipped.append(cell.name)
        return found.digests
    progress.say(f"{cell.name}: computing, {reason}")
    if not (reason == UNFINISHED and cell.resumable):
        _set_aside(folder, run, progress)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    wanted.save(run, cell.name)
    started = time.monotonic()
    try:
        made = dict(cell.work(folder, progress, {source.cell: digests.get(source.cell, {}) for source in cell.inputs}))
    except GroundscopeError as error:
        if error.exit_status == 2 and new and not cell.resumable:  # the input is wrong: leave nothing half-written
            shutil.rmtree(folder, ignore_errors=True)
            Record.remove(run, cell.name)
        raise
    seconds = time.monotonic() - started
    holds = tuple(sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if _is_result(file)))
    done = replace(wanted, finished=True, digests=made, seconds=round(seconds, 2), holds=holds)
    done.save(run, cell.name)
    outcome.computed[cell.name] = seconds
    progress.say(f"{cell.name}: done in {duration(seconds)}")
    return made


def _is_result(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def _set_aside(folder: Path, run: Path, progress: Progress) -> None:
    """Empty a cell's folder. What lies there moves to ``.superseded`` and is never deleted, for it may be dear."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    place = run / ".superseded" / folder.relative_to(run)
    number = next(number for number in itertools.count(1) if not place.with_name(f"{place.name}.{number}").exists())
    aside = place.with_name(f"{place.name}.{number}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(aside)
    progress.say(f"  what was there is kept in {aside}; delete it when you no longer want it.")


def _wanted_record(cell: Cell, digests: Mapping[str, Mapping[str, str]]) -> Record:
    found = {str(source): digests.get(source.cell, {}).get(source.part, "absent") for source in cell.inputs}
    return Record.of(cell, found)


def _reason(cell: Cell, run: Path, found: Record | None, wanted: Record, selection: Selection) -> str | None:
    if any(_matches(cell, pattern) for pattern in selection.force):
        return "forced"
    if found is None:
        return "missing"
    lost = found.missing_file(run / cell.name)
    return found.why_stale(wanted) or (
        f"its file {lost} is missing" if lost else None if found.finished else UNFINISHED
    )


def _matches(cell: Cell, pattern: str) -> bool:
    return cell.kind == pattern or fnmatchcase(cell.name, pattern)
