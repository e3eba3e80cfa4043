"""Causal softmax attention as in GPT-2, with the gate on its post-softmax matrix."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from groundscope.models.causal import causal_attention
from groundscope.models.gate import Mixer, mix


class Attention(Mixer):
    """Multi-head causal self-attention: ``M = softmax(Q K^T / sqrt(d_head))`` per head, ``v`` the values.

    Heads' outputs are gated before the output projection, so a head that is gated to zero contributes nothing and the
    projection's bias stays. Dropout acts on M in training only; gates are refused there.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0):
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "run time d_model"]:
        """Mix positions; every position sees itself and what came before."""
        batch, time, d_model = x.shape
        heads = self.qkv(x).view(batch, time, 3, self.n_heads, d_model // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = mix(
            self.gate,
            fused=lambda: causal_attention(query, key, value, dropout),
            matrix=lambda rows: attention_matrix(query, key, rows),
            values=value,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def at_the_end(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "run d_model"]:
        """Return ``self(x)[:, -1]``: all positions are keys and values there, and only the last one asks."""
        if self.gate is not None and not self.gate.is_removal:
            return super().at_the_end(x)
        batch, time, d_model = x.shape
        (ask, tell), (ask_bias, tell_bias) = (part.tensor_split([d_model]) for part in (self.qkv.weight, self.qkv.bias))
        query = functional.linear(x[:, -1], ask, ask_bias).view(batch, self.n_heads, 1, -1)
        told = functional.linear(x, tell, tell_bias).view(batch, time, 2, self.n_heads, -1)
        key, value = told.permute(2, 0, 3, 1, 4)
        mixed = mix(
            None if self.gate is None else self.gate.at_the_end,
            fused=lambda: functional.scaled_dot_product_attention(query, key, value),
            matrix=lambda _: attention_matrix(query, key),
            values=value,
        )
        return self.out(mixed.flatten(1))


def attention_matrix(
    query: Float[Tensor, "batch head time d_head"],
    key: Float[Tensor, "batch head time d_head"],
    rows: Tensor | None = None,
) -> Float[Tensor, "batch head row time"]:
    """Return ``softmax(Q K^T / sqrt(d_head))`` under the causal mask, at the query positions ``rows`` (None: all)."""
    time, d_head = key.shape[-2:]
    positions = torch.arange(time, device=key.device)
    if rows is not None:
        query = query.index_select(2, rows)
    scores = query @ key.transpose(-1, -2) / math.sqrt(d_head)
    future = positions > (positions if rows is None else rows)[:, None]
    return scores.masked_fill(future, -torch.inf).softmax(dim=-1)
