"""The stream that every reader yields and everything after it consumes: documents of utterances."""

from dataclasses import dataclass
from enum import StrEnum

UNKNOWN = "<unk>"
"""Stands in `Utterance.words` for something said or shown of which nobody knows what it was."""


class Channel(StrEnum):
    """Which of the two unrelated vocabularies a word belongs to."""

    ENV = "ENV"
    """A description of the scene."""
    LAN = "LAN"
    """Speech."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Words of one channel under one speaker's tag, in the order in which a model reads them.

    ``tier`` is ``"main"`` for speech and the dependent tier's name (``"act"``, ``"sit"``, ...) for the scene.
    ``line`` counts from 1 in the source file; 0 where the source has no lines.
    """

    speaker: str
    channel: Channel
    words: tuple[str, ...]
    tier: str
    line: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read as it stood: one row of a corpus's error table."""

    file: str
    line: int
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Document:
    """One transcript: its utterances in reading order, and what went wrong on the way.

    ``name`` is its path inside the archive or folder, ``collection`` its corpus (``"Brown"``).
    ``main_tiers`` counts the utterances that the source holds, those without any word included.
    """

    name: str
    collection: str
    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...]
    main_tiers: int
