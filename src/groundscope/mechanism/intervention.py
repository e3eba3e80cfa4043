"""Taking heads out: a different set for every example, all in one batch, through constant gates on the fused path.

``zero`` sets a head's output to zero, ``mean`` to its mean over reference text, ``resample`` to its output on another
prompt. The heads' outputs are changed where they leave the mixing matrix, before the output projection: a projection's
bias stays. In a Mamba-2 layer the width-4 convolution, the skip ``D x`` and the output gate do not pass through the
matrix and stay as well: taking a head out there stops what it moves *between positions*, not what it does at its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from groundscope.errors import AnalysisError
from groundscope.mechanism.branches import distinct, last_states_without
from groundscope.mechanism.heads import HeadIndex, Outputs, analysing, under
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.readout import last_states, target_surprisal
from groundscope.models.base import LanguageModel
from groundscope.models.gate import Gate
from groundscope.models.language_model import GroundedLM
from groundscope.statistics.resampling import generator

CHANGED = {8: 1e-5, 4: 1e-5, 2: 3e-2}
"""Relative change of the last state from which on its logits count as changed, by bytes per number; rounding between
batches of different sizes stays below."""


class Ablation(StrEnum):
    """What stands in for a removed head's output."""

    ZERO = "zero"
    MEAN = "mean"
    RESAMPLE = "resample"


@dataclass(frozen=True, eq=False)
class Replacement:
    """Where the outputs that stand in for removed heads' come from; `zero_outputs` and its kin build one."""

    kind: Ablation
    of_prompts: Callable[[Int[Tensor, " some"]], Outputs | None]  # prompts' places in their batch -> outputs for each


@dataclass(frozen=True, eq=False)
class Ablated:
    """What the removal of heads did, run by run."""

    surprisal: Float[Tensor, " run"]  # of the target, in nats, with the heads removed
    changed: Bool[Tensor, " run"]  # whether the last state, and so the logits, changed at all


def zero_outputs() -> Replacement:
    """Removed heads put out zeros."""
    return Replacement(Ablation.ZERO, lambda _: None)


def mean_outputs(
    model: LanguageModel,
    reference: Int[Tensor, "text time"],
    extras: Mapping[str, Tensor] | None = None,
    *,
    budget: int | None = None,
) -> Replacement:
    """Removed heads put out their mean over all positions of ``reference``: what they say whatever they see.

    ``extras`` are further arguments of ``hidden``, such as the pictures of a `PromptBatch`; first axis ``text``.
    """
    extras = extras or {}
    time, d_model = reference.shape[1], model.unembedding.shape[1]
    each = _bytes_per_run(model, time) + 2 * len(model.mixers) * time * d_model * 4
    size = micro_batch(each, model.unembedding.device, budget)

    def total(part: slice) -> Outputs:
        outputs = head_outputs(model, reference[part], {name: values[part] for name, values in extras.items()})
        return {layer: output.double().sum(dim=(0, 2), keepdim=True) for layer, output in outputs.items()}

    with analysing(model), torch.no_grad():
        totals = in_micro_batches(total, len(reference), size)
    dtype = torch.promote_types(model.unembedding.dtype, torch.float32)
    means = {
        layer: (torch.stack([part[layer] for part in totals]).sum(0) / reference.numel()).to(dtype)
        for layer in totals[0]
    }
    return Replacement(Ablation.MEAN, lambda _: means)


def resampled_outputs(
    model: LanguageModel, prompts: PromptBatch, seed: int, donors: Int[Tensor, "prompt time"] | None = None
) -> Replacement:
    """Removed heads put out what they put out on another prompt, at the same position.

    ``donors`` are these other prompts' ids, e.g. each prompt's mismatch (then this is patching); None takes other
    prompts of the batch, all shifted by one random number of places so that no prompt is its own donor. Raises
    AnalysisError when the batch has a single prompt and no donors are given.
    """
    ids, extras = donors, prompts.extras
    if ids is None:
        if len(prompts) < 2:
            raise AnalysisError("Resampling wants another prompt of the same length: give `donors`, or use 'mean'.")
        shift = 1 + int(generator(seed, "donors").integers(len(prompts) - 1))
        ids = prompts.input_ids.roll(shift, dims=0)
        extras = {name: values.roll(shift, dims=0) for name, values in extras.items()}
    return Replacement(
        Ablation.RESAMPLE,
        lambda which: head_outputs(model, ids[which], {name: values[which] for name, values in extras.items()}),
    )


