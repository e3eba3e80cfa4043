"""What a person does with a study: run it, see its plan, have it described."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from groundscope.errors import GroundscopeError, StoppedError, StudyError
from groundscope.files import remove_leftovers, write_json
from groundscope.progress import Progress, counted, duration
from groundscope.study.cell import CATALOGUE, catalogue
from groundscope.study.cells.corpus import sources
from groundscope.study.cells.report import WritePage
from groundscope.study.config import PicturesSource, Study
from groundscope.study.disk import corpus_size, disk_needs, total_need
from groundscope.study.engine import Executor, run_cells
from groundscope.study.estimate import Experience
from groundscope.study.feature_disk import feature_need
from groundscope.study.freshness import UNFINISHED, reasons_to_run
from groundscope.study.inputs import refuse_lacking
from groundscope.study.locks import only_process
from groundscope.study.memory import memory_free, memory_need
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
    refuse_impossible(study, run)
    cells = plan(study, run, write_page)
    selection.check(cells)
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
    progress.say(f"{counted(len(outcome.computed), 'cell')} computed, {len(outcome.skipped)} were fresh.")
    outcome.raise_if_failed()
    page = run / "report" / "index.html"
    return page if page.is_file() else None


def refuse_impossible(study: Study, run: Path) -> None:
    """Raise GroundscopeError where ``study`` cannot be run in ``run``, here and now; nothing is written."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise StudyError("A study is run by one process. For several devices call groundscope.training under torchrun.")
    _check_trackers(study)
    refuse_lacking(study)
    _check_place(study, run)


def plan_run(
    study: Study, run: Path, write_page: WritePage, selection: Selection, jobs: Callable[[], int] | None = None
) -> Iterator[str]:
    """One line per cell that would be computed, with the reason; then how many, on how much disk, for how long.

    ``jobs`` says, when all has been checked, how many cells would be computed at once on this machine; None: on a
    cluster, as many as it has room for.
    Raises StudyError for what would be refused if it were run.
    """
    refuse_impossible(study, run)
    cells = plan(study, run, write_page)
    reasons = reasons_to_run(cells, run, selection)
    stale = {name: reason for name, reason in reasons.items() if reason}
    yield from (f"{name}: {reason}" for name, reason in stale.items())
    kinds = Counter(name.split("/")[0] for name in stale)
    by_kind = f" ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})" if stale else ""
    yield f"{counted(len(stale), 'cell')} to compute{by_kind}, {len(reasons) - len(stale)} fresh, in {run}."
    if stale:
        at_once = jobs() if jobs else None
        yield _disk_line(study, run, stale, at_once)
        yield from _memory_line(study, run, stale, at_once)
        yield _time_line(run, {cell.name: cell.settings for cell in cells if cell.name in stale})


def _disk_line(study: Study, run: Path, stale: Mapping[str, str], at_once: int | None) -> str:
    anew = {name for name, reason in stale.items() if reason != UNFINISHED}
    needs = {name: need for name, need in disk_needs(study, run, anew).items() if name in stale}
    total, parts, assumed = 0, [], []
    if isinstance(study.corpus, PicturesSource) and "corpus" in stale:
        features = feature_need(study.corpus, run)
        by_encoder = ", ".join(f"{name} {size(need)}" for name, need in features.by_encoder.items())
        kept = " and as much again in corpus.cache, as far as it is not there" if study.corpus.cache else ""
        parts.append(f"features of {features.pictures:,} pictures ({by_encoder}){kept}")
        total, assumed = features.total, [*features.assumed]
    if needs:
        corpus = corpus_size(study, run)
        if not corpus.known:
            assumed.append(f"the vocabulary has {corpus.vocabulary:,} entries (not built yet)")
        checkpoints, training = sum(need.checkpoints for need in needs.values()), min(at_once or len(needs), len(needs))
        states = "a train state" if training == 1 else f"the states of {training} trainings at once"
        parts.append(f"{checkpoints} checkpoints and {states}")
        total += total_need(needs, training)
    if not parts:
        return "Disk: no checkpoints to write."
    place = next(folder for folder in (run, *run.resolve().parents) if folder.exists())
    if_so = f", if {', and '.join(assumed)}" if assumed else ""
    return f"Disk: {size(total)} for {', '.join(parts)}{if_so}; {size(shutil.disk_usage(place).free)} free."


def _memory_line(study: Study, run: Path, stale: Iterable[str], at_once: int | None) -> Iterator[str]:
    trainings = sum("train" in name.split("/") for name in stale)
    if not trainings:
        return
    needs = memory_need(study, run)
    if at_once is None:
        yield f"Memory: about {size(max(needs.values()))} for the largest training."
        return
    more = f", {at_once} cells at once" if at_once > 1 else ""
    for device, need in needs.items():
        whose = " of the GPU" if device == "cuda" else ""
        yield f"Memory{whose}: about {size(need)} for the largest training{more}; {size(memory_free(device))} free."


def _time_line(run: Path, stale: Mapping[str, Mapping[str, Any]]) -> str:
    estimate = Experience(run).estimate(stale)
    unknown = list(dict.fromkeys(name.split("/")[0] for name in estimate.unknown))
    judged = (
        f"about {duration(estimate.seconds)}, one cell after the other, judged by {estimate.judged_by} earlier cells"
    )
    if not unknown:
        return f"Time: {judged}."
    if not estimate.judged_by:
        return "Time: not known yet (no earlier cells of these kinds here)."
    others = len(stale) - len(estimate.unknown)
    return f"Time: not known yet (no earlier {', '.join(unknown)} here); the other {others}: {judged}."


def describe(study: Study) -> Iterator[str]:
    """Lines that say what a valid study would do; GroundscopeError where it lacks a module or a file."""
    _check_trackers(study)
    refuse_lacking(study)
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
