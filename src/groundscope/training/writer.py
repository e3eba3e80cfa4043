"""Who writes what a run keeps: on a GPU a thread does, since the steps behind need nothing of the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch


def writes_beside(device: torch.device) -> bool:
    """Whether to write beside the steps, which wants a copy of what is written: a CPU's cores have none to spare."""
    return device.type != "cpu"


class Writer:
    """Does one piece of writing at a time, beside its caller or, where that gains nothing, at once.

    As a context it does not end before what it was given is written; what went wrong there is raised by the next call
    or by the end, unless something else is being raised.
    """

    def __init__(self, *, beside: bool):
        self.beside = beside
        self._thread = ThreadPoolExecutor(1, "checkpoint") if beside else None
        self._under_way: Future[object] | None = None

    def write(self, work: Callable[[], object]) -> None:
        """Do ``work``, which may not need anything that its caller goes on to change."""
        if self._thread is None:
            work()
            return
        self.wait()  # in memory are this piece and the one before it, not as many as a slow disk leaves behind
        self._under_way = self._thread.submit(work)

    def wait(self) -> None:
        """Return when all is written; raises what writing it raised."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