def head_outputs(
    model: LanguageModel, input_ids: Int[Tensor, "batch time"], extras: Mapping[str, Tensor] | None = None
) -> Outputs:
    """Return every head's output ``M v`` at every position, layer by layer."""
    seen: Outputs = {}
    device = model.unembedding.device
    one = torch.ones(1, 1, 1, 1, device=device)
    gates = {
        layer: Gate(values=one, watch_output=lambda output, layer=layer: seen.update({layer: output.detach()}))
        for layer in HeadIndex.of(model).chosen_layers
    }
    given = {name: values.to(device) for name, values in (extras or {}).items()}
    with under(model, gates):
        model.hidden(input_ids.to(device), **given)  # type: ignore[call-arg]
    return seen


def ablate(
    model: LanguageModel,
    prompts: PromptBatch,
    which: Int[Tensor, " run"],
    removed: Bool[Tensor, "run head"],
    *,
    replacement: Replacement | None = None,
    budget: int | None = None,
) -> Ablated:
    """Return the target's surprisal with heads removed: run ``r`` is prompt ``which[r]`` without ``removed[r]``.

    The head axis is that of `HeadIndex.of(model)`. A run without removed heads is the original model. Equal runs are
    computed once, and what runs of a model of ours have in common as well (`branches`). ``replacement`` (None: zeros)
    says what stands in. Raises RunError when one run alone does not fit into memory and AnalysisError when ``removed``
    does not have one column per head.
    """
    index = HeadIndex.of(model)
    if removed.shape[1] != len(index):
        raise AnalysisError(f"`removed` has {removed.shape[1]} heads, the model has {len(index)}.")
    replacement = replacement or zero_outputs()
    prompts = prompts.to(model.unembedding.device)
    size = micro_batch(_bytes_per_run(model, prompts.time), model.unembedding.device, budget)
    first, back = map(torch.from_numpy, distinct(which.numpy(), removed.numpy()))
    runs = which[first], removed[first]
    with analysing(model), torch.no_grad():
        plain = torch.cat(in_micro_batches(lambda part: last_states(model, prompts[part]), len(prompts), size))

        def work(part: slice) -> tuple[Tensor, Tensor]:
            return _run(model, index, prompts, plain, runs[0][part], runs[1][part], replacement)

        done = in_micro_batches(work, len(runs[0]), size)
    surprisal, changed = (torch.cat(column)[back] for column in zip(*done, strict=True))
    return Ablated(surprisal, changed)


def removal_effects(
    model: LanguageModel, prompts: PromptBatch, *, replacement: Replacement | None = None, budget: int | None = None
) -> Float[Tensor, "prompt head"]:
    """Return by how many nats the target's surprisal rises when each head alone is removed.

    The definition by removal of Bick et al. 2025 (arXiv 2504.18574): what a head is, is what is lost without it.
    """
    heads, count = len(HeadIndex.of(model)), len(prompts)
    alone = torch.cat([torch.zeros(1, heads, dtype=torch.bool), torch.eye(heads, dtype=torch.bool)])
    which = torch.arange(count).repeat_interleave(heads + 1)
    runs = ablate(model, prompts, which, alone.repeat(count, 1), replacement=replacement, budget=budget)
    surprisal = runs.surprisal.view(count, heads + 1)
    return surprisal[:, 1:] - surprisal[:, :1]


def _run(
    model: LanguageModel,
    index: HeadIndex,
    prompts: PromptBatch,
    plain: Float[Tensor, "prompt d_model"],
    which: Int[Tensor, " run"],
    removed: Bool[Tensor, "run head"],
    replacement: Replacement,
) -> tuple[Float[Tensor, " run"], Bool[Tensor, " run"]]:
    device = plain.device
    involved, place = which.unique(return_inverse=True)
    outputs = replacement.of_prompts(involved)
    here, before = prompts[which.to(device)], plain[which.to(device)]
    if isinstance(model, GroundedLM) and not prompts.extras:
        ids = prompts.input_ids[involved.to(device)]
        last = last_states_without(model, index, ids, place, removed, outputs)
    else:
        if outputs is not None:
            outputs = {layer: o if len(o) == 1 else o[place.to(device)] for layer, o in outputs.items()}
        with under(model, index.gates(removed.to(device), outputs)):
            last = last_states(model, here)
    scale = before.abs().amax(dim=1)
    changed = (last - before).abs().amax(dim=1) > CHANGED[before.element_size()] * scale
    return target_surprisal(model, last, here.targets).cpu(), changed.cpu()


def _bytes_per_run(model: LanguageModel, time: int) -> int:
    """Estimate: some twelve states of the residual stream's width at a time, and the last position's logits twice."""
    vocab, d_model = model.unembedding.shape
    return (12 * time * d_model + 2 * vocab) * 4
