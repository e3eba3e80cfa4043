"""How far runs are, read from their folders alone: nothing that computes is imported."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from groundscope.errors import GroundscopeError, StudyError
from groundscope.files import read_json
from groundscope.study.cell import CATALOGUE, catalogue

PLAN = "plan.json"
"""The names of all cells of the study that a run was last brought up to date with."""


def refuse_no_run(folder: Path) -> None:
    """Raise StudyError where ``folder`` holds no run: neither one that was begun here nor one that was published."""
    if not any((folder / part).exists() for part in (CATALOGUE, "tables", "resolved.json")):
        raise StudyError(f"There is no run at {folder}. `groundscope ls` lists what there is.")


def list_runs(folder: Path) -> Iterator[str]:
    """One line per run below ``folder``; raises StudyError when there is none."""
    runs = sorted(path.parent for path in folder.glob(f"*/{CATALOGUE}"))
    if not runs:
        raise StudyError(f"There are no runs in {folder}. `groundscope run` makes one.")
    width = max(len(run.name) for run in runs)
    for run in runs:
        done, begun, planned = cells_done(run)
        page = run / "report" / "index.html"
        half = f", {begun} begun" if begun else ""
        shown = page if page.is_file() else "no page yet"
        yield f"{run.name:{width}}  {done} of {planned} cells done{half}  {shown}"


def cells_done(run: Path) -> tuple[int, int, int]:
    """Count the cells of a run that are done, that are begun, and that its study plans; all 0 where there is no run."""
    records = catalogue(run)
    planned = _planned(run) or set(records)
    done = sum(name in records and records[name].finished for name in planned)
    begun = sum(name in records and not records[name].finished for name in planned)
    return done, begun, len(planned)


def cells_left(run: Path) -> list[str]:
    """Return the cells that the study plans and that are not done, but for its page; none where that is not known."""
    records = catalogue(run)
    left = _planned(run) - {name for name, record in records.items() if record.finished}
    return sorted(left - {"report"})


def trainings(run: Path) -> dict[str, list[int]]:
    """Return model -> seeds of the trainings that are there and that the study plans; all there, if it is not known.

    What an earlier study left in the run's folder is not of this one: its corpus may be gone.
    """
    planned = _planned(run)
    seeds: dict[str, list[int]] = {}
    for folder in (run / "train").glob("*/seed-*"):
        seed = folder.name.removeprefix("seed-")
        if folder.is_dir() and seed.isdecimal() and (not planned or folder.relative_to(run).as_posix() in planned):
            seeds.setdefault(folder.parent.name, []).append(int(seed))
    return {model: sorted(seeds[model]) for model in sorted(seeds)}


def _planned(run: Path) -> set[str]:
    """The cells of the study that the run was last brought up to date with; empty where that is not known."""
    with suppress(GroundscopeError, KeyError, TypeError):
        return set(read_json(run / PLAN)["cells"])
    return set()
