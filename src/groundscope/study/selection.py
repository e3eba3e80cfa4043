"""Which cells of a study a person asked for, and what they stand on."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from groundscope.errors import StudyError, did_you_mean
from groundscope.study.cell import Cell


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cells a person asked for: all three hold kinds, names or patterns such as ``train/*``."""

    only: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise StudyError for a pattern that no cell answers to, or that ``only`` leaves no cell of."""
        for pattern in self.only + self.force + self.keep:
            if not any(_matches(cell, pattern) for cell in cells):
                known = sorted({cell.kind for cell in cells} | {cell.name for cell in cells})
                kinds = ", ".join(dict.fromkeys(cell.kind for cell in cells))
                raise StudyError(f"No cell is called '{pattern}'. Kinds: {kinds}.{did_you_mean(pattern, known)}")
        wanted, only = self.wanted(cells), " ".join(f"--only {pattern}" for pattern in self.only)
        for option, patterns in (("--force", self.force), ("--keep", self.keep)):
            for pattern in patterns:
                if not any(_matches(cell, pattern) for cell in wanted):
                    raise StudyError(
                        f"{option} {pattern} does nothing: {only} leaves these cells out. Add --only {pattern}, or "
                        f"leave {option} out."
                    )

    def wanted(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells asked for and, so that they can run, everything they stand on, in the order given."""
        if not self.only:
            return list(cells)
        by_name = {cell.name: cell for cell in cells}
        names: set[str] = set()
        open_names = [cell.name for cell in cells if any(_matches(cell, pattern) for pattern in self.only)]
        while open_names:
            name = open_names.pop()
            if name not in names:
                names.add(name)
                open_names += needs(by_name[name])
        return [cell for cell in cells if cell.name in names]

    def forces(self, cell: Cell) -> bool:
        """Whether ``cell`` is to be computed even where it is fresh."""
        return any(_matches(cell, pattern) for pattern in self.force)

    def keeps(self, cell: Cell) -> bool:
        """Whether ``cell`` serves as an earlier version of the code made it."""
        return any(_matches(cell, pattern) for pattern in self.keep)


EVERYTHING = Selection()


def needs(cell: Cell) -> tuple[str, ...]:
    """The names of the cells that must have succeeded before ``cell`` can run."""
    return tuple(dict.fromkeys([source.cell for source in cell.inputs] + list(cell.after)))


def _matches(cell: Cell, pattern: str) -> bool:
    return cell.kind == pattern or fnmatchcase(cell.name, pattern)
