"""What a study says about behaviour: words, contexts, conditions."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from groundscope.behaviour.mismatch import Mismatch
from groundscope.behaviour.prompts import Direction
from groundscope.behaviour.words import Kind


class Control(StrEnum):
    """A measurement beside the main one, in which the scene should help less, as much, or not at all."""

    ONE_VOCABULARY = "one_vocabulary"
    """The cue is the predicted form itself, both spoken: plain retrieval of a repeated word."""
    SINGLE_WORD = "single_word"
    """The scene is the word alone."""
    FILLER_FIRST = "filler_first"
    """An empty remark stands first: the first position draws attention whatever stands there."""
    DISTANT = "distant"
    """Empty remarks stand between scene and word."""
    HELD_OUT = "held_out"
    """Frames that are unlikely in any corpus."""
    SHUFFLED = "shuffled"
    """Each word's "matching" scene is another word's: no gain is possible."""
    MISMATCH_SAMPLE = "mismatch_sample"
    """A seeded sample of the other words as mismatches."""
    MISMATCH_SAME_CATEGORY = "mismatch_same_category"
    """Words of the same category as mismatches."""
    MISMATCH_OTHER_CATEGORY = "mismatch_other_category"
    """Words of other categories as mismatches."""
    MISMATCH_FREQUENCY = "mismatch_frequency"
    """Words of like frequency as mismatches."""


class BehaviourOptions(BaseModel):
    """Which words are measured, in which contexts, and what counts as a mismatch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(default=Kind.NOUN, description="noun, verb or adjective")
    words: Literal["listed", "paper"] | tuple[str, ...] = Field(
        default="listed", description="listed: the shipped words of the kind; paper: the hundred nouns; or a list"
    )
    minimum: int = Field(default=100, ge=1, description="times a word must stand in the scene and in speech")
    at_most: int | None = Field(default=None, ge=2, description="keep only so many words, the most frequent")
    contexts: Path | None = Field(default=None, description="a YAML or JSON file of contexts; none: the shipped ones")
    directions: tuple[Direction, ...] = Field(
        default=(Direction.ENV2LAN, Direction.LAN2ENV), min_length=1, description="env2lan, lan2env, lan2lan"
    )
    mismatch: Mismatch = Field(
        default=Mismatch.ALL,
        description="which scenes mismatch a word: all others, sample, same_category, other_category, frequency",
    )
    mismatches: int = Field(default=10, ge=1, description="mismatched scenes per word where a rule chooses some")
    controls: tuple[Control, ...] = Field(
        default=(), description="measurements beside the main one, at every checkpoint; each costs about as much"
    )
    window: int | None = Field(
        default=None,
        ge=1,
        description="tokens from scene word to spoken word that count as co-occurring; none: a chunk",
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="of the forwards; normalisers are fp32")
    seed: int = Field(default=0, description="seed of sampled mismatches")
