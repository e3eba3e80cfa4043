"""Causal attention without a gate: torch's fused kernel, and by blocks of queries where that is faster."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from groundscope.models.dropout import keep_mask

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
    (``benchmarks/training.py``).
    """
    if query.device.type == "cpu" and query.requires_grad:
        with torch.autocast("cpu", enabled=False):
            return _by_blocks(query, key, value, dropout)
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)


def _by_blocks(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    time, d_head = query.shape[-2:]
    query = query * d_head**-0.5
    key = key.transpose(-1, -2)
    future = torch.ones(min(_BLOCK, time), min(_BLOCK, time), dtype=torch.bool).triu_(1)
    mixed = []
    for start in range(0, time, _BLOCK):
        end = min(start + _BLOCK, time)
        scores = query[:, :, start:end] @ key[..., :end]
        scores[..., start:end].masked_fill_(future[: end - start, : end - start], -torch.inf)
        matrix = scores.softmax(dim=-1)
        if dropout:
            matrix = matrix * keep_mask(matrix.shape, dropout, matrix.dtype)
        mixed.append(matrix @ value[:, :, :end])
    return torch.cat(mixed, dim=2)
