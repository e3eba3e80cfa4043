"""Who may write where: one process per run, and one attempt per cell wherever in a cluster it is made."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from groundscope.errors import RunError, StudyError

PATIENCE = 600.0  # seconds that a second attempt waits for one that was given up for dead and is not


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


@contextmanager
def only_attempt(run: Path, cell: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold one cell for one attempt at it; waits for another attempt to end, then raises RunError.

    A cluster gives a cell to a second worker when it cannot reach the first, which may still be at work. The system
    drops the lock of a process that died.
    """
    lock = FileLock(run / ".locks" / f"{cell.replace('/', '~')}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise RunError(
            f"Another worker has been busy with {cell} for {patience:.0f} s. Stop it and run again."
        ) from None
    try:
        yield
    finally:
        lock.release()
