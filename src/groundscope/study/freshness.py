"""Why a cell must be computed, or that it need not be: its record held against what would be recorded now."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from groundscope.study.cell import Cell, Digests, Record
from groundscope.study.selection import EVERYTHING, Selection

UNFINISHED = "unfinished"


def wanted_record(cell: Cell, digests: Mapping[str, Digests]) -> Record:
    """Return the record that ``cell`` begins with when the finished cells came out as ``digests``."""
    found = {str(source): digests.get(source.cell, {}).get(source.part, "absent") for source in cell.inputs}
    return Record.of(cell, found)


def why_to_compute(cell: Cell, run: Path, found: Record | None, wanted: Record, selection: Selection) -> str | None:
    """Say why ``cell`` must be computed; None where what ``run`` holds of it is fresh."""
    if selection.forces(cell):
        return "forced"
    if found is None:
        return "missing"
    if found.finished and selection.keeps(cell):
        wanted = replace(wanted, code=found.code)
    lost = found.missing_file(run / cell.name)
    return found.why_stale(wanted) or (
        f"its file {lost} is missing" if lost else None if found.finished else UNFINISHED
    )


def reasons_to_run(cells: Sequence[Cell], run: Path, selection: Selection = EVERYTHING) -> dict[str, str | None]:
    """Say for every selected cell why it would be computed; None where it is fresh. Nothing is written."""
    selection.check(cells)
    reasons: dict[str, str | None] = {}
    digests: dict[str, Digests] = {}
    for cell in selection.wanted(cells):
        waiting = next((source.cell for source in cell.inputs if reasons.get(source.cell)), None)
        if waiting:
            reasons[cell.name] = f"upstream: {waiting}"
            continue
        record = Record.load(run, cell.name)
        reasons[cell.name] = why_to_compute(cell, run, record, wanted_record(cell, digests), selection)
        digests[cell.name] = record.digests if record else {}
    return reasons
