"""A generated world of scenes and talk about them, whose truth is known: the corpus that needs no data.

Nothing in it was ever said by anybody. A document is a sequence of scenes. In a scene somebody acts, with a few things
around, some of which have a property. The scene's description (ENV) is followed by talk (LAN) about one of the things,
about the action or a property, or about something that is not there. Who names what, when, and whether it is in the
scene, is in the table of mentions, so that every measure of grounding can be held against what is true.

What is shown often and what is talked of in its absence often are two unrelated Zipfian orders. A word's frequency in
speech therefore tells little about how often it stands together with its thing, and co-occurrence and frequency can be
told apart.
"""

import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from groundscope.corpus import toywords as words
from groundscope.corpus.utterance import Channel, Document, Utterance
from groundscope.tables import Column, TableSchema


class Kind(StrEnum):
    """What a word of the lexicon stands for: a thing, an action or a property."""

    NOUN = "noun"
    VERB = "verb"
    ADJECTIVE = "adjective"


_INVENTORY = {Kind.NOUN: words.NOUNS, Kind.VERB: words.VERBS, Kind.ADJECTIVE: words.ADJECTIVES}

_ACTION_RATE = 0.4  # of scenes that have an action
_PROPERTY_RATE = 0.35  # of things that have a property
_PROPERTY_APART = 0.5  # of properties described by a sentence of their own, "looks at the red one"
_SMALL_TALK_RATE = 0.2  # of talk that is preceded by an utterance about nothing
_OTHER_KIND_RATE = 0.4  # of talk that is about the action or the property, where the scene has one
_MOST_TALK = 3  # utterances about one scene


