"""A cell: one piece of work of a study, and the signature that tells whether it is still fresh.

A signature hashes the code that does the work, the settings it works with and the contents of what it reads. It does
not hash names, dates or paths, so a cell is recomputed when its result could differ, and only then.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundscope.errors import GroundscopeError
from groundscope.files import read_json, sha256_json, write_json
from groundscope.progress import Progress
from groundscope.study.code import code_files, code_version
from groundscope.study.paths import same_place

CATALOGUE = "catalogue"
Digests = Mapping[str, str]
"""What a cell hands to the cells behind it: part -> content hash. Most cells have one part, ""."""

Upstream = Mapping[str, Digests]
"""What a cell's work is handed: input cell -> its digests; empty for one that failed or waits."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input of a cell: another cell, and which part of what it made."""

    cell: str
    part: str = ""

    def __str__(self) -> str:
        """Write as ``train/lstm-4/seed-42#step-300``."""
        return f"{self.cell}#{self.part}" if self.part else self.cell


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of work, done by the modules ``code`` and what they import (see `study.code`).

    ``work(folder, progress, upstream)`` fills ``folder`` (the cell's own, inside the run) and returns the digests of
    what it made; ``upstream`` holds the digests of the inputs that are up to date. The work of a ``resumable`` cell
    finds in its folder what an interrupted attempt with the same signature left, and goes on from it.
    ``after`` names cells that must have succeeded first, whether or not anything is read from them. A ``tolerant`` cell
    runs when at least one of its other inputs is there: it works with what there is.
    """

    name: str
    code: tuple[str, ...]
    settings: Mapping[str, Any]
    work: Callable[[Path, Progress, Upstream], Digests]
    inputs: tuple[Source, ...] = ()
    after: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    tolerant: bool = False
    resumable: bool = False

    @property
    def kind(self) -> str:
        """The first part of the name: corpus, words, train, behaviour, ..."""
        return self.name.split("/")[0]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a begun or finished cell: an entry of the run's catalogue, ``catalogue/NAME.json``."""

    code: str
    settings: str
    inputs: Mapping[str, str]
    finished: bool = False
    digests: Digests = field(default_factory=dict)
    seconds: float = 0.0
    holds: tuple[str, ...] = ()  # the files of the finished cell, relative to its folder
    code_files: Mapping[str, str] = field(default_factory=dict)  # so that people are told what changed: `why_stale`
    settings_in_full: Mapping[str, Any] = field(default_factory=dict)
    made_with: Mapping[str, Any] = field(default_factory=dict)  # versions and machine; nothing is compared by them

    @classmethod
    def of(cls, cell: Cell, inputs: Mapping[str, str]) -> "Record":
        """The record that a run of ``cell`` with these input digests begins with."""
        settings = dict(cell.settings)
        return cls(
            code_version(cell.code),
            sha256_json(settings),
            {**inputs, **cell.files},
            code_files=code_files(cell.code),
            settings_in_full=settings,
        )

    def why_stale(self, wanted: "Record") -> str | None:
        """Say why this record does not serve where ``wanted`` is asked for; None when it does.

        Settings come first: another reader of another corpus is other code, too, but that is not why.
        """
        if self.settings != wanted.settings:
            before, now = _flat(self.settings_in_full), _flat(wanted.settings_in_full)
            if not _only_moved(before, now):
                return f"settings changed{_what_differs(before, now)}"
        if self.code != wanted.code:
            return f"code changed{_what_differs(self.code_files, wanted.code_files)}"
        if self.inputs != wanted.inputs:
            return f"upstream changed{_what_differs(self.inputs, wanted.inputs)}"
        return None

    def save(self, run: Path, name: str) -> None:
        """Enter into the catalogue, atomically."""
        write_json(_entry(run, name), {field: getattr(self, field) for field in self.__slots__})

    @classmethod
    def load(cls, run: Path, name: str) -> "Record | None":
        """Look a cell up; None when it was never begun, its folder is gone or the entry is of another version."""
        if not _entry(run, name).is_file() or not (run / name).is_dir():
            return None
        try:
            entry = read_json(_entry(run, name))
            return cls(**{**entry, "holds": tuple(entry["holds"])})
        except (TypeError, KeyError, GroundscopeError):
            return None

    def missing_file(self, folder: Path) -> str | None:
        """The first file of a finished cell that is no longer in its folder."""
        return next((name for name in self.holds if not (folder / name).is_file()), None)

    @staticmethod
    def remove(run: Path, name: str) -> None:
        """Strike a cell from the catalogue."""
        _entry(run, name).unlink(missing_ok=True)


def catalogue(run: Path) -> dict[str, Record]:
    """Every cell that was begun in ``run``, by name."""
    entries = sorted((run / CATALOGUE).rglob("*.json"))
    names = [entry.relative_to(run / CATALOGUE).as_posix().removesuffix(".json") for entry in entries]
    return {name: record for name in names if (record := Record.load(run, name))}


def _what_differs(before: Mapping[str, Any], now: Mapping[str, Any], most: int = 3) -> str:
    """Name the keys that differ; nothing where ``before`` was kept by a version that did not write them down."""
    keys = sorted(before.keys() | now.keys(), key=lambda key: (key.count("."), key))  # what decides others stands above
    changed = [key for key in keys if before.get(key) != now.get(key)] if before else []
    return f": {', '.join(changed[:most])}{' and others' if len(changed) > most else ''}" if changed else ""


def _only_moved(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether all that differs is how the places of files are written; their contents are inputs of the cell."""
    if before.keys() != now.keys():
        return False
    changed = [(json.loads(before[key]), json.loads(now[key])) for key in now if before[key] != now[key]]
    return bool(now) and all(isinstance(a, str) and isinstance(b, str) and same_place(a, b) for a, b in changed)


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Dotted name -> value as JSON, whatever sections the settings have."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": json.dumps(value)}
    return flat


def _entry(run: Path, name: str) -> Path:
    return run / CATALOGUE / f"{name}.json"
