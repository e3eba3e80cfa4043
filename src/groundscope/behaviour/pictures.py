"""Match and mismatch by repainted pictures: does seeing a thing help to predict its word?

A test shows a picture that holds the word's thing, then says a neutral sentence that stops right before the word. In
the mismatch the box of that thing is repainted as another thing, and nothing else of the picture changes (the paper's
image-grounded setting). The tests are `PromptBatch`es, so that saliency, heads and the causal test read them as they
read text: the ground is the patches inside the box, the scene all patches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float
from pydantic import Field

from groundscope.corpus.boxes import Box, Patches
from groundscope.corpus.picture_stream import picture_ids
from groundscope.corpus.scenes import ANSWERS, Scene, SceneWorld
from groundscope.corpus.utterance import Channel, Utterance
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.mechanism.heads import analysing
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.mechanism.prompts import PromptBatch, group_by_length
from groundscope.mechanism.readout import last_states, target_surprisal
from groundscope.models.base import LanguageModel
from groundscope.record import Record
from groundscope.statistics.paired import sign_flip_test
from groundscope.statistics.resampling import generator
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

FRAMES = ("look at the", "i see the", "here is the", "that is my", "i like this")
"""Neutral sentences of the composed world; they stop right before the word."""

PICTURES = TableSchema(
    "pictures",
    "one word in one style of drawing at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("encoder", pl.String(), "the frozen vision encoder, and whether its weights are random"),
        Column("projector", pl.String(), "how patches enter the stream: none, random (fixed) or linear (learned)"),
        Column("style", pl.String(), "style of the drawings that the pictures are composed of"),
        Column("held_out", pl.Boolean(), "whether the style was never shown in training"),
        Column("word", pl.String(), "the word that is predicted"),
        Column("n_pictures", pl.Int64(), "pictures averaged over"),
        Column("match_nats", pl.Float64(), "surprisal where the picture holds the word's thing"),
        Column("mismatch_nats", pl.Float64(), "surprisal where its box is repainted as another thing"),
        Column("gain_nats", pl.Float64(), "mismatch minus match"),
        Column("p", pl.Float64(), "one-sided sign-flip test of the gain over pictures"),
    ),
)


class PictureTestOptions(Record):
    """How much is tested."""

    pictures: int = Field(default=5, ge=1, description="test pictures per word and style")
    mismatches: int = Field(default=2, ge=1, description="things that each test picture's box is repainted as")
    inside: float = Field(default=0.5, gt=0, le=1, description="least share of a patch in the box to be in it")


@dataclass(frozen=True, slots=True)
class PictureTest:
    """One test: the picture with the word's thing, the same with others in its place, and the sentence."""

    word: str
    style: str
    match: Scene
    mismatches: tuple[Scene, ...]
    frame: str
    box: Box


def picture_tests(world: SceneWorld, options: PictureTestOptions) -> list[PictureTest]:
    """Return the tests of every word in every style, shown or held out; none of their pictures is in the training.

    A repainted thing is never one that the picture shows anyway, and is drawn in the same style.
    """
    styles = [*world.options.styles, *([world.options.held_out] if world.options.held_out else [])]
    tests = []
    for style in styles:
        for word in world.words:
            for number in range(options.pictures):
                name = f"test-{style}-{word}-{number}"
                match = world.scene(name, (style,), shows=word)
                others = [other for other in world.words if other not in match.words]
                draw = generator(world.options.seed, f"mismatch {name}")
                chosen = [others[int(i)] for i in draw.permutation(len(others))[: options.mismatches]]
                repainted = tuple(match.repainted(0, other) for other in chosen)
                frame = FRAMES[number % len(FRAMES)]
                tests.append(PictureTest(word, style, match, repainted, frame, world.box(match.things[0])))
    return tests


def scenes_of(tests: Sequence[PictureTest]) -> list[Scene]:
    """Return the pictures of tests in the order of their bank: each match, followed by its mismatches."""
    return [scene for test in tests for scene in (test.match, *test.mismatches)]


