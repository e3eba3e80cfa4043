"""From contexts to token ids: prompts that differ in the scene word and in nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Int
from torch import Tensor

from groundscope.behaviour.contexts import SLOT, Context
from groundscope.corpus.utterance import Channel, Utterance
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import StudyError


class Direction(StrEnum):
    """Which channel holds the cue and which the word that is predicted."""

    ENV2LAN = "env2lan"
    """The question itself: does the scene help to predict the word?"""
    LAN2ENV = "lan2env"
    """In reverse: speech first, then the scene's word is predicted."""
    LAN2LAN = "lan2lan"
    """Control without two vocabularies: the cue is the very form that is predicted, so plain copying suffices."""

    @property
    def cue(self) -> Channel:
        """Channel of the cue."""
        return Channel.ENV if self is Direction.ENV2LAN else Channel.LAN

    @property
    def target(self) -> Channel:
        """Channel of the predicted word."""
        return Channel.ENV if self is Direction.LAN2ENV else Channel.LAN


class Shape(StrEnum):
    """How the cue sentence stands in the prompt."""

    PLAIN = "plain"
    """The cue sentence, then the sentence up to the word."""
    SINGLE_WORD = "single_word"
    """The cue word alone instead of its sentence."""
    FILLER_FIRST = "filler_first"
    """An empty remark before the cue sentence, so that the cue is far from the position that draws attention anyway."""
    DISTANT = "distant"
    """Empty remarks between cue sentence and word."""


FILLER = ("oh", "okay")
"""An empty remark."""
_REMARKS_BETWEEN = 3


@dataclass(frozen=True, slots=True)
class Prompts:
    """One context with every cue word: rows differ in column ``slot`` alone. The target would stand at ``time``."""

    context: str
    ids: Int[Tensor, "scene time"]
    slot: int

    @property
    def distance(self) -> int:
        """Tokens from the cue to the predicted word."""
        return self.ids.shape[1] - self.slot


def render(
    context: Context,
    cues: Sequence[str],
    vocabulary: Vocabulary,
    direction: Direction = Direction.ENV2LAN,
    shape: Shape = Shape.PLAIN,
) -> Prompts:
    """Return ``<SPEAKER> cue sentence <SPEAKER> sentence up to the word`` for every cue word (method, section 2).

    In reverse the LAN sentence with the cue comes first and the ENV sentence stops before its slot; without two
    vocabularies the ENV sentence is spoken. Raises VocabularyError for a cue word or speaker that the vocabulary lacks.
    """

    def utterance(channel: Channel, words: tuple[str, ...]) -> Utterance:
        return Utterance(context.speaker, channel, words, "", 0)

    if direction is Direction.LAN2ENV:
        cue, frame = (*context.lan, SLOT), context.env[: context.slot]
    else:
        cue, frame = context.env, context.lan
    if shape is Shape.SINGLE_WORD:
        cue = (SLOT,)
    remark = utterance(direction.target, FILLER)
    before = [remark] if shape is Shape.FILLER_FIRST else []
    between = [remark] * _REMARKS_BETWEEN if shape is Shape.DISTANT else []
    prompt = [*before, utterance(direction.cue, cue), *between, utterance(direction.target, frame)]
    slot = len(vocabulary.encode(before)) + 1 + cue.index(SLOT)
    ids = torch.tensor(vocabulary.encode(prompt)).repeat(len(cues), 1)
    ids[:, slot] = torch.tensor([vocabulary.id(word, direction.cue) for word in cues])
    _require_minimal_difference(ids, slot, context)
    return Prompts(context.name, ids, slot)


def targets(
    words: Sequence[str], vocabulary: Vocabulary, direction: Direction = Direction.ENV2LAN
) -> Int[Tensor, " target"]:
    """Return the ids of the words that are predicted; raises VocabularyError for a word that is missing."""
    return torch.tensor([vocabulary.id(word, direction.target) for word in words])


def _require_minimal_difference(ids: Int[Tensor, "scene time"], slot: int, context: Context) -> None:
    """Match and mismatch must differ in one token, or their difference would not be the scene word's doing."""
    differs = (ids != ids[:1]).any(dim=0)
    differs[slot] = False
    if differs.any() or len(ids[:, slot].unique()) != len(ids):
        raise StudyError(f"Context '{context.name}': its prompts must differ in the scene word and in nothing else.")
