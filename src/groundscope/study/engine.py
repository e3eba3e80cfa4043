"""Bring the cells of a study up to date: one scheduler, and executors that say where a cell is computed.

Fresh cells are skipped, a failure stops only what stands on it. An executor is this process (`InThisProcess`),
several of this machine (`groundscope.study.processes`) or a Ray cluster (`groundscope.study.ray_engine`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from groundscope.errors import RunError
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

    def raise_if_failed(self) -> None:
        """Raise RunError that names what failed, why, and what waits for it."""
        if not self.failed:
            return
        reasons = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
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

    The caller holds the run (`locks.only_process`). A cell whose error is the reader's to mend (exit status 2) ends the
    run at once; any other failure stops only the cells that stand on it.
    """
    selection.check(cells)
    schedule = _Schedule(selection.wanted(cells), run, progress, selection, executor or InThisProcess(progress))
    try:
        while schedule.advance():
            pass
    finally:
        schedule.executor.stop()
    return schedule.outcome


class _Schedule:
    """The cells that wait, those that are being computed, and what became of the others."""

    def __init__(self, cells: list[Cell], run: Path, progress: Progress, selection: Selection, executor: Executor):
        self.waiting, self.running = cells, set[str]()
        self.run, self.progress, self.selection, self.executor = run, progress, selection, executor
        self.digests: dict[str, Digests] = {}
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
        prepare(job, reason or "", self.progress)
        self.executor.start(job)
        self.running.add(cell.name)
        return True

    def _missing(self, cell: Cell) -> str | None:
        """A cell without which this one cannot run, None where it can."""
        broken = [name for name in needs(cell) if name not in self.digests]
        measured = [name for name in needs(cell) if name not in cell.after]
        enough = cell.tolerant and not set(broken).intersection(cell.after) and len(broken) < len(measured)
        return None if enough or not broken else broken[0]

    def _settle(self, name: str, ended: Attempt) -> None:
        self.running.discard(name)
        if ended.digests is not None:
            self.digests[name] = ended.digests
            self.outcome.computed[name] = ended.seconds
            self.progress.say(f"{name}: done in {duration(ended.seconds)}")
        elif ended.error is not None:
            if ended.error.exit_status == 2:
                raise ended.error
            self.outcome.failed[name] = str(ended.error)
            self.progress.say(f"{name} failed: {ended.error}")
        else:
            trace = self.run / f"{name.replace('/', '-')}.error.txt"
            trace.write_text(ended.trace, encoding="utf-8")
            self.outcome.failed[name] = ended.defect
            self.progress.say(f"{name} failed: {ended.defect} (see {trace})")
