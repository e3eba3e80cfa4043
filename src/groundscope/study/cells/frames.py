"""Which frames count: those that a study leaves out for favouring some words are left out by all that it weighs.

A frame is judged at the end of all trainings (table ``audit``), so what is measured in the neutral frames alone waits
for `JUDGED`. Held-out frames are not judged.
"""

from pathlib import Path
from typing import Any

import polars as pl

from groundscope.behaviour.audit import AUDIT, frames_within, gain_in_neutral_frames
from groundscope.behaviour.contexts import Context, ContextSet
from groundscope.behaviour.measure import GAIN, SURPRISAL
from groundscope.errors import StudyError
from groundscope.study.cell import Source, Upstream
from groundscope.study.cells.tables import joined
from groundscope.study.config import Study
from groundscope.tables import read_table

JUDGED = "statistics/behaviour"
"""The cell that holds the audit of all checkpoints."""


def all_count(study: Study) -> bool:
    """Whether the study keeps all frames, so that nothing has to wait for the audit."""
    return study.behaviour.neutral_within is None


def judgement(study: Study) -> tuple[Source, ...]:
    """Return what a cell reads to know which frames count; nothing where all do."""
    return () if all_count(study) else (Source(JUDGED, AUDIT.name),)


def setting(study: Study) -> dict[str, Any]:
    """Return the setting that a cell depends on then."""
    return {} if all_count(study) else {"neutral_within": study.behaviour.neutral_within}


def audited(run: Path) -> pl.DataFrame:
    """Return table ``audit`` of all checkpoints."""
    return read_table(run / JUDGED / f"{AUDIT.name}.parquet", AUDIT)


def gain_of_branch(study: Study, run: Path, upstream: Upstream, branch: str) -> pl.DataFrame:
    """Table ``gain`` of one branch, as `statistics/behaviour` weighs it: one kind of word, in the frames that count."""
    gain, surprisal = (joined(run, upstream, f"{branch}behaviour/", schema) for schema in (GAIN, SURPRISAL))
    within = study.behaviour.neutral_within
    if within is not None and not gain.is_empty():
        gain = gain_in_neutral_frames(surprisal, gain, audited(run), within)
    return gain.filter(kind=study.behaviour.kind.value)


def neutral(study: Study, run: Path, contexts: ContextSet) -> ContextSet:
    """Return those of the contexts, of the conclusions' kind, that the study keeps.

    Raises StudyError where none is left for some word.
    """
    within = study.behaviour.neutral_within
    if within is None:
        return contexts
    kept = frames_within(audited(run), within).filter(kind=study.behaviour.kind.value)["context"]

    def among(given: tuple[Context, ...]) -> tuple[Context, ...]:
        return tuple(context for context in given if context.name in kept)

    own = {word: among(given) for word, given in contexts.own.items()}
    lost = next((word for word, given in own.items() if not given), None)
    if lost is not None:
        raise StudyError(
            f"No frame of '{lost}' favours words by at most {within} nats. Raise behaviour.neutral_within, or leave "
            "the word out."
        )
    return ContextSet(among(contexts.shared), own)
