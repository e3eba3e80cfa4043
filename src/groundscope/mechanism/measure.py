"""One checkpoint's mechanism as tables: a pure function of model, prompts and options."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from groundscope.errors import TableError
from groundscope.mechanism.attention_flow import attention_flow, join_flows
from groundscope.mechanism.causal import CausalOptions, CausalRuns, causal_runs, text_losses
from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_WORDS, causal_table, causal_words_table
from groundscope.mechanism.criteria import CriterionOptions, Role, criterion_scores, find_heads
from groundscope.mechanism.head_tables import (
    HEAD_AGREEMENT,
    HEAD_ROLES,
    HEAD_SHARES,
    HEADS_FOUND,
    SALIENCY_HEADS,
    SALIENCY_LAYERS,
    SALIENCY_MAPS,
    Identity,
    head_agreement_table,
    head_role_table,
    head_share_table,
    heads_found_table,
    saliency_head_table,
    saliency_layer_table,
    saliency_map_table,
)
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.keep import KEEP, keep_table
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import Saliency, saliency
from groundscope.models.base import LanguageModel
from groundscope.record import Record
from groundscope.tables import TableSchema


class MechanismOptions(Record):
    """What is computed of each checkpoint."""

    criterion: CriterionOptions = Field(default=CriterionOptions(), description="how heads are told apart")
    causal: CausalOptions = Field(default=CausalOptions(), description="how heads are removed and compared")
    compare: bool = Field(default=True, description="whether others' criteria are computed too (one more forward)")


class Mechanism(NamedTuple):
    """The tables of one checkpoint; each one's schema stands in `TABLES`."""

    saliency_layers: pl.DataFrame
    saliency_heads: pl.DataFrame
    saliency_maps: pl.DataFrame
    head_roles: pl.DataFrame
    heads_found: pl.DataFrame
    head_shares: pl.DataFrame
    head_agreement: pl.DataFrame
    causal: pl.DataFrame
    causal_words: pl.DataFrame
    keep: pl.DataFrame

    def by_schema(self) -> dict[TableSchema, pl.DataFrame]:
        """The same tables by their schemas."""
        return dict(zip(TABLES, self, strict=True))


TABLES = (
    SALIENCY_LAYERS,
    SALIENCY_HEADS,
    SALIENCY_MAPS,
    HEAD_ROLES,
    HEADS_FOUND,
    HEAD_SHARES,
    HEAD_AGREEMENT,
    CAUSAL,
    CAUSAL_WORDS,
    KEEP,
)
"""The schemas of `Mechanism`'s tables, in its order."""


def measure(
    model: LanguageModel,
    groups: Sequence[PromptBatch],
    options: MechanismOptions,
    identity: Identity,
    *,
    final: pl.DataFrame | None = None,
    text: Int[Tensor, "chunk time"] | None = None,
    words: Mapping[int, str] | None = None,
) -> Mechanism:
    """Find the heads of one checkpoint and test whether they are the cause.

    ``groups`` are the prompts, one batch per length, numbered through the study. ``final`` is the final checkpoint's
    table `heads_found`, whose heads' shares are followed over time (None: this checkpoint is the final one). ``text``
    are chunks of ordinary text; None leaves its loss out. ``words`` names the targets in table `causal_words` (None: by
    their ids). Raises TableError when ``final`` is of another model.
    """
    at, frame = common_frame(groups)
    per_group = [saliency(model, group, keep_maps=frame if i == at else ()) for i, group in enumerate(groups)]
    whole = Saliency.join(per_group)
    flow = join_flows([attention_flow(model, prompts) for prompts in groups]) if options.compare else None
    scores = criterion_scores(whole, flow, options.criterion)
    found = [find_heads(part, options.criterion) for part in per_group]
    together = find_heads(whole, options.criterion)
    followed = together if final is None else heads_in(final, whole.index, whole.numbers)

    runs = CausalRuns.join(
        [
            causal_runs(model, prompts, sets, options.causal, reference=text)
            for prompts, sets in zip(groups, found, strict=True)
        ]
    )
    losses = None if text is None else text_losses(model, runs, text, options.causal.ablation)
    named = words or {target: str(target) for target in runs.targets.tolist()}
    aggregates = [sets[Role.AGGREGATE] for sets in found]
    return Mechanism(
        saliency_layers=saliency_layer_table(whole, identity),
        saliency_heads=saliency_head_table(whole, identity),
        saliency_maps=saliency_map_table(per_group[at], identity),
        head_roles=head_role_table(whole.index, scores, options.criterion, identity),
        heads_found=heads_found_table(whole, together, options.criterion, identity),
        head_shares=head_share_table(whole, followed, identity),
        head_agreement=head_agreement_table(scores, options.criterion, identity),
        causal=causal_table(model, runs, options.causal, identity, losses),
        causal_words=causal_words_table(runs, options.causal, identity, named),
        keep=keep_table(model, groups, aggregates, Role.AGGREGATE.value, options.causal, identity, reference=text),
    )


def common_frame(groups: Sequence[PromptBatch]) -> tuple[int, list[int]]:
    """Return the group and the numbers of the prompts of the largest frame: prompts that differ in the ground alone."""
    frames: dict[tuple[int, ...], list[int]] = {}
    for at, group in enumerate(groups):
        words = group.input_ids.masked_fill(group.ground.to(group.input_ids.device), -1).tolist()
        for number, frame in zip(group.numbers.tolist(), words, strict=True):
            frames.setdefault((at, *frame), []).append(number)
    (at, *_), numbers = max(frames.items(), key=lambda item: len(item[1]))
    return at, numbers


def heads_in(
    found: pl.DataFrame, index: HeadIndex, numbers: Int[Tensor, " prompt"]
) -> dict[Role, Bool[Tensor, "prompt head"]]:
    """Read the sets of heads of a table `heads_found` for the prompts ``numbers``.

    Raises TableError when the table names a head that the model does not have.
    """
    place = {name: position for position, name in enumerate(index.names)}
    row = {number: position for position, number in enumerate(numbers.tolist())}
    sets = {role: np.zeros((len(row), len(index)), dtype=bool) for role in Role}
    for prompt, name, role in found.select("prompt", "name", "role").iter_rows():
        if name not in place:
            raise TableError(f"The final checkpoint's heads hold {name}, which this model does not have.")
        if prompt in row:
            sets[Role(role)][row[prompt], place[name]] = True
    return {role: torch.from_numpy(mask) for role, mask in sets.items()}
