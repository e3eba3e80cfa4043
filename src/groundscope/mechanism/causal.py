"""Are the heads that were found the cause? Remove them, remove as many random ones, and compare.

The paper's causal test, with controls of two kinds, many draws, paired tests over words, and two questions beside it:
is it *grounding* that goes (the gap between match and mismatch), and does the model suffer in general (its loss on
ordinary text)?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from groundscope.mechanism.controls import random_heads
from groundscope.mechanism.criteria import Role
from groundscope.mechanism.heads import HeadIndex, analysing, under
from groundscope.mechanism.intervention import (
    Ablation,
    Replacement,
    ablate,
    head_outputs,
    mean_outputs,
    resampled_outputs,
    zero_outputs,
)
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.readout import target_surprisal
from groundscope.models.base import LanguageModel
from groundscope.record import Record

CONTROLS = ("random", "layer-matched")
"""From the whole model, or as many per layer as were found there."""


class CausalOptions(Record):
    """How heads are removed and what they are compared with."""

    ablation: Ablation = Field(default=Ablation.ZERO, description="what stands in for a removed head's output")
    draws: int = Field(default=20, ge=1, description="random control sets per prompt and kind of control")
    seed: int = Field(default=0, ge=0, description="of control sets, donors, permutations and resamples")
    exclude: Literal["role", "any_role"] = Field(
        default="any_role",
        description="which heads a control must not hold: those of the role that is tested, or of any role",
    )
    unit: Literal["word", "prompt"] = Field(
        default="word",
        description="what the test counts as one observation; prompts of one word are not independent of each other",
    )
    permutations: int = Field(
        default=99_999,
        ge=99,
        description="sign patterns of the permutation test: enough that p can fall below .001 over fifty checkpoints",
    )
    resamples: int = Field(default=2000, ge=100, description="bootstrap resamples of the interval")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="of the interval")


@dataclass(frozen=True, eq=False)
class CausalRuns:
    """Every removal on every prompt. Axis ``set``: nothing removed; then per role what was found and its controls."""

    index: HeadIndex
    roles: tuple[Role, ...]
    draws: int
    targets: Int[np.ndarray, " prompt"]
    removed: Bool[np.ndarray, "prompt set head"]
    match: Float[np.ndarray, "prompt set"]  # surprisal of the target, in nats
    mismatch: Float[np.ndarray, "prompt set"]  # the same, averaged over the mismatched scenes; nan where there are none
    changed: Bool[np.ndarray, "prompt set"]  # whether the logits of the match changed

    @classmethod
    def join(cls, parts: Sequence["CausalRuns"]) -> "CausalRuns":
        """Stack groups of prompts of different lengths under each other."""
        first = parts[0]
        arrays = ("targets", "removed", "match", "mismatch", "changed")
        whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays}
        return cls(index=first.index, roles=first.roles, draws=first.draws, **whole)

    def found(self, role: Role) -> int:
        """Which set holds what was found."""
        return 1 + self.roles.index(role) * (1 + len(CONTROLS) * self.draws)

    def drawn(self, role: Role, control: str) -> slice:
        """Which sets hold its controls of one kind."""
        start = self.found(role) + 1 + CONTROLS.index(control) * self.draws
        return slice(start, start + self.draws)


def causal_runs(
    model: LanguageModel,
    prompts: PromptBatch,
    found: Mapping[Role, Bool[Tensor, "prompt head"]],
    options: CausalOptions,
    *,
    reference: Int[Tensor, "text text_time"] | None = None,
    budget: int | None = None,
) -> CausalRuns:
    """Remove what was found, and its controls, from prompts of one length and from their mismatches, in one batch.

    ``reference`` is the text that ``mean`` ablation averages over (None: the prompts themselves). A model without
    heads gives runs in which nothing is removed. Raises RunError when memory does not suffice for one prompt.
    """
    index = HeadIndex.of(model)
    sets = _sets(index, found, prompts.numbers.numpy(), options)
    everything = prompts.with_mismatches()
    per_prompt = len(everything) // max(1, len(prompts))
    count = sets.shape[1]
    which = torch.arange(len(everything)).repeat_interleave(count)
    removed = torch.from_numpy(sets).repeat_interleave(per_prompt, dim=0).flatten(0, 1)
    replacement = replacement_for(model, everything, options, reference)
    runs = ablate(model, everything, which, removed, replacement=replacement, budget=budget)
    surprisal = runs.surprisal.double().numpy().reshape(len(prompts), per_prompt, count)
    mismatch = surprisal[:, 1:].mean(axis=1) if per_prompt > 1 else np.full((len(prompts), count), np.nan)
    changed = runs.changed.numpy().reshape(len(prompts), per_prompt, count)[:, 0]
    return CausalRuns(
        index=index,
        roles=tuple(found),
        draws=options.draws,
        targets=prompts.targets.cpu().numpy(),
        removed=sets,
        match=surprisal[:, 0],
        mismatch=mismatch,
        changed=changed,
    )


def text_losses(
    model: LanguageModel,
    runs: CausalRuns,
    text: Int[Tensor, "chunk time"],
    ablation: Ablation = Ablation.ZERO,
    *,
    budget: int | None = None,
) -> Float[np.ndarray, " set"]:
    """Return the mean loss on ordinary text, in nats per token, with each set of heads removed.

    In place of the heads stands what ``ablation`` says: zeros, their means over the text, or what they put out on the
    chunk before. Chunk ``i`` loses the heads of the prompt that stands at the same place among the prompts; of the
    control sets only one draw per chunk is run (another one for each chunk) and stands for all draws of its kind.
    """
    chunks = len(text)
    prompt = np.arange(chunks) * len(runs.removed) // chunks
    draw = np.arange(chunks) % runs.draws
    losses = np.full(runs.removed.shape[1], np.nan)
    stand_in = _on_text(model, text, ablation)
    losses[0] = _text_loss(model, text, runs.removed[prompt, 0], stand_in, budget)
    for role in runs.roles:
        found = runs.found(role)
        losses[found] = _text_loss(model, text, runs.removed[prompt, found], stand_in, budget)
        for control in CONTROLS:
            drawn = runs.drawn(role, control)
            one_each = runs.removed[prompt, drawn.start + draw]
            losses[drawn] = _text_loss(model, text, one_each, stand_in, budget)
    return losses


def _on_text(model: LanguageModel, text: Int[Tensor, "chunk time"], ablation: Ablation) -> Replacement:
    if ablation is Ablation.MEAN:
        return mean_outputs(model, text)
    if ablation is Ablation.RESAMPLE:
        return Replacement(ablation, lambda chunks: head_outputs(model, text.roll(1, dims=0)[chunks]))
    return zero_outputs()


def _text_loss(
    model: LanguageModel,
    text: Int[Tensor, "chunk time"],
    removed: Bool[np.ndarray, "chunk head"],
    stand_in: Replacement,
    budget: int | None,
) -> float:
    index, heads = HeadIndex.of(model), torch.from_numpy(removed)
    vocab, d_model = model.unembedding.shape
    device = model.unembedding.device

    def loss(part: slice) -> float:
        ids = text[part].to(device)
        outputs = stand_in.of_prompts(torch.arange(part.start, part.stop))
        with under(model, index.gates(heads[part].to(device), outputs)):
            states = model.hidden(ids)
        return float(target_surprisal(model, states[:, :-1], ids[:, 1:]).double().sum())

    size = micro_batch(text.shape[1] * (12 * d_model + 3 * vocab) * 4, model.unembedding.device, budget)
    with analysing(model), torch.no_grad():
        return sum(in_micro_batches(loss, len(text), size)) / text[:, 1:].numel()


def _sets(
    index: HeadIndex,
    found: Mapping[Role, Bool[Tensor, "prompt head"]],
    numbers: Int[np.ndarray, " prompt"],
    options: CausalOptions,
) -> Bool[np.ndarray, "prompt set head"]:
    masks = {role: mask.numpy() for role, mask in found.items()}
    any_role = np.logical_or.reduce([*masks.values(), np.zeros((len(numbers), len(index)), dtype=bool)])
    sets = [np.zeros((len(numbers), 1, len(index)), dtype=bool)]
    for role, mask in masks.items():
        sets.append(mask[:, None])
        sets += [
            random_heads(
                mask,
                ~(any_role if options.exclude == "any_role" else mask),
                index,
                numbers=numbers,
                draws=options.draws,
                seed=options.seed,
                purpose=f"{control} heads for {role}",
                same_layers=control == "layer-matched",
            )
            for control in CONTROLS
        ]
    return np.concatenate(sets, axis=1)


def replacement_for(
    model: LanguageModel,
    prompts: PromptBatch,
    options: CausalOptions,
    reference: Int[Tensor, "text text_time"] | None = None,
) -> Replacement:
    """Return what the options put in the place of removed heads; ``reference`` None: means over the prompts."""
    if options.ablation is Ablation.MEAN:
        if reference is not None:
            return mean_outputs(model, reference)
        return mean_outputs(model, prompts.input_ids, prompts.extras)
    if options.ablation is Ablation.RESAMPLE:
        return resampled_outputs(model, prompts, options.seed)
    return zero_outputs()
