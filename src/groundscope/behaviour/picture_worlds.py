"""A world of pictures and talk, composed or photographed, as everything after it takes it: data, and pictures to draw.

Training shows pictures with talk. A test shows a picture that holds a word's thing and says a neutral sentence that
stops right before the word; in its mismatches the box of that thing is repainted as another thing. What a picture is
made of is its world's own affair: here it is something that can be drawn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image
from pydantic import Field

from groundscope.corpus.boxes import Box, Size
from groundscope.corpus.scenes import ANSWERS
from groundscope.corpus.utterance import Channel, Problem, Utterance
from groundscope.record import Record

Draw = Callable[[], Image.Image]
_VOWELS = tuple("aeiou")


class PictureTestOptions(Record):
    """How much is tested."""

    pictures: int = Field(default=5, ge=1, description="test pictures per word and style")
    mismatches: int = Field(default=2, ge=1, description="things that each test picture's box is repainted as")
    inside: float = Field(default=0.5, gt=0, le=1, description="least share of a patch in the box to be in it")


class PictureTest(Record):
    """One test: a picture with the word's thing in a box, what stands there in its mismatches, and the sentence."""

    name: str
    word: str
    style: str = Field(description="of composed pictures the style of drawing; of photographs whether training saw it")
    held_out: bool = Field(description="whether training showed no such picture")
    sentence: str = Field(description="stops right before the word; <Q> in front: said by Q, else by who answers")
    size: Size
    box: Box
    instead: tuple[str, ...] = Field(description="what the box shows in each mismatch")

    @property
    def said(self) -> Utterance:
        """The sentence as an utterance."""
        return utterance_of(self.sentence)


class DrawnTest(NamedTuple):
    """A test and its pictures."""

    test: PictureTest
    match: Draw
    mismatches: tuple[Draw, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the training: which words' things it shows, and what is said about it, in one talk or several.

    Each talk is read by itself behind the picture: what one person says would else foretell what another says.
    """

    words: tuple[str, ...]
    talks: tuple[tuple[Utterance, ...], ...]
    draw: Draw


@dataclass(frozen=True, slots=True)
class PictureWorld:
    """Words with their categories, what training is shown, and the tests, those of a style and word together."""

    categories: Mapping[str, str]
    training: Sequence[Shown]
    tests: Sequence[DrawnTest]
    problems: Sequence[Problem] = ()
    about: Sequence[str] = ()
    """Lines that tell people what was found."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are measured."""
        return tuple(self.categories)


def utterance_of(sentence: str) -> Utterance:
    """Read a sentence of a test: ``<Q> can you see the`` is said by Q, one without a tag by who answers."""
    speaker, words = ANSWERS, sentence.split()
    if words and words[0].startswith("<") and words[0].endswith(">"):
        speaker, words = words[0][1:-1], words[1:]
    return Utterance(speaker, Channel.LAN, tuple(words), "main", 0)


def before(sentence: str, word: str) -> str:
    """Return a sentence as it stands before a word: ``this is a`` becomes ``this is an`` before an ``apple``."""
    return f"{sentence}n" if sentence.split()[-1] == "a" and word.startswith(_VOWELS) else sentence


def drawings(tests: Iterable[DrawnTest]) -> list[Draw]:
    """Return the pictures of tests in the order of their bank: each match, followed by its mismatches."""
    return [draw for test in tests for draw in (test.match, *test.mismatches)]
