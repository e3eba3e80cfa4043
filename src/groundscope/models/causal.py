"""Causal attention without a gate: torch's fused kernel, and by blocks of queries where that is faster."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from groundscope.models.dropout import drop_signs, kept_scale

_BLOCK = 128  # queries per block: large enough for the matrix products, small enough to skip most of the future


def causal_attention(
    query: Float[Tensor, "batch head time d_head"],
    key: Float[Tensor, "batch head time d_head"],
    value: Float[Tensor, "batch head time d_head"],
    dropout: float = 0.0,
) -> Float[Tensor, "batch head time d_head"]:
    """Return ``softmax(Q K^T / sqrt(d_head)) V`` under the causal mask; dropout acts on the softmax.

    On a CPU, when gradients are wanted, blocks are used: torch's fused kernel has no dropout there, its way round
    draws a float per entry of the whole matrix, and its backward pass does not use bf16 matrix products
    (``benchmarks/training.py``). Gradients can be taken once there, not of gradients.
    """
    if query.device.type == "cpu" and query.requires_grad:
        return _by_blocks(query, key, value, dropout)
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)


@torch.compiler.disable  # nothing but products and torch's own kernels: there is nothing to fuse
def _by_blocks(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return _ByBlocks.apply(query, key, value, dropout)  # type: ignore[return-value]


class _ByBlocks(torch.autograd.Function):
    """One matrix is kept per block of queries; an entry's sign says whether dropout took it."""

    @staticmethod
    def forward(ctx: Any, query, key, value, dropout) -> Tensor:
        *_, time, d_head = query.shape
        queries = (query * d_head**-0.5).flatten(0, 1)
        keys, values = key.flatten(0, 1).contiguous(), value.flatten(0, 1).contiguous()
        size = min(_BLOCK, time)
        future = torch.full((size, size), -torch.inf, dtype=query.dtype).triu_(1)
        mixed, matrices = torch.empty_like(values), []
        for block, past in _blocks(time):
            scores = torch.bmm(queries[:, block], keys[:, past].transpose(1, 2))
            length = scores.shape[1]
            scores[..., -length:] += future[:length, :length]
            matrix = scores.softmax(-1)
            if dropout:
                matrix = matrix.copysign_(drop_signs(matrix.shape, dropout, matrix.dtype))
            torch.bmm(_kept(matrix, dropout), values[:, past], out=mixed[:, block])
            matrices.append(matrix)
        ctx.save_for_backward(queries, keys, values, *matrices)
        ctx.dropout, ctx.shape = dropout, query.shape
        return (mixed.mul_(kept_scale(dropout)) if dropout else mixed).view(query.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor):  # type: ignore[override]
        queries, keys, values, *matrices = ctx.saved_tensors
        gradient = gradients[0].flatten(0, 1) * kept_scale(ctx.dropout)
        d_queries, d_keys, d_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
        for (block, past), matrix in zip(_blocks(queries.shape[1]), matrices, strict=True):
            d_mixed = gradient[:, block]
            d_values[:, past].baddbmm_(_kept(matrix, ctx.dropout).transpose(1, 2), d_mixed)
            d_matrix = torch.bmm(d_mixed, values[:, past].transpose(1, 2))
            if ctx.dropout:
                d_matrix = torch.ops.aten.threshold_backward(d_matrix, matrix, 0)
                matrix = matrix.abs()
            d_scores = torch.ops.aten._softmax_backward_data(d_matrix, matrix, -1, matrix.dtype)
            torch.bmm(d_scores, keys[:, past], out=d_queries[:, block])
            d_keys[:, past].baddbmm_(d_scores.transpose(1, 2), queries[:, block])
        d_queries *= queries.shape[-1] ** -0.5
        return *(part.view(ctx.shape) for part in (d_queries, d_keys, d_values)), None


def _kept(matrix: Tensor, dropout: float) -> Tensor:
    """What dropout leaves of a matrix, unscaled."""
    return matrix.relu() if dropout else matrix


def _blocks(time: int) -> Iterator[tuple[slice, slice]]:
    """For each block of queries: its positions, and those that it sees."""
    for start in range(0, time, _BLOCK):
        end = min(start + _BLOCK, time)
        yield slice(start, end), slice(0, end)
