"""Errors for people: what was asked, what was found, what to do."""

import difflib
from collections.abc import Iterable


class GroundscopeError(Exception):
    """Something that the reader can mend: shown as one line, without a traceback, exit status 2."""

    exit_status = 2


class CorpusError(GroundscopeError):
    """A corpus that cannot be read or built as asked."""


class VocabularyError(GroundscopeError):
    """A word, channel or id that the vocabulary does not hold."""


class ModelError(GroundscopeError):
    """A model that cannot be built, loaded or gated as asked."""


class AnalysisError(GroundscopeError):
    """An analysis asked of prompts, heads or a model that cannot give it."""


class StudyError(GroundscopeError):
    """A study file that asks for something impossible."""


class TableError(GroundscopeError):
    """A table that is missing or does not have the columns it should have."""


class RunError(GroundscopeError):
    """Work that began and could not be finished; what was finished is kept. Exit status 1."""

    exit_status = 1


class StoppedError(RunError):
    """A person stopped the work (Ctrl-C); the same command goes on from there."""

    exit_status = 130


class TrainingError(RunError):
    """Training that had to stop: the loss diverged, memory or disk ran out."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or ``""`` when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
