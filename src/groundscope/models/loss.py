"""The next-token loss without all logits at once."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from groundscope.errors import ModelError

# Tokens are taken in parts of as many logits as this, but of no fewer tokens than that: each part adds to a gradient
# as large as the unembedding, which costs about as much as the products of a hundred tokens.
_PART_BYTES = 64 * 2**20
_PART_TOKENS = 1024
# The gradient is added up by so many entries of the vocabulary, while the cache holds their product.
_PART_ENTRIES = 4096
# That is a CPU's way. Elsewhere a part costs its launches, and memory is less dear: all entries, in fewer parts.
_PART_BYTES_ELSEWHERE = 2**30
_SAFE_LOGIT = 16.0


def linear_cross_entropy(
    hidden: Float[Tensor, "token d_model"],
    unembedding: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " token"],
    bias: Float[Tensor, " vocab"] | None = None,
    ignore_index: int = -100,
) -> Float[Tensor, ""]:
    """Return the mean of ``-ln softmax(hidden @ unembedding.T + bias)[target]`` in nats, over counted targets.

    Equal to ``torch.nn.functional.cross_entropy`` of the full logits, in a fraction of its memory above some
    thousand tokens, which are taken in parts. Each part's gradients are computed while its logits exist, so that
    walking back costs nothing and can be done once: ModelError for a second time. Products follow autocast; under bf16
    a token's loss is as exact as its bf16 logits are, fp16 is computed in fp32, and the result has fp32 or finer.
    Targets equal to ``ignore_index`` are not counted; where none is counted, the result is nan, as torch's is.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    if dtype == torch.float16:  # its range holds neither the exp of a usual logit nor the sum of a vocabulary's
        dtype = torch.float32
    return _LinearCrossEntropy.apply(hidden, unembedding, targets, bias, ignore_index, dtype)  # type: ignore[return-value]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden, unembedding, targets, bias, ignore_index, dtype) -> Tensor:
        wants_hidden, wants_unembedding, _, wants_bias = ctx.needs_input_grad[:4]
        counted = targets != ignore_index
        exact = torch.promote_types(dtype, torch.float32)
        weights = counted.to(exact) / counted.sum()
        targets = targets.where(counted, 0)[:, None]
        states, matrix = hidden.to(dtype), unembedding.to(dtype)
        offset = None if bias is None else bias.to(dtype)  # fp32 added to bf16 takes as long as three products
        total = torch.zeros((), dtype=exact, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if wants_hidden else None
        d_unembedding = torch.zeros_like(unembedding) if wants_unembedding else None
        d_bias = torch.zeros_like(bias) if bias is not None and wants_bias else None
        on_cpu, vocab = hidden.device.type == "cpu", len(unembedding)
        size = _part_size(len(hidden), vocab, dtype, _PART_BYTES if on_cpu else _PART_BYTES_ELSEWHERE)
        buffer = torch.empty(size, vocab, dtype=dtype, device=hidden.device)
        position = torch.arange(size, device=hidden.device)[:, None]
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            state, weight, target = states[rows], weights[rows, None], targets[rows]
            logits = buffer[: len(state)]
            if offset is None:
                torch.mm(state, matrix.T, out=logits)
            else:
                torch.addmm(offset, state, matrix.T, out=logits)
            # exp must not overflow; but small logits stay as they are, for a difference is rounded once more in bf16
            top = logits.amax(1, keepdim=True)
            shift = top - top.clamp(-_SAFE_LOGIT, _SAFE_LOGIT)
            at_target = (logits.gather(1, target) - shift).to(exact)
            odds = logits.sub_(shift).exp_()  # softmax, but for its denominator
            denominator = odds.sum(1, keepdim=True)
            total += ((denominator.to(exact).log() - at_target) * weight).sum()
            # d loss / d logits = weight * (odds / denominator - onehot). The factor common to a token goes onto
            # the [token, d_model] side, which is far smaller.
            odds[position[: len(state)], target] -= denominator  # scatter_ would copy all odds
            scale = weight / denominator
            if d_hidden is not None:
                d_hidden[rows] = (odds @ matrix) * scale
            if d_unembedding is not None:
                weighted = (state * scale).to(dtype)
                for entries in _entries(vocab, _PART_ENTRIES if on_cpu else vocab):
                    d_unembedding[entries] += odds[:, entries].T @ weighted
            if d_bias is not None:
                d_bias += (scale.to(dtype).T @ odds)[0]
        ctx.gradients = d_hidden, d_unembedding, d_bias
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor):
        if ctx.gradients is None:
            raise ModelError("This loss was walked back before; compute it again for a second backward.")
        d_hidden, d_unembedding, d_bias = (
            None if gradient is None else gradient.mul_(grad_outputs[0]) for gradient in ctx.gradients
        )
        ctx.gradients = None  # scaled in place to save a copy of the unembedding, so good for one walk back only
        return d_hidden, d_unembedding, None, d_bias, None, None


def _entries(vocab: int, size: int) -> Iterator[slice]:
    """Parts of the vocabulary."""
    return (slice(start, start + size) for start in range(0, vocab, size))


def _part_size(tokens: int, vocab: int, dtype: torch.dtype, room: int) -> int:
    """Tokens per part: parts of equal size, with at most ``room`` bytes of logits unless these are of few tokens."""
    most = max(_PART_TOKENS, room // (vocab * dtype.itemsize))
    parts = -(-tokens // most)
    return -(-tokens // max(parts, 1))
