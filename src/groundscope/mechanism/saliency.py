"""Saliency: how much each entry of each mixing matrix matters for the prediction of the target.

``I = A * dL/dA`` (elementwise; Wang et al. 2023, arXiv 2305.14160; the paper's section on information flow) with
``L = -ln P(target)`` at the last position, in nats. A gate of ones on A has exactly this gradient, so one backward
pass gives ``I`` of all asked layers, for softmax attention and for Mamba-2's ``M`` alike. Each layer's ``I`` is reduced
to a few numbers per head the moment it exists; whole maps are kept only for the prompts asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from groundscope.mechanism.heads import HeadIndex, analysing, under
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.readout import last_states, target_surprisal
from groundscope.models.base import LanguageModel
from groundscope.models.gate import Gate

Rows = Literal["all", "last"]


@dataclass(frozen=True, eq=False)
class Saliency:
    """Scores of every head for every prompt, in nats, on the CPU; ``|.|`` is taken entry by entry before any sum.

    The head axis is `index`'s. With ``rows="last"`` only the flow into the last position was computed, so that
    ``total`` equals ``into_last`` and ``strip`` is zero.
    """

    index: HeadIndex
    rows: Rows
    flow: Float[Tensor, "prompt head"]  # |I| from the ground into the last position
    signed_flow: Float[Tensor, "prompt head"]  # the same without |.|: negative where the flow makes the target likelier
    scene_flow: Float[Tensor, "prompt head"]  # |I| from the whole scene into the last position; nan without a scene
    into_last: Float[Tensor, "prompt head"]  # |I| from anywhere into the last position
    strip: Float[Tensor, "prompt head"]  # |I| into the one earlier position that takes in most
    strip_row: Int[Tensor, "prompt head"]  # that position; -1 where no earlier position takes in anything
    total: Float[Tensor, "prompt head"]  # |I| over the causal triangle
    layer_flow: Float[Tensor, "prompt layer"]  # |sum over heads of I|, ground into last position, per chosen layer
    surprisal: Float[Tensor, " prompt"]  # of the target
    numbers: Int[Tensor, " prompt"]  # the prompts' numbers in the study
    kept: Int[Tensor, " kept"]  # numbers of the prompts whose maps are kept
    maps: Float[Tensor, "kept head row time"]  # their I, signed

    @classmethod
    def join(cls, parts: Sequence["Saliency"]) -> "Saliency":
        """Stack the prompts of several batches (or groups of one length) under each other.

        Maps are of one length; where the parts' lengths differ they must not have kept any.
        """
        tensors = [field.name for field in fields(cls) if field.name not in ("index", "rows", "maps")]
        return cls(
            index=parts[0].index,
            rows=parts[0].rows,
            maps=torch.cat([part.maps for part in parts if len(part.maps)] or [parts[0].maps]),
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in tensors},
        )

    def __len__(self) -> int:
        return len(self.flow)


def saliency(
    model: LanguageModel,
    prompts: PromptBatch,
    *,
    layers: Sequence[int] | None = None,
    rows: Rows = "all",
    keep_maps: Sequence[int] = (),
    batch_size: int | None = None,
    budget: int | None = None,
) -> Saliency:
    """Return the saliency scores of all heads of ``layers`` (None: all).

    ``rows="last"`` keeps to the flow into the last position, which costs a row per head instead of a square; it is
    what an image criterion needs. ``keep_maps`` are numbers of prompts whose whole maps are wanted. ``batch_size``
    overrides the size that is derived from ``budget`` bytes (None: the device's); either way it halves when memory
    runs out.

    The model is put into eval mode and its parameters need no gradients meanwhile; both are restored. A model
    without mixing matrices (an LSTM) gives a result with no heads. Raises AnalysisError for layers that do not exist
    and RunError when one prompt alone does not fit into memory.
    """
    index = HeadIndex.of(model, layers)
    size = batch_size or micro_batch(
        bytes_per_prompt(model, index, prompts.time, rows), model.unembedding.device, budget
    )

    def score(part: slice) -> Saliency:
        return _score(model, index, prompts[part], rows, keep_maps)

    with analysing(model), torch.enable_grad():
        return Saliency.join(in_micro_batches(score, len(prompts), size))


def bytes_per_prompt(model: LanguageModel, index: HeadIndex, time: int, rows: Rows = "all") -> int:
    """Estimate what one prompt takes at the peak of `saliency`, in bytes.

    Per gated head four maps (M, the gated M and what their backward makes of them), and per layer above the first
    gated one 24 states of the residual stream's width, kept for the backward pass; measured, and rather too much.
    """
    if not len(index):
        return time * model.unembedding.shape[1] * 24 * 4
    width = model.unembedding.element_size()
    row = time if rows == "all" else 1
    maps = len(index) * row * time * 4
    above = len(model.mixers) - index.chosen_layers[0]
    states = above * time * model.unembedding.shape[1] * 24
    return (maps + states + 2 * model.unembedding.shape[0]) * max(width, 4)


def _score(
    model: LanguageModel, index: HeadIndex, prompts: PromptBatch, rows: Rows, keep_maps: Sequence[int]
) -> Saliency:
    kept = torch.isin(prompts.numbers, torch.tensor(list(keep_maps), dtype=prompts.numbers.dtype))
    prompts = prompts.to(model.unembedding.device)
    scores: dict[int, dict[str, Tensor]] = {}

    def reduce_layer(layer: int, gradient: Tensor) -> None:
        scores[layer] = _reduce(gradient, prompts, kept)

    dtype = torch.promote_types(model.unembedding.dtype, torch.float32)
    one = torch.ones((), dtype=dtype, device=prompts.input_ids.device, requires_grad=True)
    only = torch.tensor([prompts.time - 1], device=one.device) if rows == "last" else None
    gates = {}
    for layer in index.chosen_layers:
        # an expanded scalar takes no memory; its gradient is a layer's whole map, seen by the hook and then dropped
        shape = (len(prompts), model.heads(layer), prompts.time if only is None else 1, prompts.time)
        ones = one.expand(shape)
        ones.register_hook(partial(reduce_layer, layer))
        gates[layer] = Gate(values=ones, rows=only)

    with under(model, gates):
        last = last_states(model, prompts)
    loss = target_surprisal(model, last, prompts.targets)
    if gates:
        torch.autograd.grad(loss.sum(), one)  # a sum: each prompt's loss reaches its own maps only
    nothing = _reduce(one.detach().expand(len(prompts), 0, 1, prompts.time), prompts, kept)
    by_layer = [scores[layer] for layer in index.chosen_layers]
    joined = {name: torch.cat([layer[name] for layer in by_layer or [nothing]], dim=1).cpu() for name in nothing}
    joined["layer_flow"] = joined["layer_flow"][:, : len(by_layer)]
    return Saliency(
        index=index,
        rows=rows,
        surprisal=loss.detach().cpu(),
        numbers=prompts.numbers,
        kept=prompts.numbers[kept],
        **joined,
    )


def _reduce(
    gradient: Float[Tensor, "prompt head row time"], prompts: PromptBatch, kept: Bool[Tensor, " prompt"]
) -> dict[str, Float[Tensor, "prompt ..."] | Int[Tensor, "prompt ..."]]:
    """One layer's maps as the fields of `Saliency`."""
    magnitude = gradient.abs()
    into = magnitude.sum(dim=-1)
    last, ground = gradient[:, :, -1], prompts.ground[:, None]
    unknown = torch.full_like(into[:, :, -1], torch.nan)
    strip, strip_row = _largest_strip(into)
    return {
        "flow": (last.abs() * ground).sum(dim=-1),
        "signed_flow": (last * ground).sum(dim=-1),
        "scene_flow": unknown if prompts.scene is None else (last.abs() * prompts.scene[:, None]).sum(dim=-1),
        "into_last": into[:, :, -1],
        "strip": strip,
        "strip_row": strip_row,
        "total": into.sum(dim=-1),
        "layer_flow": (last.sum(dim=1).abs() * prompts.ground).sum(dim=-1, keepdim=True),
        "maps": gradient[kept.to(gradient.device)],
    }


def _largest_strip(
    into: Float[Tensor, "prompt head row"],
) -> tuple[Float[Tensor, "prompt head"], Int[Tensor, "prompt head"]]:
    """The position that takes in most, between the first (which has nothing before it) and the last (the query)."""
    between = into[:, :, 1:-1]
    if not between.shape[-1]:
        return torch.zeros_like(into[:, :, 0]), torch.full(into.shape[:2], -1, device=into.device)
    strip, row = between.max(dim=-1)
    return strip, torch.where(strip > 0, row + 1, -1)
