"""The executor that a person asked for: processes of this machine, or a Ray cluster.

Nothing is started before what these functions return is called. With as many threads all executors compute the same
bits.
"""

from collections.abc import Callable
from pathlib import Path

from groundscope.progress import Progress
from groundscope.study.config import Study
from groundscope.study.engine import Executor, InThisProcess

Maker = Callable[[], Executor]


def jobs_here(study: Study, run: Path) -> int:
    """Return how many cells of ``study`` are computed at once on this machine when nobody says."""
    from groundscope.study.devices import device_here, devices_asked
    from groundscope.study.memory import memory_free, memory_need, room_for
    from groundscope.study.processes import usual_jobs

    if any(device_here(asked) != "cpu" for asked in devices_asked(study)):
        return 1  # an accelerator does the work
    return usual_jobs(room_for(memory_need(study, run)["cpu"], memory_free()))


def here(study: Study, run: Path, jobs: int | None, threads: int | None, quiet: bool) -> Maker:
    """Return what computes ``jobs`` cells at once on this machine, each with ``threads`` threads.

    ``jobs`` None is what suits the machine and the study (`jobs_here`), ``threads`` None torch's choice, shared.
    """

    def make() -> Executor:
        import torch

        from groundscope.study.processes import InProcesses

        at_once = jobs or jobs_here(study, run)
        each = threads or max(1, torch.get_num_threads() // at_once)
        if at_once > 1:
            return InProcesses(at_once, each, quiet=quiet)
        torch.set_num_threads(each)
        return InThisProcess(Progress(quiet=quiet))

    return make


def on_ray(study: Study, address: str, threads: int | None, gpus: float | None, quiet: bool) -> Maker:
    """Return what hands cells to the Ray cluster at ``address``; ``threads`` None: torch's choice in this process."""

    def make() -> Executor:
        import torch

        from groundscope.study.devices import devices_asked
        from groundscope.study.ray_engine import OnRay, RayOptions, environment_of, light_kinds

        left_alone = gpus is None and devices_asked(study) == {"cpu"}
        options = RayOptions(
            address=address,
            threads=threads or torch.get_num_threads(),
            gpus=0.0 if left_alone else gpus,
            light=light_kinds(study),
        )
        return OnRay(options, environment_of(study), quiet=quiet)

    return make
