"""What a person does with a study: run it, see its plan, have it described, list runs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from groundscope.errors import GroundscopeError, StoppedError, StudyError
from groundscope.progress import Progress
from groundscope.study.cell import CATALOGUE, catalogue
from groundscope.study.cells.corpus import sources
from groundscope.study.cells.report import WritePage
from groundscope.study.config import Study
from groundscope.study.engine import Selection, only_process, reasons_to_run, run_cells
from groundscope.study.plan import plan
from groundscope.training.schedule import checkpoint_steps


def run_study(study: Study, run: Path, write_page: WritePage, progress: Progress, selection: Selection) -> Path | None:
    """Bring ``run`` up to date with ``study``; return the path of its page, None where no page was asked for.

    Raises an error of exit status 2 for what the reader can mend (nothing is left behind where the run is new),
    RunError that names the cells that failed, StoppedError on Ctrl-C.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise StudyError("A study is run by one process. For several devices call groundscope.training under torchrun.")
    cells = plan(study, run, write_page)
    selection.check(cells)
    _check_place(study, run)
    new = not run.exists()
    try:
        with only_process(run):
            for leftover in (*run.glob(".*.partial"), *run.glob(".*.retired")):  # of a kill during a write
                shutil.rmtree(leftover, ignore_errors=True)
            outcome = run_cells(cells, run, progress, selection)
    except KeyboardInterrupt:
        raise StoppedError("Stopped. The same command goes on from here.") from None
    except GroundscopeError:
        if new and not catalogue(run):
            shutil.rmtree(run, ignore_errors=True)
        raise
    progress.say(f"{len(outcome.computed)} cells computed, {len(outcome.skipped)} were fresh.")
    outcome.raise_if_failed()
    page = run / "report" / "index.html"
    return page if page.is_file() else None


def plan_run(study: Study, run: Path, write_page: WritePage, selection: Selection) -> Iterator[str]:
    """One line per cell that would be computed, with the reason, and a count of the fresh ones."""
    reasons = reasons_to_run(plan(study, run, write_page), run, selection)
    stale = {name: reason for name, reason in reasons.items() if reason}
    yield from (f"{name}: {reason}" for name, reason in stale.items())
    yield f"{len(stale)} cells to compute, {len(reasons) - len(stale)} fresh, in {run}."


def describe(study: Study) -> Iterator[str]:
    """Lines that say what a valid study would do."""
    yield f"Study '{study.name}' is valid."
    yield f"corpus: {study.corpus.source}"
    for name in study.models:
        config = study.training_of(name)
        steps = checkpoint_steps(config.checkpoints, config.steps)
        yield f"{name}: {len(study.seeds)} seeds x {config.steps} steps, {len(steps)} checkpoints each"


def list_runs(folder: Path) -> Iterator[str]:
    """One line per run below ``folder``; raises StudyError when there is none."""
    runs = sorted(path.parent for path in folder.glob(f"*/{CATALOGUE}"))
    if not runs:
        raise StudyError(f"There are no runs in {folder}. `groundscope run` makes one.")
    width = max(len(run.name) for run in runs)
    for run in runs:
        records = catalogue(run).values()
        done = sum(record.finished for record in records)
        page = run / "report" / "index.html"
        begun = f", {len(records) - done} unfinished" if done < len(records) else ""
        yield f"{run.name:{width}}  {done} cells done{begun}  {page if page.is_file() else 'no page yet'}"


def _check_place(study: Study, run: Path) -> None:
    """Refuse a folder that holds something else, or that lies in what the corpus is read from."""
    if run.exists() and not run.is_dir():
        raise StudyError(f"{run} is a file. Choose another --out.")
    if run.is_dir() and not (run / CATALOGUE).is_dir() and any(path.name != ".lock" for path in run.iterdir()):
        raise StudyError(f"{run} is not empty and not a run of groundscope. Choose another --out.")
    for source in sources(study):
        if run.resolve().is_relative_to(source.resolve()):
            raise StudyError(f"{run} lies inside {source}, which the corpus is read from. Choose another --out.")
