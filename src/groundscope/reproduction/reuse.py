"""What another run has trained already is taken over, not trained again: cells with the same signature, by hard link.

A training is known by its settings, its code and the chunks that it reads (`groundscope.study.cell`), so the 12-layer
Transformer of the main experiment serves the ablation, too. Only dear and finished cells are taken over: corpora and
trainings, those of an ablation included.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from groundscope.files import atomic_directory, link
from groundscope.progress import Progress
from groundscope.study.cell import CATALOGUE, Cell, Digests, Record
from groundscope.study.freshness import wanted_record
from groundscope.study.locks import only_process

KINDS = ("corpus", "words", "train")
"""Cells that are taken over, of a study and of its branches; `words` is cheap, but trainings stand behind it."""


def runs_below(runs: Path) -> list[Path]:
    """Return the runs below ``runs``, at most two folders deep."""
    return sorted({entry.parent for pattern in (f"*/{CATALOGUE}", f"*/*/{CATALOGUE}") for entry in runs.glob(pattern)})


def other_runs(runs: Path, run: Path) -> list[Path]:
    """Return the runs below ``runs`` but ``run`` itself."""
    return [other for other in runs_below(runs) if other.resolve() != run.resolve()]


def reuse(cells: Iterable[Cell], run: Path, others: Iterable[Path], progress: Progress) -> list[str]:
    """Take over what ``others`` hold of the ``cells`` that ``run`` lacks; return the names of those taken over."""
    others, taken = list(others), []
    if not others:
        return []
    digests: dict[str, Digests] = {}
    with only_process(run):
        (run / CATALOGUE).mkdir(exist_ok=True)
        for cell in (cell for cell in cells if any(part in KINDS for part in cell.name.split("/"))):
            record = Record.load(run, cell.name)
            if record is None and all(source.cell in digests for source in cell.inputs):
                record = _take(cell, run, others, digests)
                if record:
                    taken.append(cell.name)
                    progress.say(f"{cell.name}: taken over, it was done before")
            if record and record.finished:
                digests[cell.name] = record.digests
    return taken


def _take(cell: Cell, run: Path, others: list[Path], digests: Mapping[str, Digests]) -> Record | None:
    wanted = wanted_record(cell, digests)
    for other in others:
        found = Record.load(other, cell.name)
        if not found or not found.finished or found.why_stale(wanted) or found.missing_file(other / cell.name):
            continue
        with atomic_directory(run / cell.name) as folder:
            for name in found.holds:
                link(other / cell.name / name, folder / name)
        found.save(run, cell.name)
        return found
    return None
