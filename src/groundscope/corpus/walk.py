"""The files below a folder, links to folders followed: what readers read, and what signatures are computed from."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(root: Path, unreadable: Callable[[Path, OSError], None]) -> Iterator[Path]:
    """Yield every file below ``root``, each folder once, however many links and loops of links lead to it.

    A folder is entered under its own name where it lies below ``root`` itself, else under the first link that leads
    to it. ``unreadable`` is told of each folder, or link, that cannot be looked into; the rest is walked all the same.
    """
    seen: set[tuple[int, int]] = set()
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        try:
            state = folder.stat()
            place = (state.st_dev, state.st_ino)
            if place in seen:
                continue
            seen.add(place)
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            unreadable(folder, error)
            continue
        for entry in entries:
            path = folder / entry.name
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                unreadable(path, error)
                continue
            if not is_folder:
                yield path
            elif entry.is_symlink():
                waiting.append(path)  # after all folders proper, so that those keep their own names
            else:
                waiting.appendleft(path)
