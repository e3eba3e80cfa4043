"""Hashes of input files that are read once: kept by path, size and time of change, beside other caches of the user."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from groundscope.errors import GroundscopeError
from groundscope.files import read_json, sha256_file, write_json

SETTLED = 2.0  # seconds after a change in which a second one could leave size and time as they are
MOST = 200_000  # entries; beyond that the cache begins anew


def hash_files(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file; a file whose size and time are those of an earlier call is not read again.

    The cache is ``$XDG_CACHE_HOME/groundscope/file-hashes.json``; where it cannot be written, files are read each time.
    """
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundscope" / "file-hashes.json"
    known = _load(place)
    hashes, news = [], {}
    for path in paths:
        key, state = str(path.resolve()), path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        if known.get(key, [])[:2] == stamp:
            hashes.append(known[key][2])
            continue
        hashes.append(sha256_file(path))
        if time.time() - state.st_mtime > SETTLED:
            news[key] = [*stamp, hashes[-1]]
    if news:
        _save(place, {**({} if len(known) > MOST else known), **news})
    return hashes


def _load(place: Path) -> dict[str, list]:
    try:
        return read_json(place) if place.is_file() else {}
    except (GroundscopeError, OSError):
        return {}


def _save(place: Path, hashes: dict[str, list]) -> None:
    try:
        write_json(place, hashes)
    except OSError:
        return
