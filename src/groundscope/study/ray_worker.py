"""What a Ray worker does with a job. Imports nothing heavy: the environment comes first."""

import os
import pickle
from collections.abc import Mapping
from typing import Any


def work_on(job: bytes, environment: Mapping[str, str], threads: int, quiet: bool) -> Any:
    """Attempt a pickled job with this environment and as many threads; returns an `attempt.Attempt`."""
    os.environ.update(environment)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    from groundscope.progress import Progress
    from groundscope.study.attempt import attempt

    torch.set_num_threads(threads)
    return attempt(pickle.loads(job), Progress(quiet=quiet))
