"""What a person does with a study: run it, see its plan, have it described, list runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from groundscope.errors import GroundscopeError, StoppedError, StudyError
from groundscope.files import read_json, write_json
from groundscope.progress import Progress
from groundscope.study.cell import catalogue
from groundscope.study.config import Study
from groundscope.study.engine import Selection, reasons_to_run, run_cells
from groundscope.study.plan import plan
from groundscope.study.provenance import provenance
from groundscope.study.work import WritePage
from groundscope.training.schedule import checkpoint_steps

RESOLVED, PROVENANCE = "resolved.json", "provenance.json"


def run_study(study: Study, run: Path, write_page: WritePage, progress: Progress, selection: Selection) -> Path | None:
    """Bring ``run`` up to date with ``study``; return the path of its page, None where no page was asked for.

    Raises an error of exit status 2 for what the reader can mend (nothing is left behind where the run is new),
    RunError that names the cells that failed, StoppedError on Ctrl-C.
    """
    cells = plan(study, run, write_page)
    selection.check(cells)
    new = not run.exists()
    try:
        _remember(study, run)
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
    yield f"cells: {len(plan(study, Path(study.name), lambda run, page: page))}"


def list_runs(folder: Path) -> Iterator[str]:
    """One line per run below ``folder``; raises StudyError when there is none."""
    runs = sorted(path.parent for path in folder.glob(f"*/{RESOLVED}"))
    if not runs:
        raise StudyError(f"There are no runs in {folder}. `groundscope run` makes one.")
    width = max(len(run.name) for run in runs)
    for run in runs:
        done = sum(record.finished for record in catalogue(run).values())
        page = run / "report" / "index.html"
        started = read_json(run / PROVENANCE)["started"] if (run / PROVENANCE).is_file() else "unknown"
        yield f"{run.name:{width}}  {done} cells done  {started}  {page if page.is_file() else 'no page yet'}"


def _remember(study: Study, run: Path) -> None:
    """Keep the study and what runs it beside the results; refuse a folder that holds something else."""
    if run.exists() and any(run.iterdir()) and not (run / RESOLVED).is_file():
        raise StudyError(f"{run} is not empty and not a run of groundscope. Choose another --out.")
    resolved = study.model_dump(mode="json")
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / RESOLVED, resolved)
    write_json(run / PROVENANCE, provenance())
    (run / "study.yaml").write_text(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), encoding="utf-8")
