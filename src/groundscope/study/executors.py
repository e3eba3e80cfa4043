"""The executor that a person asked for: this process, or a Ray cluster."""

from collections.abc import Callable

from groundscope.progress import Progress
from groundscope.study.config import Study
from groundscope.study.engine import Executor, InThisProcess


def executor_maker(
    study: Study, *, ray: bool, address: str, threads: int | None, gpus: float | None, quiet: bool
) -> Callable[[], Executor]:
    """Return what makes the executor; nothing is started before it is called.

    ``threads`` None is torch's choice in this process and this machine's cores on Ray: both engines then compute with
    as many threads, and so the same bits.
    """

    def make() -> Executor:
        import torch

        if not ray:
            if threads:
                torch.set_num_threads(threads)
            return InThisProcess(Progress(quiet=quiet))
        from groundscope.study.ray_engine import OnRay, RayOptions, environment_of

        options = RayOptions(address=address, threads=threads or torch.get_num_threads(), gpus=gpus)
        return OnRay(options, environment_of(study), quiet=quiet)

    return make
