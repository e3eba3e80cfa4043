"""Match and mismatch by repainted pictures: does seeing a thing help to predict its word?

A test shows a picture that holds the word's thing, then says a neutral sentence that stops right before the word. In
the mismatch the box of that thing is repainted as another thing, and nothing else of the picture changes (the paper's
image-grounded setting). The tests are `PromptBatch`es, so that saliency, heads and the causal test read them as they
read text: the ground is the patches inside the box, the scene all patches.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float

from groundscope.behaviour.picture_worlds import PictureTest
from groundscope.corpus.boxes import Patches
from groundscope.corpus.picture_stream import picture_ids
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.mechanism.heads import analysing
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.mechanism.prompts import PromptBatch, group_by_length
from groundscope.mechanism.readout import last_states, target_surprisal
from groundscope.models.base import LanguageModel
from groundscope.statistics.paired import sign_flip_test
from groundscope.statistics.resampling import generator
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

PICTURES = TableSchema(
    "pictures",
    "one word in one style of drawing at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("encoder", pl.String(), "the frozen vision encoder, and whether its weights are random"),
        Column("projector", pl.String(), "how patches enter the stream: none, random (fixed) or linear (learned)"),
        Column(
            "style", pl.String(), "style of drawing of composed pictures; of photographs: seen or new (not in training)"
        ),
        Column("held_out", pl.Boolean(), "whether training showed no picture in the style, none of the photographs"),
        Column("word", pl.String(), "the word that is predicted"),
        Column("n_pictures", pl.Int64(), "pictures averaged over"),
        Column("match_nats", pl.Float64(), "surprisal where the picture holds the word's thing"),
        Column("mismatch_nats", pl.Float64(), "surprisal where its box is repainted as another thing"),
        Column("gain_nats", pl.Float64(), "mismatch minus match"),
        Column("p", pl.Float64(), "one-sided sign-flip test of the gain over pictures"),
    ),
)


def picture_prompts(
    tests: Sequence[PictureTest], vocabulary: Vocabulary, looks: Sequence[Patches], *, inside: float = 0.5
) -> list[PromptBatch]:
    """Return the tests as prompts, one batch per length, numbered as ``tests`` are.

    ``looks`` tells where the encoder's positions look in the picture of each test; the bank holds
    `picture_worlds.drawings` in order. Raises VocabularyError for words that were never said in training.
    """
    positions, each = len(looks[0]), 1 + len(tests[0].instead)
    frames = [vocabulary.encode([test.said]) for test in tests]
    batches = []
    for length, members in group_by_length([len(frame) for frame in frames]).items():
        numbers = np.array(members)
        pictures = picture_ids(numbers[:, None] * each + np.arange(each), positions, vocabulary)
        ids = np.full((len(members), each, 1 + positions + length), vocabulary.document_id)
        ids[:, :, 1 : 1 + positions] = pictures
        ids[:, :, 1 + positions :] = np.array([frames[member] for member in members])[:, None]
        ground, scene = (np.zeros((len(members), ids.shape[2]), dtype=bool) for _ in range(2))
        for row, member in enumerate(members):
            scene[row, 1 : 1 + positions] = looks[member].looks_somewhere
            ground[row, 1 : 1 + positions] = looks[member].inside(tests[member].box, inside)
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
    identity: Mapping[str, Any],
) -> pl.DataFrame:
    """Return table `PICTURES`; ``identity`` holds `CHECKPOINT_COLUMNS`, encoder and projector."""
    rows = []
    for style, word, chosen in by_word(tests):
        gain = readings.mismatch[chosen] - readings.match[chosen]
        rows.append(
            {
                **identity,
                "style": style,
                "held_out": tests[int(chosen.argmax())].held_out,
                "word": word,
                "n_pictures": int(chosen.sum()),
                "match_nats": float(readings.match[chosen].mean()),
                "mismatch_nats": float(readings.mismatch[chosen].mean()),
                "gain_nats": float(gain.mean()),
                "p": exchange_p(gain),
            }
        )
    return PICTURES.frame(rows)


def exchange_p(gain: Float[np.ndarray, " test"]) -> float:
    """Return the one-sided p of a gain of zero over pictures: exact up to 12 of them, else by 9,999 draws."""
    draws = generator(0, "pictures")
    return float(sign_flip_test(gain[:, None], alternative="greater", draws=9999, rng=draws)[0])


def by_word(tests: Sequence[PictureTest]) -> list[tuple[str, str, Bool[np.ndarray, " test"]]]:
    """Return (style, word, which tests are theirs), in the order of the tests."""
    keys = [(test.style, test.word) for test in tests]
    return [(*key, np.array([k == key for k in keys])) for key in dict.fromkeys(keys)]
