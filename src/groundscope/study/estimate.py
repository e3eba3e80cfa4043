"""How long the cells of a plan will take, judged by those of their kind that were done before."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from groundscope.study.cell import CATALOGUE, catalogue


class Estimate(NamedTuple):
    """Seconds for the cells that could be judged, and the cells that could not."""

    seconds: float
    judged_by: int  # earlier cells
    unknown: tuple[str, ...]


class Spent(NamedTuple):
    """What an earlier cell took, and the sequences that it trained on; None: it is no training."""

    seconds: float
    sequences: int | None

    def on(self, sequences: int | None) -> float:
        """Seconds for a cell that trains on ``sequences``: ten times the steps take ten times as long."""
        return self.seconds * sequences / self.sequences if sequences and self.sequences else self.seconds


class Experience:
    """How long cells took in a run and in the runs beside it; a run's own cells are trusted before others'."""

    def __init__(self, run: Path):
        neighbours = sorted(place.parent for place in run.parent.glob(f"*/{CATALOGUE}"))
        self._spent: list[dict[str, list[Spent]]] = []
        for runs in ([run], [other for other in neighbours if other != run]):
            known: dict[str, list[Spent]] = {}
            for name, record in ((name, record) for folder in runs for name, record in catalogue(folder).items()):
                for key in _keys(name) if record.finished else ():
                    known.setdefault(key, []).append(Spent(record.seconds, _sequences(record.settings_in_full)))
            self._spent.append(known)

    def of(self, cell: str) -> list[Spent]:
        """What the nearest of kin took: same kind and model in this run, same kind, then the same elsewhere."""
        return next((known[key] for known in self._spent for key in _keys(cell) if key in known), [])

    def estimate(self, cells: Mapping[str, Mapping[str, Any]]) -> Estimate:
        """Sum the expected seconds of ``cells``, done one after the other: name -> settings."""
        kin = {cell: self.of(cell) for cell in cells}
        seconds = sum(
            (mean(spent.on(_sequences(cells[cell])) for spent in known) for cell, known in kin.items() if known),
            start=0.0,
        )
        judges = {id(known): len(known) for known in kin.values() if known}
        return Estimate(seconds, sum(judges.values()), tuple(cell for cell, known in kin.items() if not known))


def _sequences(settings: Mapping[str, Any]) -> int | None:
    """The sequences that a training reads; None for a cell with other settings."""
    match settings:
        case {"training": {"steps": int(steps), "batch_size": int(batch)}}:
            return steps * batch
        case _:
            return None


def _keys(cell: str) -> tuple[str, ...]:
    """(kind and model, kind) of a cell called KIND/MODEL/...; the kind alone of one called KIND."""
    parts = cell.split("/")
    return tuple(dict.fromkeys(("/".join(parts[:2]), parts[0])))