class ToyWorldOptions(BaseModel):
    """Size and dials of the toy world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: int = Field(default=5000, ge=1, description="Number of documents.")
    scenes: int = Field(default=8, ge=1, description="Scenes per document.")
    seed: int = Field(default=0, description="Seed of everything: the lexicon, the scenes and the talk.")
    nouns: int = Field(default=120, ge=2, le=len(words.NOUNS), description="Number of different things.")
    verbs: int = Field(default=24, ge=1, le=len(words.VERBS), description="Number of different actions.")
    adjectives: int = Field(default=24, ge=1, le=len(words.ADJECTIVES), description="Number of different properties.")
    zipf: float = Field(
        default=0.8, ge=0, le=3, description="Exponent of the Zipfian orders; 0: all words equally frequent."
    )
    cooccurrence: float = Field(
        default=0.75, ge=0, le=1, description="Probability that what is talked about is in the scene."
    )
    described: float = Field(
        default=1.0, ge=0, le=1, description="Probability that anybody wrote down what is in a scene."
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


MENTIONS = TableSchema(
    "toyworld_mentions",
    "one word of a toy world that stands for a thing, an action or a property",
    (
        Column("document", pl.String(), "name of the document"),
        Column("scene", pl.Int64(), "scene within the document, from 0"),
        Column("utterance", pl.Int64(), "utterance within the document, from 0"),
        Column("position", pl.Int64(), "word within the utterance, from 0, the speaker's tag not counted"),
        Column("speaker", pl.String(), "speaker code"),
        Column("channel", pl.String(), "ENV or LAN"),
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("concept", pl.String(), "name of what is meant"),
        Column("form", pl.String(), "word that stands in the document"),
        Column("noisy", pl.Boolean(), "whether that is a word for something else"),
        Column("in_scene", pl.Boolean(), "whether what is meant is in the scene, described or not"),
        Column("lag", pl.Int64(), "LAN: utterances between its last description in this scene and here; else null"),
    ),
)

SCENES = TableSchema(
    "toyworld_scenes",
    "something that is in a scene of a toy world",
    (
        Column("document", pl.String(), "name of the document"),
        Column("scene", pl.Int64(), "scene within the document, from 0"),
        Column("actor", pl.String(), "speaker code of who acts"),
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("concept", pl.String(), "name of the thing, action or property"),
        Column("of", pl.String(), "for a property: the thing that has it; else null"),
        Column("topic", pl.Boolean(), "whether talk about the scene may be about it; false for distractors"),
    ),
)


class ToyWorld:
    """A world given by its options alone: the same options, the same documents."""

    def __init__(self, options: ToyWorldOptions | None = None):
        """Draw the lexicon; documents are generated when asked for."""
        self.options = options or ToyWorldOptions()
        self.lexicon = _draw_lexicon(self.options)

    @property
    def nouns(self) -> tuple[str, ...]:
        """Names of all things, those shown most often first."""
        return tuple(concept.name for concept in self.lexicon if concept.kind is Kind.NOUN)

    def documents(self) -> Iterator[Document]:
        """Yield all documents."""
        for story in self._stories():
            yield story.document()

    def mentions(self) -> pl.DataFrame:
        """Return every mention of a concept; columns as in `MENTIONS`."""
        return _table(MENTIONS, (row for story in self._stories() for row in story.mentions))

    def scenes(self) -> pl.DataFrame:
        """Return what is in every scene; columns as in `SCENES`."""
        return _table(SCENES, (row for story in self._stories() for row in story.inventory))

    def _stories(self) -> Iterator["_Story"]:
        draws = {kind: _Draws([c for c in self.lexicon if c.kind is kind]) for kind in Kind}
        for number in range(self.options.documents):
            yield _Story(number, self.options, draws)


class _Draws:
    """Draws concepts of one kind by how often they are shown, or talked of in their absence."""

    def __init__(self, concepts: Sequence[Concept]):
        self.concepts = concepts
        self._shown = list(accumulate(concept.shown for concept in concepts))
        self._said = list(accumulate(concept.said for concept in concepts))

    def shown(self, rng: random.Random) -> Concept:
        return self.concepts[bisect(self._shown, rng.random() * self._shown[-1], hi=len(self.concepts) - 1)]

    def said(self, rng: random.Random) -> Concept:
        return self.concepts[bisect(self._said, rng.random() * self._said[-1], hi=len(self.concepts) - 1)]


class _Story:
    """One document in the making, and the truth about it."""

    def __init__(self, number: int, options: ToyWorldOptions, draws: dict[Kind, _Draws]):
        self.name = f"toyworld-{number:06d}"
        self.mentions: list[tuple[Any, ...]] = []
        self.inventory: list[tuple[Any, ...]] = []
        self._options, self._draws = options, draws
        self._rng = random.Random(f"toyworld {options.seed} document {number}")
        self._utterances: list[Utterance] = []
        child, mother, *others = words.SPEAKERS
        self._people = (child, mother, *self._rng.sample(others, self._rng.randrange(3)))
        for self._scene in range(options.scenes):
            self._here: set[Concept] = set()
            self._described: dict[Concept, int] = {}  # -> number of the utterance that described it last
            self._play_scene()

    def document(self) -> Document:
        main_tiers = sum(utterance.channel is Channel.LAN for utterance in self._utterances)
        return Document(self.name, "toyworld", tuple(self._utterances), (), main_tiers)

    def _play_scene(self) -> None:
        actor = self._choose(self._people)
        topics, sentences = self._set_scene(actor)
        if self._rng.random() < self._options.described:
            for sentence in sentences:
                self._say(actor, Channel.ENV, sentence)
        for _ in range(self._options.lag):
            self._small_talk()
        for _ in range(self._rng.randint(1, _MOST_TALK)):
            if self._rng.random() < _SMALL_TALK_RATE:
                self._small_talk()
            self._say(self._choose(self._people), Channel.LAN, self._talk(topics))

    def _set_scene(self, actor: str) -> tuple[list[Concept], list[list[str | Concept]]]:
        """Draw what is in the scene; return what may be talked about, the thing first, and the description."""
        rng = self._rng
        thing, *distractors = self._distinct_things(1 + self._options.distractors)
        topics = [thing]
        self._place(thing, actor, topic=True)
        sentences = [self._describe(thing, self._property_of(thing, actor, topics))]
        for distractor in distractors:
            self._place(distractor, actor, topic=False)
            sentences.append(self._describe(distractor, self._property_of(distractor, actor, [])))
        if rng.random() < _ACTION_RATE:
            verb = self._draws[Kind.VERB].shown(rng)
            self._place(verb, actor, topic=True)
            topics.append(verb)
            before, after = self._choose(words.ENV_ACTIONS)
            sentences.append([[*self._choose(words.ENV_SUBJECTS), *before, verb, *after]])
        rng.shuffle(sentences)
        return topics, [part for parts in sentences for part in parts]

    def _property_of(self, thing: Concept, actor: str, topics: list[Concept]) -> Concept | None:
        if self._rng.random() >= _PROPERTY_RATE:
            return None
        adjective = self._draws[Kind.ADJECTIVE].shown(self._rng)
        self._place(adjective, actor, of=thing, topic=thing in topics)
        if thing in topics:
            topics.append(adjective)
        return adjective

    def _place(self, concept: Concept, actor: str, *, topic: bool, of: Concept | None = None) -> None:
        self._here.add(concept)
        owner = None if of is None else of.name
        self.inventory.append((self.name, self._scene, actor, concept.kind.value, concept.name, owner, topic))

    def _describe(self, thing: Concept, adjective: Concept | None) -> list[list[str | Concept]]:
        """Describe a thing in one sentence, or in two where the property gets one of its own."""
        if adjective is None:
            return [self._show(thing)]
        if self._rng.random() < _PROPERTY_APART:
            return [self._show(thing), self._show(adjective, "one")]
        return [self._show(adjective, thing)]

    def _show(self, *named: str | Concept) -> list[str | Concept]:
        return [
            *self._choose(words.ENV_SUBJECTS),
            *self._choose(words.ENV_LEADS),
            self._choose(words.ENV_DETERMINERS),
            *named,
            *self._choose(words.ENV_TAILS),
        ]

    def _talk(self, topics: list[Concept]) -> list[str | Concept]:
        """Say something about a topic of the scene, or about something of the same kind that is not there."""
        rng = self._rng
        meant = topics[0]
        if len(topics) > 1 and rng.random() < _OTHER_KIND_RATE:
            meant = self._choose(topics[1:])
        if rng.random() >= self._options.cooccurrence:
            meant = self._absent(meant.kind)
        opener = self._choose(words.LAN_OPENERS)
        if meant.kind is Kind.VERB:
            before, after = self._choose(words.LAN_ACTIONS)
            return [*opener, *before, meant, *after]
        named = [meant, "one"] if meant.kind is Kind.ADJECTIVE else [meant]
        lead, determiner = self._choose(words.LAN_LEADS), self._choose(words.LAN_DETERMINERS)
        return [*opener, *lead, determiner, *named, *self._choose(words.LAN_TAILS)]

    def _small_talk(self) -> None:
        self._say(self._choose(self._people), Channel.LAN, self._choose(words.LAN_SMALL_TALK))

    def _say(self, speaker: str, channel: Channel, parts: Sequence[str | Concept]) -> None:
        """Put what is meant into words and remember every mention."""
        number = len(self._utterances)
        spoken = tuple(
            self._mention(part, speaker, channel, number, position) if isinstance(part, Concept) else part
            for position, part in enumerate(parts)
        )
        tier = "main" if channel is Channel.LAN else "scene"
        self._utterances.append(Utterance(speaker, channel, spoken, tier, 0))

    def _mention(self, meant: Concept, speaker: str, channel: Channel, utterance: int, position: int) -> str:
        named = meant
        if self._options.noise and self._rng.random() < self._options.noise:
            named = self._choose([c for c in self._draws[meant.kind].concepts if c is not meant] or [meant])
        form = self._choose(named.env_forms if channel is Channel.ENV else named.lan_forms)
        where = (self.name, self._scene, utterance, position, speaker, channel.value)
        lag = None
        if channel is Channel.ENV:
            self._described[meant] = utterance
        elif meant in self._described:
            lag = utterance - self._described[meant] - 1
        truth = (meant.kind.value, meant.name, form, named is not meant, meant in self._here, lag)
        self.mentions.append(where + truth)
        return form

    def _distinct_things(self, n: int) -> list[Concept]:
        nouns = self._draws[Kind.NOUN]
        things: dict[Concept, None] = {}
        while len(things) < min(n, len(nouns.concepts)):
            things[nouns.shown(self._rng)] = None
        return list(things)

    def _absent(self, kind: Kind) -> Concept:
        """Draw something that is not in the scene; where everything of its kind is, there is no such thing."""
        draws = self._draws[kind]
        if all(concept in self._here for concept in draws.concepts):
            return draws.said(self._rng)
        while (concept := draws.said(self._rng)) in self._here:
            pass
        return concept

    def _choose(self, options: Sequence[Any]) -> Any:
        return options[int(self._rng.random() * len(options))]


def _draw_lexicon(options: ToyWorldOptions) -> tuple[Concept, ...]:
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


def _table(schema: TableSchema, rows: Iterator[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema.dtypes, orient="row")  # type: ignore[arg-type]
