"""The next-token loss without all logits at once."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Logits that exist at one time. Larger parts amortise the accumulation of the unembedding's gradient.
_LOGITS_BYTES = 64 * 2**20


def linear_cross_entropy(
    hidden: Float[Tensor, "token d_model"],
    unembedding: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " token"],
    bias: Float[Tensor, " vocab"] | None = None,
    ignore_index: int = -100,
) -> Float[Tensor, ""]:
    """Return the mean of ``-ln softmax(hidden @ unembedding.T + bias)[target]`` in nats, over counted targets.

    Equal to ``torch.nn.functional.cross_entropy`` of the full logits, in a fraction of its memory: tokens are taken
    in parts, and each part's gradients are computed while its logits exist, so that walking back costs nothing.
    Products follow autocast. Targets equal to ``ignore_index`` are not counted; where all are, the result is nan, as
    torch's is.
    """
    dtype = (
        torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else hidden.dtype
    )
    return _LinearCrossEntropy.apply(hidden, unembedding, targets, bias, ignore_index, dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden, unembedding, targets, bias, ignore_index, dtype) -> Tensor:
        wants_hidden, wants_unembedding, _, wants_bias = ctx.needs_input_grad[:4]
        counted = targets != ignore_index
        count = counted.sum()
        targets = targets.where(counted, 0)
        weights = counted.float() / count
        matrix = unembedding.to(dtype)
        total = torch.zeros((), device=hidden.device)
        d_hidden = torch.empty_like(hidden) if wants_hidden else None
        d_unembedding = torch.zeros_like(unembedding) if wants_unembedding else None
        d_bias = torch.zeros_like(bias) if wants_bias else None
        part = max(1, _LOGITS_BYTES // (unembedding.shape[0] * dtype.itemsize))
        for start in range(0, len(hidden), part):
            rows = slice(start, start + part)
            states, weight, target = hidden[rows].to(dtype), weights[rows], targets[rows, None]
            logits = states @ matrix.T
            if bias is not None:
                logits += bias
            top = logits.amax(1, keepdim=True)
            at_target = (logits.gather(1, target) - top).float().squeeze(1)
            odds = logits.sub_(top).exp_()  # softmax, but for its denominator
            denominator = odds.sum(1, dtype=torch.float32)
            total += ((denominator.log() - at_target) * weight).sum()
            # the denominator and the mean go onto the [token, d_model] side, which is far smaller
            scale = weight / denominator
            if d_hidden is not None:
                d_hidden[rows] = (odds @ matrix) * scale[:, None] - matrix[target[:, 0]] * weight[:, None]
            if d_unembedding is not None:
                d_unembedding += odds.T @ (states * scale[:, None]).to(dtype)
                d_unembedding.index_add_(0, target[:, 0], (states * -weight[:, None]).to(d_unembedding.dtype))
            if d_bias is not None:
                d_bias += (odds * scale[:, None]).sum(0)
                d_bias.index_add_(0, target[:, 0], -weight.to(d_bias.dtype))
        ctx.gradients = (d_hidden, d_unembedding, d_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor):
        (upstream,) = grad_outputs
        d_hidden, d_unembedding, d_bias = (
            None if gradient is None else gradient * upstream for gradient in ctx.gradients
        )
        return d_hidden, d_unembedding, None, d_bias, None, None
