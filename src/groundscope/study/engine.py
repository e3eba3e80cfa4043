"""Bring the cells of a study up to date: one scheduler, and executors that say where a cell is computed.

Fresh cells are skipped, a failure stops only what stands on it. An executor is this process (`InThisProcess`),
several of this machine (`groundscope.study.processes`) or a Ray cluster (`groundscope.study.ray_engine`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from groundscope.errors import GroundscopeError, RunError
from groundscope.progress import Progress, duration
from groundscope.study.attempt import Attempt, Job, attempt, prepare
from groundscope.study.cell import Cell, Digests, Record
from groundscope.study.freshness import wanted_record, why_to_compute
from groundscope.study.selection import EVERYTHING, Selection, needs


@dataclass
class Outcome:
    """What became of the cells of one run: name -> seconds, name -> reason."""

    computed: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    refusal: GroundscopeError | None = None
    """What is wrong with the input, where it left nothing else to be done."""

    def raise_if_refused(self) -> None:
        """Raise the reader's own error where all the rest waits for what it spoilt."""
        if self.refusal is not None:
            raise self.refusal

    def raise_if_failed(self) -> None:
        """Raise RunError that names what failed, why, and what waits for it."""
        if not self.failed:
            return
        alike: dict[str, list[str]] = {}
        for name, why in self.failed.items():
            alike.setdefault(why, []).append(name)
        reasons = "; ".join(f"{_some(names)}: {why}" for why, names in alike.items())
        waiting = f" {len(self.blocked)} cells wait for them." if self.blocked else ""
        raise RunError(f"{len(self.failed)} cells failed ({reasons}).{waiting} Run the same command to do just these.")


class Executor(ABC):
    """Where cells are computed."""

    @abstractmethod
    def has_room(self) -> bool:
        """Whether another job may be started before one ends."""

    @abstractmethod
    def start(self, job: Job) -> None:
        """Take on a prepared job."""

    @abstractmethod
    def next_ended(self) -> tuple[str, Attempt]:
        """Wait until a job that was started ends; return its cell's name and how it ended."""

    @abstractmethod
    def stop(self) -> None:
        """Give up what is not ended."""


class InThisProcess(Executor):
    """One cell after the other, in the order of the plan."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._job: Job | None = None

    def has_room(self) -> bool:
        """Whether nothing waits."""
        return self._job is None

    def start(self, job: Job) -> None:
        """Keep the job for `next_ended`, which does it."""
        self._job = job

    def next_ended(self) -> tuple[str, Attempt]:
        """Do the job."""
        job, self._job = self._job, None
        assert job is not None
        return job.cell.name, attempt(job, self._progress)

    def stop(self) -> None:
        """Nothing goes on behind the back of this process."""


def run_cells(
    cells: Sequence[Cell],
    run: Path,
    progress: Progress,
    selection: Selection = EVERYTHING,
    executor: Executor | None = None,
) -> Outcome:
    """Bring every selected cell of ``run`` up to date, in order; ``cells`` stand behind what they read.

    The caller holds the run (`locks.only_process`). A failure stops only the cells that stand on it. An error that is
    the reader's to mend (exit status 2) is a refusal of the whole where nothing else could be done.
    """
    selection.check(cells)
    schedule = _Schedule(selection.wanted(cells), run, progress, selection, executor or InThisProcess(progress))
    try:
        while schedule.advance():
            pass
    finally:
        schedule.executor.stop()
    schedule.outcome.refusal = schedule.refusal(cells)
    return schedule.outcome


class _Schedule:
    """The cells that wait, those that are being computed, and what became of the others."""

    def __init__(self, cells: list[Cell], run: Path, progress: Progress, selection: Selection, executor: Executor):
        self.waiting, self.running = cells, set[str]()
        self.run, self.progress, self.selection, self.executor = run, progress, selection, executor
        self.digests: dict[str, Digests] = {}
        self.errors: dict[str, GroundscopeError] = {}
        self.outcome = Outcome()

    def advance(self) -> bool:
        """Settle or start whatever can be, then wait for one job to end; False when nothing is left."""
        open_names = self.running | {cell.name for cell in self.waiting}
        left = []
        for cell in self.waiting:
            if not self.executor.has_room() or open_names.intersection(needs(cell)):
                left.append(cell)
            elif not self._begin(cell):
                open_names.discard(cell.name)  # settled: what stands on it may follow at once
        self.waiting = left
        if self.running:
            self._settle(*self.executor.next_ended())
        return bool(self.waiting or self.running)

    def _begin(self, cell: Cell) -> bool:
        """Start a cell whose inputs are settled; False where there is nothing to start."""
        if missing := self._missing(cell):
            self.outcome.blocked[cell.name] = missing
            return False
        found, wanted = Record.load(self.run, cell.name), wanted_record(cell, self.digests)
        reason = why_to_compute(cell, self.run, found, wanted, self.selection)
        if found and reason is None:
            self.outcome.skipped.append(cell.name)
            self.digests[cell.name] = found.digests
            return False
        self.progress.say(f"{cell.name}: computing, {reason}")
        job = Job(cell, self.run, wanted, {source.cell: self.digests.get(source.cell, {}) for source in cell.inputs})
        try:
            prepare(job, reason or "", self.progress)
        except OSError as error:  # a full disk, or a folder that may not be written
            self._settle(cell.name, Attempt(error=RunError(f"its folder cannot be made ready: {error}")))
            return False
        self.executor.start(job)
        self.running.add(cell.name)
        return True

    def refusal(self, cells: Sequence[Cell]) -> GroundscopeError | None:
        """The error of the one cell that failed, where it is the reader's and only what it stands on was done."""
        if len(self.outcome.failed) != 1:
            return None
        (name,) = self.outcome.failed
        error = self.errors.get(name)
        stands_on = {cell.name for cell in Selection(only=(name,)).wanted(cells)}
        alone = stands_on.issuperset([*self.outcome.computed, *self.outcome.skipped])
        return error if error and error.exit_status == 2 and alone else None

    def _missing(self, cell: Cell) -> str | None:
        """A cell without which this one cannot run, None where it can."""
        broken = [name for name in needs(cell) if name not in self.digests]
        measured = [name for name in needs(cell) if name not in cell.after]
        enough = cell.tolerant and not set(broken).intersection(cell.after) and len(broken) < len(measured)
        return None if enough or not broken else broken[0]

    def _settle(self, name: str, ended: Attempt) -> None:
        self.running.discard(name)
        trace = self.run / f"{name.replace('/', '-')}.error.txt"
        if ended.digests is not None:
            self.digests[name] = ended.digests
            self.outcome.computed[name] = ended.seconds
            trace.unlink(missing_ok=True)  # of an earlier attempt
            self.progress.say(f"{name}: done in {duration(ended.seconds)}")
            return
        why, where = (str(ended.error), "") if ended.error else (ended.defect, f" (see {trace})")
        if ended.error is not None:
            self.errors[name] = ended.error
        else:
            with suppress(OSError):  # the defect may be a full disk
                trace.write_text(ended.trace, encoding="utf-8")
        self.outcome.failed[name] = why
        self.progress.say(f"{name} failed: {why}{where}")


def _some(names: Sequence[str], most: int = 3) -> str:
    """Name the first few; a machine's trouble can fail a hundred cells alike."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
