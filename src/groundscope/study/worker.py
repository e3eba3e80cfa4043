"""What another process does with a job. Imports nothing heavy: the environment comes first."""

import os
import pickle
import signal
import threading
from collections.abc import Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any


def work_on(job: bytes, environment: Mapping[str, str], threads: int, quiet: bool) -> Any:
    """Attempt a pickled job with this environment and as many threads; returns an `attempt.Attempt`."""
    os.environ.update(environment)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    from groundscope.progress import Progress
    from groundscope.study.attempt import attempt

    torch.set_num_threads(threads)
    return attempt(pickle.loads(job), Progress(quiet=quiet, live=False))


def serve(connection: Connection, threads: int, quiet: bool) -> None:
    """Attempt each pickled job that comes through the connection and send back what became of it, until it closes.

    Ctrl-C reaches all processes of a terminal: it is the first process's to answer, by SIGTERM, on which a training
    keeps its state. When that process dies, so does this one, in the same way.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_the_first, daemon=True).start()
    while True:
        try:
            connection.send(work_on(connection.recv_bytes(), {}, threads, quiet))
        except (EOFError, OSError):
            return


def _follow_the_first() -> None:
    first = parent_process()
    if first is not None:
        first.join()
        os.kill(os.getpid(), signal.SIGTERM)
