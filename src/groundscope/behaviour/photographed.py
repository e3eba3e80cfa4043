"""The world of photographs: what training saw is tested, and what it never saw, both by repainting a box.

The box of a test is that of the largest object of its word. In a mismatch it is repainted with a crop of another
photograph's object, or by an inpainting model, as a word that this photograph may not show and nobody speaks of there.
The other photograph is in training where the first is, and does not show the word that is tested.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from groundscope.behaviour.picture_worlds import (
    DrawnTest,
    PictureTest,
    PictureTestOptions,
    PictureWorld,
    Shown,
    before,
    utterance_of,
)
from groundscope.corpus.album import Album, PhotographOptions, Seen
from groundscope.corpus.boxes import Box, Patches, Size
from groundscope.corpus.inpainting import Inpainter
from groundscope.corpus.photographs import Labelled, Photograph
from groundscope.corpus.repainting import crop_swap
from groundscope.errors import CorpusError
from groundscope.record import Record
from groundscope.statistics.resampling import generator

TRAINED, NEW = "seen", "new"
"""What column ``style`` calls photographs that training showed, and those that it did not."""
_DONORS = 8
"""Of so many objects drawn at random the one whose box has the most similar proportions is taken."""

Looks = Callable[[Size], Sequence[Patches]]
"""Where the positions of each encoder look in photographs of a size."""


class Inpainting(Record):
    """Mismatches by a generative model, an extra."""

    inpaint: str = Field(description="folder or name of an inpainting pipeline of diffusers'")
    steps: int = Field(default=50, ge=1, description="denoising steps")
    device: str = Field(
        default="auto", description="where it runs: auto, where the encoders do (`training.device`); or cpu, cuda, ..."
    )


class PhotographTestOptions(PictureTestOptions):
    """Which boxes are tested, in which sentences, and how they are repainted."""

    pictures: int = Field(default=5, ge=1, description="at most so many photographs per word, seen and new ones each")
    box: tuple[float, float] = Field(
        default=(0.02, 0.5), description="least and greatest share of the photograph that the box of a test fills"
    )
    patches: int = Field(default=2, ge=1, description="patches that must be in the box, for every encoder")
    alone: bool = Field(default=False, description="only photographs that show one object of the box's class")
    sentences: tuple[str, ...] = Field(
        default=(
            "this is a",
            "there is a",
            "a picture of a",
            "a view of a",
            "next to a",
            "<Q> is there a",
            "<Q> can you see a",
        ),
        min_length=1,
        description="stop right before the word and favour none; those are used whose words are said in training. "
        "<Q> in front: said by Q, else by who answers; 'a' becomes 'an' before a vowel",
    )
    repaint: Literal["crop"] | Inpainting = Field(
        default="crop", description="crop: with another photograph's object; {inpaint: NAME}: by a generative model"
    )

    @model_validator(mode="after")
    def _possible(self) -> "PhotographTestOptions":
        least, most = self.box
        if not 0 <= least < most <= 1:
            raise ValueError(f"box is (least, most), shares of the photograph, found ({least}, {most})")
        if not all(utterance_of(sentence).words for sentence in self.sentences):
            raise ValueError("sentences hold an empty one")
        return self


def photographed_world(
    options: PhotographOptions, tests: PhotographTestOptions, looks: Looks, device: str = "cpu"
) -> PictureWorld:
    """Return the world of some photographs; a model that repaints them runs on ``device`` if no other is named for it.

    Raises CorpusError for what is missing, does not fit or is too little.
    """
    inpainter = None
    if isinstance(tests.repaint, Inpainting):  # first of all, since its weights may be missing
        named = tests.repaint.device
        inpainter = Inpainter.from_pretrained(tests.repaint.inpaint, device=device if named == "auto" else named)
    album = Album(options)
    chooser = _Chooser(album, tests, looks, inpainter)
    words = chooser.words
    drawn = list(chooser.tests())
    trained = album.trained
    return PictureWorld(
        {word: album.categories[word] for word in words},
        [
            Shown(tuple(word for word in one.words if word in words), one.photograph.talks, one.photograph.open)
            for one in trained
        ],
        drawn,
        album.problems,
        _about(album, chooser, drawn),
    )


@dataclass(frozen=True, eq=False)
class _Chooser:
    """Chooses what is tested and what stands in its place, all as a function of the seed."""

    album: Album
    options: PhotographTestOptions
    looks: Looks
    inpainter: Inpainter | None

    @cached_property
    def targets(self) -> list[Mapping[str, Labelled]]:
        """Of each photograph the words that can be tested on it, each with the object whose box it is."""
        return [dict(self._targets(one)) for one in self.album.seen]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words that are measured."""
        trained = zip(self.album.seen, self.targets, strict=True)
        return self.album.words({word for one, found in trained if one.is_trained for word in found})

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The sentences whose every word and speaker is heard in training, as they stand before every word."""
        heard = {word for one in self.album.trained for word in one.said}
        speakers = {
            utterance.speaker for one in self.album.trained for talk in one.photograph.talks for utterance in talk
        }
        usable = tuple(
            sentence
            for sentence in self.options.sentences
            if utterance_of(sentence).speaker in speakers and not self._unheard(sentence, heard)
        )
        if not usable:
            first = utterance_of(self.options.sentences[0])
            missing = self._unheard(self.options.sentences[0], heard) or [f"<{first.speaker}>"]
            raise CorpusError(
                f"No sentence of the tests can be said: of '{self.options.sentences[0]}' training never hears "
                f"'{missing[0]}'. Give corpus.tests.sentences that the talk has the words for."
            )
        return usable

    def _unheard(self, sentence: str, heard: Collection[str]) -> list[str]:
        said = dict.fromkeys(part for word in self.words for part in utterance_of(before(sentence, word)).words)
        return [part for part in said if part not in heard]

    def tests(self) -> Iterator[DrawnTest]:
        """Yield the tests, seen photographs first; raises CorpusError for a word of which no seen one can be tested."""
        for is_trained, style in ((True, TRAINED), (False, NEW)):
            for word in self.words:
                found = list(self._tests_of(word, is_trained, style))
                if is_trained and not found:
                    raise CorpusError(
                        f"'{word}' has photographs, but in none of them are there {self.options.mismatches} other "
                        "words to repaint it as. Lower corpus.tests.mismatches, or measure more words."
                    )
                yield from found

    def _tests_of(self, word: str, is_trained: bool, style: str) -> Iterator[DrawnTest]:
        mine = [
            number
            for number, one in enumerate(self.album.seen)
            if one.is_trained == is_trained and word in self.targets[number]
        ]
        order = generator(self.album.options.seed, f"tests {style} {word}").permutation(len(mine))
        count = 0
        for place in order:
            number = mine[int(place)]
            one, thing = self.album.seen[number], self.targets[number][word]
            name = f"{one.photograph.name}-{word}"
            chosen = self._others(one, word, name)
            if chosen is None:
                continue
            sentence = before(self.sentences[count % len(self.sentences)], word)
            test = PictureTest(
                name=name,
                word=word,
                style=style,
                held_out=not is_trained,
                sentence=sentence,
                size=one.photograph.size,
                box=thing.box,
                instead=chosen,
            )
            repainted = tuple(self._repainted(one, word, thing, other, name) for other in chosen)
            yield DrawnTest(test, one.photograph.open, repainted)
            count += 1
            if count == self.options.pictures:
                return

    def _others(self, one: Seen, word: str, name: str) -> tuple[str, ...] | None:
        """The words that a box is repainted as; None where there are too few."""
        others = [other for other in self.words if other not in one.may_show and not one.speaks_of(other)]
        if self.inpainter is None:
            others = [other for other in others if any(self._donors_of(other, one, word))]
        if len(others) < self.options.mismatches:
            return None
        draw = generator(self.album.options.seed, f"mismatch {name}")
        return tuple(others[int(i)] for i in draw.permutation(len(others))[: self.options.mismatches])

    def _repainted(self, one: Seen, word: str, thing: Labelled, other: str, name: str) -> Callable[[], Image.Image]:
        photograph, draw = one.photograph, generator(self.album.options.seed, f"{name}={other}")
        if self.inpainter is not None and isinstance(self.options.repaint, Inpainting):
            seed, steps = int(draw.integers(2**31)), self.options.repaint.steps
            return partial(_inpainted, self.inpainter, photograph, thing.box, other, seed, steps)
        donors = list(self._donors_of(other, one, word))
        drawn = [donors[int(i)] for i in draw.permutation(len(donors))[:_DONORS]]
        donor, labelled = min(drawn, key=lambda one: abs(_proportions(one[1].box) - _proportions(thing.box)))
        return partial(_swapped, photograph, thing.box, donor, labelled.box)

    def _donors_of(self, other: str, one: Seen, word: str) -> Iterator[tuple[Photograph, Labelled]]:
        """The objects of another word that a test's box can be repainted with.

        Training showed the donor where it showed the test: a crop that it remembers would make a gap on a photograph
        that it never saw. And the donor may not show the word itself, which a crop (of a table) could hold (a bowl).
        """
        for donor, thing in self._donors.get((other, one.is_trained), ()):
            if word not in donor.may_show:
                yield donor.photograph, thing

    @cached_property
    def _donors(self) -> Mapping[tuple[str, bool], Sequence[tuple[Seen, Labelled]]]:
        """Of each word, in training or not, the objects that could be tested themselves."""
        found: dict[tuple[str, bool], list[tuple[Seen, Labelled]]] = {}
        for one, targets in zip(self.album.seen, self.targets, strict=True):
            for word, thing in targets.items():
                found.setdefault((word, one.is_trained), []).append((one, thing))
        return found

    def _targets(self, one: Seen) -> Iterator[tuple[str, Labelled]]:
        for word in one.words:
            mine = [thing for named, thing in one.objects if named == word]
            largest = max(mine, key=lambda thing: thing.box.area)
            is_alone = len(mine) == 1 and word not in one.unboxed
            if self._fits(one.photograph.size, largest.box) and (is_alone or not self.options.alone):
                yield word, largest

    def _fits(self, size: Size, box: Box) -> bool:
        least, most = self.options.box
        if not least <= box.area / size.whole.area <= most:
            return False
        inside = (int((patches.share_in(box) >= self.options.inside).sum()) for patches in self._looks(size))
        return min(inside) >= self.options.patches

    @cached_property
    def _looks(self) -> Looks:
        return cache(self.looks)


def _swapped(photograph: Photograph, box: Box, donor: Photograph, donor_box: Box) -> Image.Image:
    return crop_swap(photograph.open(), box, donor.open(), donor_box)


def _inpainted(inpainter: Inpainter, photograph: Photograph, box: Box, word: str, seed: int, steps: int) -> Image.Image:
    return inpainter.repaint(photograph.open(), box, word, seed=seed, steps=steps)


def _proportions(box: Box) -> float:
    return float(np.log(box.width / box.height))


def _about(album: Album, chooser: _Chooser, drawn: Sequence[DrawnTest]) -> list[str]:
    talked = [one for one in album.seen if one.photograph.talks]
    silent = len(album.seen) - len(talked)
    new = sum(one.test.held_out for one in drawn)
    lines = [
        f"{len(album.seen)} photographs with boxes: {len(album.trained)} in training, "
        f"{len(talked) - len(album.trained)} held out, {silent} that nobody talks about. "
        f"{sum(len(one.photograph.talks) for one in album.trained)} captions and dialogues to learn from.",
        f"Words: {', '.join(chooser.words)}. Tests: {len(drawn) - new} on seen photographs, {new} on new ones.",
    ]
    if unused := [one for one in chooser.options.sentences if one not in chooser.sentences]:
        lines.append(f"Sentences that the talk has no words for: {'; '.join(unused)}.")
    if album.problems:
        first = album.problems[0]
        lines.append(
            f"Not used, or only in part: {len(album.problems)} photographs, rows or files (table `problems`), "
            f"the first {first.file}: {first.why}."
        )
    return lines
