"""The gate inside Hugging Face attention, through transformers' own registry: no monkey-patching, no model families.

transformers lets a model choose its attention function by name (``AttentionInterface``, ``AttentionMaskInterface``).
`ask_gates` switches a model to the function registered here for the length of one forward call and back again, so
that outside of it the model is exactly as it was found.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from groundscope.errors import ModelError
from groundscope.models.gate import Gate, mix

IMPLEMENTATION = "groundscope"

# What some attention functions are given that changes M and that no one here has worked out.
_REFUSED = ("position_bias", "block_indices", "indices", "cache")

_gates: dict[nn.Module, Gate | None] = {}  # attention module -> its gate, while `ask_gates` is open
_on_call: list[Callable[[nn.Module, int], None]] = []  # told of every attention module that runs, and its heads


@contextmanager
def ask_gates(
    model: PreTrainedModel,
    gates: Mapping[nn.Module, Gate | None],
    on_call: Callable[[nn.Module, int], None] | None = None,
) -> Iterator[None]:
    """Run ``model``'s attention through ``gates`` (attention module -> gate) inside the block.

    ``on_call`` is told each attention module that runs and its number of heads, in order. Raises ModelError when
    the model does not let its attention function be chosen.
    """
    with _implementation(model):
        _gates.update(gates)
        if on_call is not None:
            _on_call.append(on_call)
        try:
            yield
        finally:
            for module in gates:
                _gates.pop(module, None)
            if on_call is not None:
                _on_call.remove(on_call)


def gated_attention(
    module: nn.Module,
    query: Float[Tensor, "batch head row d_head"],
    key: Float[Tensor, "batch kv_head time d_head"],
    value: Float[Tensor, "batch kv_head time d_value"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " head"] | None = None,
    **kwargs,
) -> tuple[Float[Tensor, "batch row head d_value"], None]:
    """Attend as `sdpa` or `eager` do, with ``M = softmax(softcap(Q K^T scaling) + mask)`` under the module's gate.

    ``softcap`` (Gemma-2) bounds the scores by ``softcap * tanh(scores / softcap)``; ``s_aux`` (gpt-oss) is one sink
    per head that takes its share of the softmax and has no value, so that M's rows sum to less than one. Grouped
    keys and values are repeated for the query heads that share them. Raises ModelError for what changes M in ways
    not known here, and for a gate on a call with cached keys.
    """
    for name in _REFUSED:
        if kwargs.get(name) is not None:
            raise ModelError(
                f"{type(module).__name__} passes '{name}' to its attention; its mixing matrix cannot be gated."
            )
    for told in _on_call:
        told(module, query.shape[1])
    gate = _gates.get(module)
    if gate is not None and query.shape[2] != key.shape[2]:
        raise ModelError(
            f"A gate sees whole contexts, got {query.shape[2]} new positions and {key.shape[2]} with the cached ones: "
            "call the model with use_cache=False."
        )
    plain = softcap is None and s_aux is None
    if gate is None and plain:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    allowed = _allowed(module, query, key, attention_mask, kwargs.get("is_causal"))

    def matrix(rows: Tensor | None) -> Tensor:
        return _attention_matrix(query, key, allowed, scale, softcap, s_aux, rows)

    def fused() -> Tensor:
        if not plain:  # no fused kernel knows these
            return matrix(None).to(value.dtype) @ value
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=scale)

    mixed = mix(gate, fused=fused, matrix=matrix, values=value)
    return mixed.transpose(1, 2).contiguous(), None


def _attention_matrix(
    query: Float[Tensor, "batch head row d_head"],
    key: Float[Tensor, "batch head time d_head"],
    allowed: Bool[Tensor, "#batch #head row time"] | None,
    scaling: float,
    softcap: float | None,
    sinks: Float[Tensor, " head"] | None,
    rows: Tensor | None,
) -> Float[Tensor, "batch head asked time"]:
    """Return M, in float32 at least, at the query positions ``rows`` (None: all)."""
    if rows is not None:
        query = query.index_select(2, rows)
        allowed = None if allowed is None else allowed.index_select(2, rows)
    scores = (query @ key.transpose(-1, -2)) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    dtype = torch.promote_types(scores.dtype, torch.float32)
    if sinks is None:
        return scores.softmax(dim=-1, dtype=dtype)
    sink = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat([scores, sink], dim=-1).softmax(dim=-1, dtype=dtype)[..., :-1]


def _allowed(
    module: nn.Module, query: Tensor, key: Tensor, attention_mask: Tensor | None, is_causal: bool | None
) -> Bool[Tensor, "#batch #head row time"] | None:
    """Return which keys each query may see; None: all. The plain causal mask, which `sdpa_mask` omits, is made here."""
    if attention_mask is not None:
        return attention_mask if attention_mask.dtype == torch.bool else attention_mask >= 0
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    row, time = query.shape[2], key.shape[2]
    if not causal or row == 1:
        return None
    return torch.ones(1, 1, row, time, dtype=torch.bool, device=query.device).tril(time - row)


@contextmanager
def _implementation(model: PreTrainedModel) -> Iterator[None]:
    """Have ``model``'s text layers (a vision tower keeps its own) attend through `gated_attention` inside the block."""
    config = model.config.get_text_config()
    key = next((name for name in model.config.sub_configs if getattr(model.config, name, None) is config), "")
    before = config._attn_implementation
    model.set_attn_implementation({key: IMPLEMENTATION})
    if config._attn_implementation != IMPLEMENTATION:
        raise ModelError(
            f"{type(model).__name__} does not let its attention function be chosen (transformers' AttentionInterface), "
            "so its heads cannot be gated. Behaviour and lenses work without."
        )
    try:
        yield
    finally:
        model.set_attn_implementation({key: before})


AttentionInterface.register(IMPLEMENTATION, gated_attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