def picture_prompts(
    tests: Sequence[PictureTest], vocabulary: Vocabulary, patches: Patches, *, inside: float = 0.5
) -> list[PromptBatch]:
    """Return the tests as prompts, one batch per length, numbered as ``tests`` are.

    ``patches`` tells where the encoder's positions look; the bank holds `scenes_of` in order. Raises VocabularyError
    for words that were never said in training.
    """
    positions, each = len(patches), 1 + len(tests[0].mismatches)
    frames = [vocabulary.encode([_said(test.frame)]) for test in tests]
    batches = []
    for length, members in group_by_length([len(frame) for frame in frames]).items():
        numbers = np.array(members)
        pictures = picture_ids(numbers[:, None] * each + np.arange(each), positions, vocabulary)
        ids = np.full((len(members), each, 1 + positions + length), vocabulary.document_id)
        ids[:, :, 1 : 1 + positions] = pictures
        ids[:, :, 1 + positions :] = np.array([frames[member] for member in members])[:, None]
        ground, scene = (np.zeros((len(members), ids.shape[2]), dtype=bool) for _ in range(2))
        scene[:, 1 : 1 + positions] = patches.looks_somewhere
        for row, member in enumerate(members):
            ground[row, 1 : 1 + positions] = patches.inside(tests[member].box, inside)
        batches.append(
            PromptBatch(
                torch.from_numpy(ids[:, 0]),
                torch.tensor([vocabulary.id(tests[member].word, Channel.LAN) for member in members]),
                torch.from_numpy(ground),
                scene=torch.from_numpy(scene),
                numbers=torch.from_numpy(numbers),
                mismatch=torch.from_numpy(ids[:, 1:]),
            )
        )
    return batches


class PictureReadings(NamedTuple):
    """Surprisal in nats of each test's word, in the order of the tests."""

    match: Float[np.ndarray, " test"]
    mismatch: Float[np.ndarray, " test"]
    """Mean over the repainted pictures."""


def read_pictures(model: LanguageModel, groups: Sequence[PromptBatch], *, budget: int | None = None) -> PictureReadings:
    """Return the surprisal of every test in match and mismatch."""
    total = sum(len(group) for group in groups)
    match, mismatch = np.empty(total), np.empty(total)
    for group in groups:
        whole = group.with_mismatches().to(model.unembedding.device)
        bytes_each = group.time * model.unembedding.shape[1] * 48 + 8 * model.unembedding.shape[0]

        def read(part: slice, whole: PromptBatch = whole) -> torch.Tensor:
            here = whole[part]
            return target_surprisal(model, last_states(model, here), here.targets).double().cpu()

        with analysing(model), torch.no_grad():
            size = micro_batch(bytes_each, model.unembedding.device, budget)
            surprisal = torch.cat(in_micro_batches(read, len(whole), size)).numpy().reshape(len(group), -1)
        match[group.numbers.numpy()] = surprisal[:, 0]
        mismatch[group.numbers.numpy()] = surprisal[:, 1:].mean(axis=1)
    return PictureReadings(match, mismatch)


def pictures_table(
    readings: PictureReadings,
    tests: Sequence[PictureTest],
    held_out: str | None,
    identity: Mapping[str, Any],
) -> pl.DataFrame:
    """Return table `PICTURES`; ``identity`` holds `CHECKPOINT_COLUMNS`, encoder and projector."""
    rows = []
    for style, word, chosen in by_word(tests):
        gain = readings.mismatch[chosen] - readings.match[chosen]
        p = sign_flip_test(gain[:, None], alternative="greater", draws=9999, rng=generator(0, f"pictures {word}"))
        rows.append(
            {
                **identity,
                "style": style,
                "held_out": style == held_out,
                "word": word,
                "n_pictures": int(chosen.sum()),
                "match_nats": float(readings.match[chosen].mean()),
                "mismatch_nats": float(readings.mismatch[chosen].mean()),
                "gain_nats": float(gain.mean()),
                "p": float(p[0]),
            }
        )
    return PICTURES.frame(rows)


def by_word(tests: Sequence[PictureTest]) -> list[tuple[str, str, Bool[np.ndarray, " test"]]]:
    """Return (style, word, which tests are theirs), in the order of the tests."""
    keys = [(test.style, test.word) for test in tests]
    return [(*key, np.array([k == key for k in keys])) for key in dict.fromkeys(keys)]


def _said(frame: str) -> Utterance:
    return Utterance(ANSWERS, Channel.LAN, tuple(frame.split()), "main", 0)
