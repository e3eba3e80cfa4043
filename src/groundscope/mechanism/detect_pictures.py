"""Which heads of a vision-language model take words from boxes, found without looking: the paper's open problem.

Over many pictures each head reaches the criterion in some share of them. Heads that do so often in one half of the
pictures, drawn by lot, are the stable set; the other half tells whether they do so again, and whether the model names
things worse without them than without as many other heads.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float
from pydantic import Field

from groundscope.errors import AnalysisError
from groundscope.mechanism.causal import CausalOptions, CausalRuns, causal_runs
from groundscope.mechanism.causal_table import CAUSAL, causal_table
from groundscope.mechanism.criteria import CriterionOptions, Role, aggregate_score
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.inspect_picture import BOX_CRITERION
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.models.base import LanguageModel
from groundscope.record import Record
from groundscope.statistics.resampling import generator
from groundscope.tables import Column, TableSchema

DETECTED = TableSchema(
    "detected_heads",
    "one head of a vision-language model over a set of pictures",
    (
        Column("model", pl.String(), "the model"),
        Column("layer", pl.Int64(), "counted from 0"),
        Column("head", pl.Int64(), "counted from 0"),
        Column("name", pl.String(), "layer and head as one word, e.g. L7H3"),
        Column("threshold", pl.Float64(), "least share of patch-to-word saliency from inside the box"),
        Column("frequency_found", pl.Float64(), "share of the first half's pictures in which the head reaches it"),
        Column("frequency_held_out", pl.Float64(), "the same in the held-out half"),
        Column("mean_share", pl.Float64(), "mean share over all pictures"),
        Column("chance_share", pl.Float64(), "mean share of the picture's positions that lie in the box"),
        Column("stable", pl.Boolean(), "whether the first half puts it into the stable set"),
        Column("n_found", pl.Int64(), "pictures of the first half"),
        Column("n_held_out", pl.Int64(), "pictures of the held-out half"),
    ),
)


class DetectOptions(Record):
    """How heads are found over pictures."""

    criterion: CriterionOptions = Field(default=BOX_CRITERION, description="when a head reads a box")
    frequency: float = Field(default=0.3, gt=0, le=1, description="least share of pictures for the stable set")
    causal: CausalOptions = Field(
        default=CausalOptions(unit="prompt"), description="how heads are removed and compared"
    )
    seed: int = Field(default=0, description="of the split into halves")


class Detection(NamedTuple):
    """What was found."""

    heads: pl.DataFrame
    """Schema `DETECTED`."""
    causal: pl.DataFrame
    """Schema `CAUSAL`: the stable set removed from the held-out pictures, against random sets of as many heads."""


def detect(
    model: LanguageModel, prompts: Sequence[PromptBatch], name: str, options: DetectOptions | None = None
) -> Detection:
    """Find the stable heads over ``prompts``, one picture and word each, and test them on the held-out half.

    Raises AnalysisError for fewer than four pictures and for a model without heads.
    """
    options = options or DetectOptions()
    if len(prompts) < 4:
        raise AnalysisError(f"{len(prompts)} pictures are too few for two halves; give at least four.")
    index = HeadIndex.of(model)
    if not len(index):
        raise AnalysisError(f"A {type(model).__name__} has no heads to detect.")
    shares = np.concatenate([_shares(model, prompt, options) for prompt in prompts])
    lot = generator(options.seed, "halves").permutation(len(prompts))
    first = np.zeros(len(prompts), dtype=bool)
    first[lot[: (len(prompts) + 1) // 2]] = True
    reached = shares >= options.criterion.threshold
    stable = reached[first].mean(axis=0) >= options.frequency
    held_out = [prompt for prompt, is_first in zip(prompts, first, strict=True) if not is_first]
    inside = [float(p.ground.sum() / p.scene.sum()) for p in prompts if p.scene is not None]
    heads = pl.DataFrame(
        {
            "model": [name] * len(index),
            "layer": index.layers,
            "head": index.heads,
            "name": index.names,
            "threshold": [options.criterion.threshold] * len(index),
            "frequency_found": reached[first].mean(axis=0),
            "frequency_held_out": reached[~first].mean(axis=0),
            "mean_share": shares.mean(axis=0),
            "chance_share": [float(np.mean(inside))] * len(index),
            "stable": stable,
            "n_found": [int(first.sum())] * len(index),
            "n_held_out": [len(held_out)] * len(index),
        }
    )
    return Detection(DETECTED.conform(heads), _test(model, held_out, stable, options, name))


def _shares(model: LanguageModel, prompt: PromptBatch, options: DetectOptions) -> Float[np.ndarray, "prompt head"]:
    scores = saliency(model, prompt, rows="last")
    return aggregate_score(scores, options.criterion).double().numpy()


def _test(
    model: LanguageModel,
    prompts: Sequence[PromptBatch],
    stable: Bool[np.ndarray, " head"],
    options: DetectOptions,
    name: str,
) -> pl.DataFrame:
    identity: Mapping[str, Any] = {"arch": name, "seed": 0, "step": 0, "tokens_seen": 0, "weight_hash": ""}
    if not stable.any():
        return CAUSAL.frame([])
    found = {Role.AGGREGATE: torch.from_numpy(stable)[None]}
    parts = [
        causal_runs(model, prompt, {r: m.expand(len(prompt), -1) for r, m in found.items()}, options.causal)
        for prompt in prompts
    ]
    return causal_table(model, CausalRuns.join(parts), options.causal, identity)
