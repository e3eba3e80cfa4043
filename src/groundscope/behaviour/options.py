"""What a study says about behaviour: words, contexts, conditions."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from groundscope.behaviour.mismatch import Mismatch
from groundscope.behaviour.prompts import Direction
from groundscope.behaviour.words import Kind
from groundscope.corpus.arms import Arm
from groundscope.record import Record
from groundscope.trajectory.at import AT, At


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


class BehaviourOptions(Record):
    """Which words are measured, in which contexts, and what counts as a mismatch."""

    kinds: tuple[Kind, ...] = Field(
        default=(Kind.NOUN,),
        min_length=1,
        description="noun, verb, adjective; the first is the one that conclusions are about, and words, contexts and "
        "controls are its own: further kinds take the shipped words and contexts",
    )
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
        default=(
            Control.SHUFFLED,
            Control.ONE_VOCABULARY,
            Control.SINGLE_WORD,
            Control.FILLER_FIRST,
            Control.MISMATCH_SAME_CATEGORY,
            Control.MISMATCH_FREQUENCY,
        ),
        description="measurements beside the main one; each costs about as much as one direction, and those that only "
        "choose other scenes cost that once for all of them",
    )
    controls_at: At = Field(default="few", description=AT)
    neutral_within: float | None = Field(
        default=None,
        gt=0,
        description="nats; leave out frames whose own preference among the words is larger (table audit), in controls, "
        "mechanism and lenses, too, which then wait for all trainings; single words are then tested in controls alone; "
        "none: keep all",
    )
    acquisition: Path | None = Field(
        default=None,
        description="a CSV file with columns definition and aoa_months_50pct: the ages at which children say the words",
    )
    window: int | None = Field(
        default=None,
        ge=1,
        description="tokens from scene word to spoken word that count as co-occurring; none: a chunk",
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="of the forwards; normalisers are fp32")
    seed: int = Field(default=0, ge=0, description="seed of sampled mismatches and of shuffled scenes")

    @field_validator("kinds", "controls")
    @classmethod
    def _once(cls, asked: tuple[StrEnum, ...]) -> tuple[StrEnum, ...]:
        return _distinct(asked)

    @property
    def kind(self) -> Kind:
        """The kind of word that conclusions are about."""
        return self.kinds[0]


class AblationStudy(Record):
    """Models trained again without co-occurrence: which doses, which arms, which of the study's models."""

    remove: tuple[Annotated[int, Field(ge=0, le=100)], ...] = Field(
        default=(0, 25, 50, 75, 90, 100),
        min_length=1,
        description="percent of the co-occurring chunks to remove; 0 is the study's own training",
    )
    arms: tuple[Arm, ...] = Field(
        default=(Arm.COOCCURRING, Arm.RANDOM),
        min_length=1,
        description="cooccurring: remove those chunks; separated: exchange their scene words, and remove nothing; "
        "random: remove as many of all chunks; control: as many of the others",
    )
    models: tuple[str, ...] | None = Field(default=None, description="names of models of the study; none: all")
    at: At = Field(default="few", description=f"measured {AT}; no other weights of these trainings are kept")
    seed: int = Field(default=0, ge=0, description="of the choice of chunks")

    @field_validator("remove", "arms")
    @classmethod
    def _once(cls, asked: tuple[Any, ...]) -> tuple[Any, ...]:
        return _distinct(asked)


class OneFormStudy(Record):
    """Models trained again with one form for scene and speech: plain in-context retrieval, to compare with."""

    models: tuple[str, ...] | None = Field(default=None, description="names of models of the study; none: all")
    at: At = Field(default="few", description=f"measured {AT}; no other weights of these trainings are kept")


def _distinct(asked: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = next((item for item in asked if asked.count(item) > 1), None)
    if twice is not None:
        raise ValueError(f"'{twice}' is listed twice")
    return asked
