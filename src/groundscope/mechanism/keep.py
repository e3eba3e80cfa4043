"""The reverse of the causal test: of one layer, keep only the heads that were found. Do they suffice?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from groundscope.mechanism.causal import CausalOptions, replacement_for
from groundscope.mechanism.causal_table import TEST_COLUMNS, mixer_names, paired_test
from groundscope.mechanism.controls import random_heads
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.intervention import Replacement, ablate
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.base import LanguageModel
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

KEEP = TableSchema(
    "keep",
    "one layer at one checkpoint, over the prompts in which it has heads of the role",
    (
        *CHECKPOINT_COLUMNS,
        Column(
            "mixers", pl.String(), "what mixes positions; in mamba2 some paths bypass the matrix (see table causal)"
        ),
        Column("role", pl.String(), "the role whose heads are kept"),
        Column("ablation", pl.String(), "what stood in for the removed heads' outputs: zero, mean or resample"),
        Column("layer", pl.Int64(), "counted from 0"),
        Column("n_prompts", pl.Int64(), "prompts in which the layer has heads of the role"),
        Column("kept_count", pl.Float64(), "heads kept per prompt"),
        Column("original_nats", pl.Float64(), "surprisal of the target, nothing removed"),
        Column("kept_nats", pl.Float64(), "surprisal with only the layer's heads of the role kept"),
        Column("random_kept_nats", pl.Float64(), "surprisal with as many other heads of the layer kept, mean of draws"),
        Column("none_kept_nats", pl.Float64(), "surprisal with all heads of the layer removed"),
        *TEST_COLUMNS,
    ),
)
KEEP_FAMILY = ("arch", "seed", "role", "ablation", "layer")


def keep_table(
    model: LanguageModel,
    groups: Sequence[PromptBatch],
    found: Sequence[Bool[Tensor, "_prompt head"]],
    role: str,
    options: CausalOptions,
    identity: Mapping[str, Any],
    *,
    reference: Int[Tensor, "text text_time"] | None = None,
    budget: int | None = None,
) -> pl.DataFrame:
    """Return table `KEEP`: a row for each layer that has heads of the role in at least one prompt.

    ``found`` are the role's heads in each group of prompts, ``reference`` the text that ``mean`` averages over (None:
    the prompts and their mismatches), as in `causal_runs`. The tested difference is random kept minus found kept,
    above zero: heads that suffice leave the target likelier than others of their layer do. Empty for a model without
    heads.
    """
    index = HeadIndex.of(model)
    everything = [prompts.with_mismatches() for prompts in groups]  # also donors, where outputs are resampled
    stand_ins = [replacement_for(model, prompts, options, reference) for prompts in everything]
    rows = []
    for layer in index.chosen_layers:
        parts = [
            _keep_layer(model, index, layer, prompts, heads.numpy(), role, options, stand_in, budget)
            for prompts, heads, stand_in in zip(everything, found, stand_ins, strict=True)
            if bool(heads[:, index.of_layer(layer)].any())
        ]
        if not parts:
            continue
        surprisal, words, kept = (np.concatenate(column) for column in zip(*parts, strict=True))
        random_kept = surprisal[:, 3:].mean(axis=1)
        rows.append(
            {
                **identity,
                "mixers": mixer_names(model),
                "role": role,
                "ablation": options.ablation.value,
                "layer": layer,
                "n_prompts": len(surprisal),
                "kept_count": kept.mean(),
                "original_nats": surprisal[:, 0].mean(),
                "kept_nats": surprisal[:, 1].mean(),
                "random_kept_nats": random_kept.mean(),
                "none_kept_nats": surprisal[:, 2].mean(),
                **paired_test(random_kept - surprisal[:, 1], words, options, f"kept heads of layer {layer}"),
            }
        )
    return KEEP.frame(rows)


def _keep_layer(
    model: LanguageModel,
    index: HeadIndex,
    layer: int,
    prompts: PromptBatch,
    found: Bool[np.ndarray, "prompt head"],
    role: str,
    options: CausalOptions,
    stand_in: Replacement,
    budget: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Surprisal [prompt, (original, found kept, none kept, *random kept)], targets and numbers of heads kept."""
    in_layer = np.zeros(len(index), dtype=bool)
    in_layer[index.of_layer(layer)] = True
    some = (found & in_layer).any(axis=1)
    matches = np.flatnonzero(some) * (len(prompts) // len(found))  # each prompt is followed by its mismatches
    chosen, kept = torch.from_numpy(matches), (found & in_layer)[some]
    others = random_heads(
        kept,
        np.broadcast_to(in_layer, kept.shape),
        index,
        numbers=prompts.numbers[chosen].numpy(),
        draws=options.draws,
        seed=options.seed,
        purpose=f"{role} heads kept",
        same_layers=True,
    )
    nothing, everything = np.zeros_like(kept)[:, None], np.broadcast_to(in_layer, kept[:, None].shape)
    sets = np.concatenate([nothing, everything & ~kept[:, None], everything, in_layer & ~others], axis=1)
    count = sets.shape[1]
    which = chosen.repeat_interleave(count)
    removed = torch.from_numpy(sets).flatten(0, 1)
    surprisal = ablate(model, prompts, which, removed, replacement=stand_in, budget=budget).surprisal
    return surprisal.double().numpy().reshape(-1, count), prompts.targets[chosen].cpu().numpy(), kept.sum(axis=1)
