"""The cells of a study in several processes of this machine, each with its share of the cores.

Two cells on a core each are done sooner than one after the other on both: much of a step is too small to be shared.
"""

import multiprocessing
import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from groundscope.errors import RunError
from groundscope.study.attempt import Attempt, Job
from groundscope.study.engine import Executor
from groundscope.study.worker import serve

MOST = 4
"""Processes when nobody says how many: each holds a model and torch."""


def usual_jobs(room: int) -> int:
    """Return how many cells are computed at once on CPUs when nobody says; memory has ``room`` for so many."""
    import torch

    return min(MOST, torch.get_num_threads(), room)


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None


class InProcesses(Executor):
    """``jobs`` cells at a time, each in a process with ``threads`` threads, which is kept for the cells that follow."""

    def __init__(self, jobs: int, threads: int, quiet: bool = False):
        self._jobs, self._threads, self._quiet = jobs, threads, quiet
        self._spawning = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._workers: list[_Worker] = []

    def has_room(self) -> bool:
        """Whether fewer than ``jobs`` cells are being computed."""
        return len(self._busy()) < self._jobs

    def start(self, job: Job) -> None:
        """Hand the job to a process that has none, or to a new one."""
        self._workers = [worker for worker in self._workers if worker.job or worker.process.is_alive()]
        worker = next((worker for worker in self._workers if worker.job is None), None) or self._hired()
        worker.job = job
        worker.connection.send_bytes(pickle.dumps(job))

    def next_ended(self) -> tuple[str, Attempt]:
        """Wait for any job; one whose process died ends with an error."""
        ready = wait([worker.connection for worker in self._busy()])
        worker = next(worker for worker in self._workers if worker.connection in ready)
        job, worker.job = worker.job, None
        assert job is not None
        try:
            return job.cell.name, worker.connection.recv()
        except (EOFError, OSError):
            self._workers.remove(worker)
            worker.process.join()
            return job.cell.name, Attempt(error=RunError(f"its process died ({_cause(worker.process.exitcode)})"))

    def stop(self) -> None:
        """Let idle processes go, ask busy ones to stop where they can be taken up again, and wait for all."""
        for worker in self._workers:
            if worker.job is not None:
                worker.process.terminate()
            worker.connection.close()
        try:
            for worker in self._workers:
                worker.process.join()
        except KeyboardInterrupt:  # a second Ctrl-C does not wait
            for worker in self._workers:
                worker.process.kill()
            raise
        self._workers.clear()

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _hired(self) -> _Worker:
        ours, theirs = self._spawning.Pipe()
        process = self._spawning.Process(target=serve, args=(theirs, self._threads, self._quiet))
        process.start()
        theirs.close()  # or its end would not be noticed here
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker


def _cause(exit_code: int | None) -> str:
    if exit_code == -9:
        return "killed, perhaps for want of memory: try fewer --jobs"
    return f"exit status {exit_code}"
