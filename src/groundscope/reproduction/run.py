"""Run an experiment: take over what others have trained, then bring the study up to date."""

from collections.abc import Callable
from pathlib import Path

from groundscope.progress import Progress
from groundscope.reproduction.reuse import other_runs, reuse
from groundscope.study.cells.report import WritePage
from groundscope.study.config import Study
from groundscope.study.engine import Executor
from groundscope.study.plan import plan
from groundscope.study.run import refuse_impossible, run_study
from groundscope.study.selection import EVERYTHING


def run_experiment(
    study: Study,
    run: Path,
    runs: Path,
    write_page: WritePage,
    progress: Progress,
    executor: Callable[[], Executor] | None = None,
) -> Path | None:
    """Bring ``run`` up to date with ``study``; return its page. Trainings that a run below ``runs`` holds are reused.

    ``executor`` makes what computes the cells; None: this process. Raises what `run_study` raises.
    """
    refuse_impossible(study, run)  # before anything is put there
    reuse(plan(study, run, write_page), run, other_runs(runs, run), progress)
    return run_study(study, run, write_page, progress, EVERYTHING, executor)
