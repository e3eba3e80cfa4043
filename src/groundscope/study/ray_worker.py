"""What a Ray worker does with a job. Imports nothing heavy: the environment comes first."""

import os
from collections.abc import Mapping
from typing import Any


def work_on(job: bytes, environment: Mapping[str, str], threads: int, quiet: bool) -> Any:
    """Attempt a pickled job with this environment and as many threads; returns an `attempt.Attempt`."""
    os.environ.update(environment)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch
    import ray.cloudpickle as cloudpickle

    from groundscope.progress import Progress
    from groundscope.study.attempt import attempt

    torch.set_num_threads(threads)
    return attempt(cloudpickle.loads(job), Progress(quiet=quiet))
