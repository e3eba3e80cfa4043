"""What there is in a toy world: its dials, and the things, actions and properties with their names and frequencies."""

import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from pydantic import Field

from groundscope.corpus import toywords as words
from groundscope.record import Record


class Kind(StrEnum):
    """What a word of the lexicon stands for: a thing, an action or a property."""

    NOUN = "noun"
    VERB = "verb"
    ADJECTIVE = "adjective"


_INVENTORY = {Kind.NOUN: words.NOUNS, Kind.VERB: words.VERBS, Kind.ADJECTIVE: words.ADJECTIVES}


class ToyWorldOptions(Record):
    """Size and dials of the toy world.

    The defaults make a world of which a small Transformer learns the words in a few hundred steps.
    """

    documents: int = Field(default=8000, ge=1, description="Number of documents.")
    scenes: int = Field(default=6, ge=1, description="Scenes per document.")
    seed: int = Field(default=0, ge=0, description="Seed of everything: the lexicon, the scenes and the talk.")
    nouns: int = Field(default=110, ge=2, le=len(words.NOUNS), description="Number of different things.")
    verbs: int = Field(default=24, ge=1, le=len(words.VERBS), description="Number of different actions.")
    adjectives: int = Field(default=24, ge=1, le=len(words.ADJECTIVES), description="Number of different properties.")
    zipf: float = Field(
        default=0.5, ge=0, le=3, description="Exponent of the Zipfian orders; 0: all words equally frequent."
    )
    cooccurrence: float = Field(
        default=0.8, ge=0, le=1, description="Probability that what is talked about is in the scene."
    )
    things: int = Field(
        default=2, ge=1, le=20, description="Different things around in a document; its scenes are set with them."
    )
    described: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Probability that a document's scenes are described; else it is speech alone.",
    )
    distractors: int = Field(
        default=1, ge=0, le=10, description="Things in a scene besides the one that may be talked about."
    )
    lag: int = Field(
        default=0, ge=0, description="Utterances about nothing between a scene's description and the talk."
    )
    noise: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="Probability that a word is replaced by another of its kind, in both channels.",
    )
    env_forms: int = Field(
        default=1, ge=1, le=5, description="Forms per thing, action or property in the scene's vocabulary."
    )
    lan_forms: int = Field(
        default=1, ge=1, le=5, description="Forms per thing, action or property in speech's vocabulary."
    )


@dataclass(frozen=True, slots=True)
class Concept:
    """Something that can be in a scene and be talked about, with its forms in both channels.

    The first form in each channel is its name, an English word; further ones are made up. ``shown`` and ``said``
    are the probabilities, within its kind, of being drawn for a scene and for talk about what is not there.
    """

    name: str
    kind: Kind
    env_forms: tuple[str, ...]
    lan_forms: tuple[str, ...]
    shown: float
    said: float


def draw_lexicon(options: ToyWorldOptions) -> tuple[Concept, ...]:
    """Draw which words there are, how frequent they are shown and said, and their further forms."""
    made_up = _made_up_words(options.seed)
    lexicon: list[Concept] = []
    for kind, size in zip(Kind, (options.nouns, options.verbs, options.adjectives), strict=True):
        rng = random.Random(f"toyworld {options.seed} lexicon {kind}")
        names = rng.sample(_INVENTORY[kind], size)
        weights = [rank**-options.zipf for rank in range(1, size + 1)]
        shown = [weight / sum(weights) for weight in weights]
        said = rng.sample(shown, size)
        lexicon += [
            Concept(
                name,
                kind,
                (name, *(next(made_up) for _ in range(options.env_forms - 1))),
                (name, *(next(made_up) for _ in range(options.lan_forms - 1))),
                shown[i],
                said[i],
            )
            for i, name in enumerate(names)
        ]
    return tuple(lexicon)


def _made_up_words(seed: int) -> Iterator[str]:
    """Yield pronounceable words that are all different and none of the toy world's English."""
    rng = random.Random(f"toyworld {seed} forms")
    used: set[str] = set()
    while True:
        word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(3)) + rng.choice("kmnpx")
        if word not in used:
            used.add(word)
            yield word


class Draws:
    """Draws concepts of one kind by how often they are shown, or talked of in their absence."""

    def __init__(self, concepts: Sequence[Concept]):
        self.concepts = concepts
        self._shown = list(accumulate(concept.shown for concept in concepts))
        self._said = list(accumulate(concept.said for concept in concepts))

    def shown(self, rng: random.Random) -> Concept:
        """Draw something for a scene."""
        return self.concepts[bisect(self._shown, rng.random() * self._shown[-1], hi=len(self.concepts) - 1)]

    def said(self, rng: random.Random) -> Concept:
        """Draw something to talk of in its absence."""
        return self.concepts[bisect(self._said, rng.random() * self._said[-1], hi=len(self.concepts) - 1)]
