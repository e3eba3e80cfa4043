"""One document of a toy world in the making: people act in scenes and talk about them, and the truth is kept."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from groundscope.corpus import toywords as words
from groundscope.corpus.toylexicon import Concept, Draws, Kind, ToyWorldOptions
from groundscope.corpus.utterance import Channel, Document, Utterance
from groundscope.tables import Column, TableSchema

# Habits of the toy world's people: how often they do what they may do
_ACTION = 0.3  # a scene has an action
_PROPERTY = 0.3  # a thing has a property
_PROPERTY_APART = 0.5  # a property is described by a sentence of its own, "looks at the red one"
_OTHER_KIND = 0.35  # talk is about the action or the property, where the scene has one
_SMALL_TALK = 0.1  # talk is preceded by an utterance about nothing
_SUBJECT = 0.15  # a description names who acts
_OPENER = 0.1  # talk begins with a word such as "oh"
_TAIL = 0.2  # a sentence goes on after the thing
_MOST_TALK = 3  # utterances about one scene

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


class Story:
    """One document in the making, and the truth about it."""

    def __init__(self, number: int, options: ToyWorldOptions, draws: Mapping[Kind, Draws]):
        """Play all scenes; the document depends on the options and its number alone."""
        self.name = f"toyworld-{number:06d}"
        self.mentions: list[tuple[Any, ...]] = []
        self.inventory: list[tuple[Any, ...]] = []
        self._options, self._draws = options, draws
        self._rng = random.Random(f"toyworld {options.seed} document {number}")
        self._utterances: list[Utterance] = []
        child, mother, *others = words.SPEAKERS
        self._people = (child, mother, *self._rng.sample(others, self._rng.randrange(3)))
        self._around = self._draw_things(max(options.things, 1 + options.distractors))
        self._is_described = self._rng.random() < options.described
        for self._scene in range(options.scenes):
            self._here: set[Concept] = set()
            self._described: dict[Concept, int] = {}  # -> number of the utterance that described it last
            self._play_scene()

    def document(self) -> Document:
        """Return the finished document."""
        main_tiers = sum(utterance.channel is Channel.LAN for utterance in self._utterances)
        return Document(self.name, "toyworld", tuple(self._utterances), (), main_tiers)

    def _play_scene(self) -> None:
        actor = self._choose(self._people)
        topics, sentences = self._set_scene(actor)
        if self._is_described:
            for sentence in sentences:
                self._say(actor, Channel.ENV, sentence)
        for _ in range(self._options.lag):
            self._small_talk()
        for _ in range(self._rng.randint(1, _MOST_TALK)):
            if self._rng.random() < _SMALL_TALK:
                self._small_talk()
            self._say(self._choose(self._people), Channel.LAN, self._talk(topics))

    def _set_scene(self, actor: str) -> tuple[list[Concept], list[list[str | Concept]]]:
        """Draw what is in the scene; return what may be talked about, the thing first, and the description."""
        rng = self._rng
        thing, *distractors = rng.sample(self._around, min(1 + self._options.distractors, len(self._around)))
        topics = [thing]
        self._place(thing, actor, topic=True)
        sentences = [self._describe(thing, self._property_of(thing, actor, topics))]
        for distractor in distractors:
            self._place(distractor, actor, topic=False)
            sentences.append(self._describe(distractor, self._property_of(distractor, actor, [])))
        if rng.random() < _ACTION:
            verb = self._draws[Kind.VERB].shown(rng)
            self._place(verb, actor, topic=True)
            topics.append(verb)
            before, after = self._common(words.ENV_ACTIONS)
            sentences.append([[*self._maybe(_SUBJECT, words.ENV_SUBJECTS), *before, verb, *after]])
        rng.shuffle(sentences)
        return topics, [part for parts in sentences for part in parts]

    def _property_of(self, thing: Concept, actor: str, topics: list[Concept]) -> Concept | None:
        if self._rng.random() >= _PROPERTY:
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
            *self._maybe(_SUBJECT, words.ENV_SUBJECTS),
            *self._common(words.ENV_LEADS),
            self._common(words.ENV_DETERMINERS),
            *named,
            *self._maybe(_TAIL, words.ENV_TAILS),
        ]

    def _talk(self, topics: list[Concept]) -> list[str | Concept]:
        """Say something about a topic of the scene, or about something of the same kind that is not there."""
        rng = self._rng
        meant = topics[0]
        if len(topics) > 1 and rng.random() < _OTHER_KIND:
            meant = self._choose(topics[1:])
        if rng.random() >= self._options.cooccurrence:
            meant = self._absent(meant.kind)
        opener = self._maybe(_OPENER, words.LAN_OPENERS)
        if meant.kind is Kind.VERB:
            before, after = self._common(words.LAN_ACTIONS)
            return [*opener, *before, meant, *after]
        named = [meant, "one"] if meant.kind is Kind.ADJECTIVE else [meant]
        lead, determiner = self._common(words.LAN_LEADS), self._common(words.LAN_DETERMINERS)
        return [*opener, *lead, determiner, *named, *self._maybe(_TAIL, words.LAN_TAILS)]

    def _small_talk(self) -> None:
        self._say(self._choose(self._people), Channel.LAN, self._common(words.LAN_SMALL_TALK))

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

    def _draw_things(self, n: int) -> list[Concept]:
        nouns = self._draws[Kind.NOUN]
        things: dict[Concept, None] = {}
        while len(things) < min(n, len(nouns.concepts)):
            things[nouns.shown(self._rng)] = None
        return list(things)

    def _absent(self, kind: Kind) -> Concept:
        """Draw something that is not in the scene; where everything of its kind is, there is no such thing."""
        draws = self._draws[kind]
        around = self._here.union(self._around)
        if all(concept in around for concept in draws.concepts):
            return draws.said(self._rng)
        while (concept := draws.said(self._rng)) in around:
            pass
        return concept

    def _choose(self, options: Sequence[Any]) -> Any:
        return options[int(self._rng.random() * len(options))]

    def _common(self, options: Sequence[Any]) -> Any:
        """Choose by Zipf's law: the k-th of n with probability ln((k + 1) / k) / ln(n + 1), about 1 / k."""
        return options[int((len(options) + 1) ** self._rng.random()) - 1]

    def _maybe(self, rate: float, phrases: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return self._common(phrases) if self._rng.random() < rate else ()
