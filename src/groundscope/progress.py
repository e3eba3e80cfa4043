"""Progress for people: a live display on a terminal, plain lines everywhere else."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Task(Protocol):
    """One piece of work that is counted."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count ``amount`` more; ``note`` is shown beside the count, e.g. a loss or a rate."""
        ...


class Progress:
    """Shows tasks and messages on a stream; knows by itself whether a person is watching.

    ``live`` False: lines also on a terminal, which several processes share. ``lines_every``: the least number of
    seconds between two lines of one task.
    """

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, live: bool = True, lines_every: float = 10.0
    ):
        self._console = Console(file=stream or sys.stderr, quiet=quiet, highlight=False, soft_wrap=True)
        self._quiet, self._may_live = quiet, live
        self._lines_every = lines_every
        self._display: RichProgress | None = None

    def say(self, message: str) -> None:
        """Show one message, above the live display where there is one. Never interprets markup."""
        self._console.print(message, markup=False)

    @contextmanager
    def task(self, label: str, total: int | None, done: int = 0) -> Iterator[Task]:
        """Count a task of ``total`` units (None: nobody knows), of which ``done`` were finished in an earlier run."""
        if self._quiet:
            yield _Silent()
        elif self._may_live and self._console.is_terminal:
            with self._live() as display:
                number = display.add_task(label, total=total, completed=done, note="")
                try:
                    yield _Live(display, number)
                finally:
                    display.remove_task(number)
        else:
            lines = _Lines(self, label, total, done, self._lines_every)
            yield lines
            lines.close()

    @contextmanager
    def _live(self) -> Iterator[RichProgress]:
        if self._display is not None:  # a task inside a task shares the display
            yield self._display
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self._console, transient=True) as self._display:
            try:
                yield self._display
            finally:
                self._display = None


class _Silent:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


class _Live:
    def __init__(self, display: RichProgress, number):
        self._display, self._number = display, number

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._display.update(self._number, advance=amount, note=note)


class _Lines:
    def __init__(self, progress: Progress, label: str, total: int | None, done: int, every: float):
        self._progress, self._label, self._total, self._every = progress, label, total, every
        self._done = self._first = done
        self._started = self._last = time.monotonic()
        self._note = ""

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        self._note = note
        now = time.monotonic()
        if now - self._last >= self._every and (self._total is None or self._done < self._total):
            self._last = now
            rate = (self._done - self._first) / max(now - self._started, 1e-9)
            self._line(f"{self._counted()}, {rate:.3g}/s{self._left(rate)}")

    def close(self) -> None:
        self._line(f"{self._counted()} in {duration(time.monotonic() - self._started)}")

    def _left(self, rate: float) -> str:
        if self._total is None:
            return ""
        return f", {duration((self._total - self._done) / rate) if rate > 0 else 'unknown'} left"

    def _counted(self) -> str:
        return f"{self._done}" if self._total is None else f"{self._done}/{self._total}"

    def _line(self, text: str) -> None:
        self._progress.say(f"{self._label}: {text}{', ' + self._note if self._note else ''}")


def duration(seconds: float) -> str:
    """Write a duration as a person would: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: int, thing: str) -> str:
    """Write a number of things: ``1 cell``, ``12 cells``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
