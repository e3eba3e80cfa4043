"""The files below folders, links followed: what readers read, and what signatures are computed from."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Unreadable = Callable[[Path, OSError], None]


def files_below(roots: Sequence[Path], unreadable: Unreadable) -> Iterator[tuple[int, Path]]:
    """Yield the number of a root and a file below it, each file once, however many links and loops lead to it.

    A root is a folder, or a file that stands for itself. What lies below a root is found there under its own name, but
    for what is a root itself; what only links lead to is found under the first of them. ``unreadable`` is told of each
    folder that cannot be looked into and of each link that leads nowhere; the rest is walked all the same.
    """
    seen: set[str] = set()
    links: deque[tuple[int, Path]] = deque()
    for number, root in sorted(enumerate(roots), key=lambda numbered: os.path.isdir(numbered[1])):  # files first
        yield from _proper(number, root, seen, links, unreadable)
    while links:
        number, link = links.popleft()
        yield from _proper(number, link, seen, links, unreadable)


def _proper(
    number: int, place: Path, seen: set[str], links: deque[tuple[int, Path]], unreadable: Unreadable
) -> Iterator[tuple[int, Path]]:
    """Yield ``place``, or the files below it; links on the way are put off, so that files keep their own names."""
    waiting = [place]
    while waiting:
        path = waiting.pop()
        try:
            real = os.path.realpath(path, strict=True)
            if real in seen:
                continue
            seen.add(real)
            if not os.path.isdir(real):
                yield number, path
                continue
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            unreadable(path, error)
            continue
        waiting += [path / entry.name for entry in entries if not entry.is_symlink()]
        links.extend((number, path / entry.name) for entry in reversed(entries) if entry.is_symlink())
