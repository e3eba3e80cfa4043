"""How long the cells of a plan will take, judged by those of their kind that were done before."""

from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from groundscope.study.cell import CATALOGUE, catalogue


class Estimate(NamedTuple):
    """Seconds for the cells that could be judged, and the cells that could not."""

    seconds: float
    judged_by: int  # earlier cells
    unknown: tuple[str, ...]


class Experience:
    """How long cells took in a run and in the runs beside it; a run's own cells are trusted before others'."""

    def __init__(self, run: Path):
        neighbours = sorted(place.parent for place in run.parent.glob(f"*/{CATALOGUE}"))
        self._seconds: list[dict[str, list[float]]] = []
        for runs in ([run], [other for other in neighbours if other != run]):
            known: dict[str, list[float]] = {}
            for name, record in ((name, record) for folder in runs for name, record in catalogue(folder).items()):
                for key in _keys(name) if record.finished else ():
                    known.setdefault(key, []).append(record.seconds)
            self._seconds.append(known)

    def of(self, cell: str) -> list[float]:
        """Seconds that the nearest of kin took: same kind and model in this run, same kind, then the same elsewhere."""
        return next((known[key] for known in self._seconds for key in _keys(cell) if key in known), [])

    def estimate(self, cells: Iterable[str]) -> Estimate:
        """Sum the expected seconds of ``cells``, done one after the other."""
        kin = {cell: self.of(cell) for cell in cells}
        seconds = sum((mean(known) for known in kin.values() if known), start=0.0)
        judges = {id(known): len(known) for known in kin.values() if known}
        return Estimate(seconds, sum(judges.values()), tuple(cell for cell, known in kin.items() if not known))


def _keys(cell: str) -> tuple[str, ...]:
    """(kind and model, kind) of a cell called KIND/MODEL/...; the kind alone of one called KIND."""
    parts = cell.split("/")
    return tuple(dict.fromkeys(("/".join(parts[:2]), parts[0])))
