"""One checkpoint through lenses: trained on a study's text, read on its prompts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Int
from torch import Tensor

from groundscope.errors import AnalysisError
from groundscope.mechanism.head_tables import Identity
from groundscope.mechanism.lens import Lens, LinearLens, LogitLens, TunedLens, lens_surprisal, predicting
from groundscope.mechanism.lens_table import lens_table
from groundscope.mechanism.lens_training import LensOptions, lens_fit, train_lens
from groundscope.mechanism.options import LensStudy
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.base import LanguageModel
from groundscope.statistics.resampling import generator

Chunks = Int[np.ndarray, "chunk time"]


class FittedLenses(NamedTuple):
    """The lenses of one checkpoint by kind, and how well each fits."""

    lenses: dict[str, Lens]
    fits: dict[str, tuple[Tensor, int]]
    """KL to the model in nats per layer, and the tokens trained on: what `lens_fit_table` takes."""

    @property
    def trained(self) -> dict[str, TunedLens | LinearLens]:
        """Those that were trained for the checkpoint."""
        return {kind: lens for kind, lens in self.lenses.items() if isinstance(lens, TunedLens | LinearLens)}


def fit_lenses(
    model: LanguageModel, chunks: Chunks, options: LensStudy, starts: Mapping[str, Lens] | None = None
) -> FittedLenses:
    """Train the lenses that the options ask for.

    ``chunks`` are the corpus; a seeded part of them trains the lenses, others tell how well they fit. Where there are
    fewer chunks than the options want, training is shortened to what there is (table `LENS_FIT` holds the tokens).
    ``starts`` are lenses by kind to go on from. Raises AnalysisError for fewer than two chunks.
    """
    if len(chunks) < 2:
        raise AnalysisError("Lenses are trained on some chunks and judged on others: the corpus needs at least two.")
    order = generator(options.prompts.seed, "chunks for lenses").permutation(len(chunks))
    judged = min(options.fit_chunks, max(1, len(chunks) // 4))
    held_out, rest = _some(chunks, order[:judged]), order[judged:]
    lenses: dict[str, Lens] = {}
    fits: dict[str, tuple[Tensor, int]] = {}
    for kind in options.kinds:
        tokens = 0
        start = (starts or {}).get(kind)
        if kind == "logit":
            lens: Lens = LogitLens.from_model(model)
        else:
            asked = options.tuned if kind == "tuned" else options.linear
            settings = within(asked.model_copy(update={"kind": kind}), len(rest), chunks.shape[1])
            needed = _chunks_needed(settings, chunks.shape[1])
            text = _some(chunks, rest[: max(needed, 1)])
            lens, _ = train_lens(model, text, settings, seed=options.prompts.seed, start=start)
            tokens = int(predicting(torch.from_numpy(text), len(model.unembedding)).sum()) if needed else 0
        lenses[kind], fits[kind] = lens, (lens_fit(model, lens, held_out), tokens)
    return FittedLenses(lenses, fits)


def read_lenses(
    model: LanguageModel,
    lenses: Mapping[str, Lens],
    groups: Sequence[PromptBatch],
    words: Sequence[str],
    identity: Identity,
) -> pl.DataFrame:
    """Return table `LENS`: the targets of all prompts and of their mismatches, read at every layer by every lens.

    ``words`` are the targets in the order in which the groups hold their prompts.
    """
    others = 0 if groups[0].mismatch is None else groups[0].mismatch.shape[1]
    conditions = ["match", *["mismatch"] * others]
    everything = [group.with_mismatches() for group in groups]
    readings = {
        kind: torch.cat([lens_surprisal(model, lens, group.input_ids, group.targets) for group in everything])
        for kind, lens in lenses.items()
    }
    return lens_table(readings, conditions * len(words), [word for word in words for _ in conditions], identity)


def within(options: LensOptions, there: int, time: int) -> LensOptions:
    """Return the options with no more text than ``there`` chunks of ``time`` tokens."""
    per_step = max(options.tokens_per_step, time)
    batch = min(per_step // time, there)
    return options.model_copy(
        update={
            "tokens_per_step": batch * time,
            "steps": min(options.steps, there // batch),
            "regression_tokens": min(max(options.regression_tokens, time), there * time),
        }
    )


def _chunks_needed(options: LensOptions, time: int) -> int:
    updates = options.steps * (options.tokens_per_step // time)
    return max(updates, options.regression_tokens // time if options.begin == "regression" else 0)


def _some(chunks: Chunks, which: Int[np.ndarray, " some"]) -> Int[np.ndarray, "some time"]:
    """Some of the chunks, read from the disk in their order there."""
    return np.asarray(chunks[np.sort(which)])
