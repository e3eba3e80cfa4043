"""What a person does with a study: run it, see its plan, have it described."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from groundscope.errors import GroundscopeError, StoppedError, StudyError
from groundscope.files import remove_leftovers, write_json
from groundscope.progress import Progress, duration
from groundscope.study.cell import CATALOGUE, catalogue
from groundscope.study.cells.corpus import sources
from groundscope.study.cells.report import WritePage
from groundscope.study.config import Study
from groundscope.study.disk import corpus_size, disk_needs, total_need
from groundscope.study.engine import Executor, run_cells
from groundscope.study.estimate import Experience
from groundscope.study.freshness import reasons_to_run
from groundscope.study.locks import only_process
from groundscope.study.plan import plan
from groundscope.study.runs import PLAN
from groundscope.study.selection import Selection
from groundscope.training.memory import size
from groundscope.training.schedule import checkpoint_steps


def run_study(
    study: Study,
    run: Path,
    write_page: WritePage,
    progress: Progress,
    selection: Selection,
    executor: Callable[[], Executor] | None = None,
) -> Path | None:
    """Bring ``run`` up to date with ``study``; return the path of its page, None where no page was asked for.

    ``executor`` makes what computes the cells, when all has been checked; None: this process, one after the other.
    Raises an error of exit status 2 for what the reader can mend (nothing is left behind where the run is new),
    RunError that names the cells that failed, StoppedError on Ctrl-C.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise StudyError("A study is run by one process. For several devices call groundscope.training under torchrun.")
    _check_trackers(study)
    cells = plan(study, run, write_page)
    selection.check(cells)
    _check_place(study, run)
    new = not run.exists()
    try:
        with only_process(run):
            remove_leftovers(run)
            write_json(run / PLAN, {"cells": [cell.name for cell in cells]})
            outcome = run_cells(cells, run, progress, selection, executor() if executor else None)
            outcome.raise_if_refused()
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
    """One line per cell that would be computed, with the reason; then how many, on how much disk, for how long.

    Raises StudyError for what would be refused if it were run.
    """
    _check_trackers(study)
    _check_place(study, run)
    reasons = reasons_to_run(plan(study, run, write_page), run, selection)
    stale = {name: reason for name, reason in reasons.items() if reason}
    yield from (f"{name}: {reason}" for name, reason in stale.items())
    kinds = Counter(name.split("/")[0] for name in stale)
    counted = f" ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})" if stale else ""
    yield f"{len(stale)} cells to compute{counted}, {len(reasons) - len(stale)} fresh, in {run}."
    if stale:
        yield _disk_line(study, run, set(stale))
        yield _time_line(run, list(stale))


def _disk_line(study: Study, run: Path, stale: set[str]) -> str:
    needs = {name: need for name, need in disk_needs(study, run).items() if name in stale}
    if not needs:
        return "Disk: no checkpoints to write."
    corpus = corpus_size(study, run)
    assumed = "" if corpus.known else f", if the vocabulary has {corpus.vocabulary:,} entries (not built yet)"
    place = next(folder for folder in (run, *run.resolve().parents) if folder.exists())
    checkpoints = sum(need.checkpoints for need in needs.values())
    free = size(shutil.disk_usage(place).free)
    return f"Disk: {size(total_need(needs))} for {checkpoints} checkpoints and a train state{assumed}; {free} free."


def _time_line(run: Path, stale: list[str]) -> str:
    estimate = Experience(run).estimate(stale)
    unknown = list(dict.fromkeys(name.split("/")[0] for name in estimate.unknown))
    if not estimate.judged_by:
        return "Time: no cells of these kinds were done here before."
    more = f"; not counted, for want of earlier ones: {', '.join(unknown)}" if unknown else ""
    told = f"about {duration(estimate.seconds)}, one cell after the other"
    return f"Time: {told}, judged by {estimate.judged_by} earlier cells{more}."


def describe(study: Study) -> Iterator[str]:
    """Lines that say what a valid study would do; StudyError where it lacks a module."""
    _check_trackers(study)
    yield f"Study '{study.name}' is valid."
    yield f"corpus: {study.corpus.source}"
    for name in study.models:
        config = study.training_of(name)
        steps = checkpoint_steps(config.checkpoints, config.steps)
        yield f"{name}: {len(study.seeds)} seeds x {config.steps} steps, {len(steps)} checkpoints each"


def _check_place(study: Study, run: Path) -> None:
    """Refuse a folder that holds something else, or that lies in what the corpus is read from."""
    if run.exists() and not run.is_dir():
        raise StudyError(f"{run} is a file. Choose another --out.")
    if run.is_dir() and not (run / CATALOGUE).is_dir() and any(path.name != ".lock" for path in run.iterdir()):
        raise StudyError(f"{run} is not empty and not a run of groundscope. Choose another --out.")
    for source in sources(study):
        if run.resolve().is_relative_to(source.resolve()):
            raise StudyError(f"{run} lies inside {source}, which the corpus is read from. Choose another --out.")


def _check_trackers(study: Study) -> None:
    """Refuse what the training curves are asked to be logged to where it is not installed."""
    for model in study.models:
        track = study.training_of(model).track
        if track is not None and not _is_installed(track):
            raise StudyError(
                f"training.track of model '{model}' asks for '{track}', which is not installed. Try "
                f"`pip install {track}` (trackio comes with `pip install 'groundscope[track]'`), or leave track out."
            )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # no such package around it, or no name of a module
        return False
