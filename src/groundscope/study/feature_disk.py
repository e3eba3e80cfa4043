"""The disk that a study's image features take, before a picture is seen: pictures x positions x numbers x two bytes.

Training is shown each of its pictures, and each test draws a picture for its match and one for every mismatch; all of
them are kept as every encoder sees them. What cannot be known before is assumed, and said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import AutoConfig

from groundscope.corpus.picture_files import pictures_in
from groundscope.errors import StudyError
from groundscope.models.vision import EncoderOptions
from groundscope.study.config import PicturesSource, ScenesSource
from groundscope.study.paths import located

FP16 = 2
"""Bytes of a number."""
ASSUMED_WORDS = 80
"""Words of photographs where the study names none: the classes of COCO."""
ASSUMED_PATCH, ASSUMED_WIDTH, ASSUMED_CANVAS = 14, 768, 224
"""Of an encoder whose configuration is not on this machine: a ViT-B/14 as DINOv2 has it."""
_PARTS = ("training", "tests")


class EncoderShape(NamedTuple):
    """What an encoder makes of a picture; ``known`` is False where its configuration is not on this machine."""

    positions: int
    width: int
    known: bool


@dataclass(frozen=True, slots=True)
class FeatureNeed:
    """What the features of a study's pictures take."""

    pictures: int
    encoders: Mapping[str, EncoderShape]
    assumed: tuple[str, ...]
    """What was assumed, in words that go behind "if"; empty: nothing."""

    @property
    def by_encoder(self) -> dict[str, int]:
        """Bytes per encoder."""
        return {name: FP16 * self.pictures * one.positions * one.width for name, one in self.encoders.items()}

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.by_encoder.values())


def feature_need(source: PicturesSource, run: Path) -> FeatureNeed:
    """Return what the features of a study's pictures take, beside those that it may keep in a cache.

    Raises CorpusError for photographs that are not there, StudyError for a variable of their paths that is not set.
    """
    encoders = {name: shape_of(options) for name, options in source.encoders.items()}
    pictures, assumed = _pictures(source, run)
    guessed = [f"'{source.encoders[name].name}'" for name, one in encoders.items() if not one.known]
    if guessed:
        names = ", ".join(dict.fromkeys(guessed))
        assumed += (f"{names}, which is not on this machine, is {ASSUMED_WIDTH} wide with patches of {ASSUMED_PATCH}",)
    return FeatureNeed(pictures, encoders, assumed)


def shape_of(options: EncoderOptions) -> EncoderShape:
    """Return the positions and the width of an encoder's features, as far as this machine holds its configuration."""
    try:
        name = str(located(Path(options.name)))
        config = AutoConfig.from_pretrained(name, revision=options.revision, local_files_only=True)
    except (OSError, ValueError, KeyError, StudyError):
        config = None
    config = getattr(config, "vision_config", config)
    patch, width = _whole(config, "patch_size", ASSUMED_PATCH), _whole(config, "hidden_size", ASSUMED_WIDTH)
    side = (options.canvas or _whole(config, "image_size", ASSUMED_CANVAS)) // patch
    registers = _whole(config, "num_register_tokens", 0) if "registers" in options.keep else 0
    return EncoderShape(side * side + ("cls" in options.keep) + registers, width, config is not None)


def _whole(config: object, name: str, otherwise: int) -> int:
    value = getattr(config, name, None)
    return otherwise if value is None else int(value[0] if isinstance(value, list | tuple) else value)


def _pictures(source: PicturesSource, run: Path) -> tuple[int, tuple[str, ...]]:
    """How many pictures are kept, and what that takes for granted."""
    tests = source.tests
    drawn = tests.pictures * (1 + tests.mismatches)
    if isinstance(source, ScenesSource):
        scenes = source.scenes
        words = scenes.words if isinstance(scenes.words, int) else len(scenes.words)
        styles = len(scenes.styles) + (scenes.held_out is not None)
        return scenes.pictures + words * styles * drawn, ()
    if built := _built(source, run):
        return built, ("there are as many pictures as when the corpus was last built",)
    words = ASSUMED_WORDS if source.photographs.words is None else len(source.photographs.words)
    there = len(pictures_in([located(path) for path in source.photographs.images], []))
    seen = 2 if source.photographs.held_out else 1
    assumed = f"all {there:,} photographs have boxes and talk, and {words} words are tested on as many as may be"
    return ceil(there * (1 - source.photographs.held_out)) + words * seen * drawn, (assumed,)


def _built(source: PicturesSource, run: Path) -> int | None:
    """How many pictures a corpus holds that was built before; None where none was."""
    encoder = next(iter(source.encoders))
    banks = [run / "corpus" / f"{part}-{encoder}.npy" for part in _PARTS]
    if not all(bank.is_file() for bank in banks):
        return None
    return sum(len(np.load(bank, mmap_mode="r")) for bank in banks)
