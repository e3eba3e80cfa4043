"""What a Hugging Face causal language model is made of, found by running it on four tokens."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from groundscope.errors import ModelError
from groundscope.models.gate import Gate
from groundscope.models.hf_attention import ask_gates

# Configs that bound their logits name the bound by one of these.
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap")


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model that analyses need, each shown to be what it is called."""

    decoder: PreTrainedModel  # returns the states after the final norm
    blocks: tuple[nn.Module, ...]  # one per layer, each reading and writing the residual stream
    final_norm: nn.Module | None  # None: the last block's output is the last state
    attention: tuple[tuple[nn.Module | None, int], ...]  # per layer the attention module and its heads; empty: none
    ungateable: str  # why gates cannot reach the attention that there is; "" when they can
    softcap: float | None
    logit_scale: float

    @contextmanager
    def recorded(self) -> Iterator[list[Tensor]]:
        """Collect the residual stream of the next forward call: into block 0, then out of each block.

        Our own hooks, taken off again: those that ``output_hidden_states`` puts on a model stay on it, and its last
        state is the one after the final norm.
        """
        stream: list[Tensor] = []
        with ExitStack() as hooks:
            enter = self.blocks[0].register_forward_pre_hook(
                lambda _, args, kwargs: stream.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
            )
            hooks.callback(enter.remove)
            for block in self.blocks:
                leave = block.register_forward_hook(lambda _, __, output: stream.append(_state(output)))
                hooks.callback(leave.remove)
            yield stream


@torch.no_grad()
def probe(model: PreTrainedModel) -> Anatomy:
    """Find a model's parts; raises ModelError that names the model and what could not be found or shown."""
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise ModelError(f"{name} is an encoder-decoder; groundscope reads causal (decoder-only) language models.")
    if not isinstance(model.get_output_embeddings(), nn.Linear):
        raise ModelError(f"{name} has no linear unembedding, so its states cannot be read as logits.")
    was_training = model.training
    model.eval()
    try:
        return _examine(model, name)
    finally:
        model.train(was_training)


def _examine(model: PreTrainedModel, name: str) -> Anatomy:
    decoder = _decoder(model, name)
    ids = _four_tokens(model)
    _check_causal(decoder, ids, name)
    blocks = _blocks(decoder, name)
    final_norm, last = _final_norm(decoder, blocks, ids, name)
    softcap, scale = _logits_from(model, ids, last, name)
    attention, ungateable = _attention(model, decoder, blocks, ids, last, name)
    return Anatomy(decoder, blocks, final_norm, attention, ungateable, softcap, scale)


def _decoder(model: PreTrainedModel, name: str) -> PreTrainedModel:
    decoder = model.base_model
    if decoder is model:
        raise ModelError(f"{name} has no body apart from its head (base_model), so its last state cannot be read.")
    return decoder  # type: ignore[return-value]


def _four_tokens(model: PreTrainedModel) -> Int[Tensor, "batch time"]:
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.arange(1, 5).remainder(vocabulary)
    return ids[None].to(model.get_input_embeddings().weight.device)  # type: ignore[union-attr]


def _states(decoder: PreTrainedModel, ids: Tensor) -> Float[Tensor, "batch time d_model"]:
    return decoder(input_ids=ids, use_cache=False).last_hidden_state


def _check_causal(decoder: PreTrainedModel, ids: Tensor, name: str) -> None:
    other = ids.clone()
    other[0, -1] = ids[0, 0]
    here, there = _states(decoder, ids)[:, :-1], _states(decoder, other)[:, :-1]
    if not _close(here, there):
        raise ModelError(
            f"{name} is not causal: its state at a token changes with what comes after (an encoder such as BERT?). "
            "Choose a model that predicts the next token."
        )


def _blocks(decoder: PreTrainedModel, name: str) -> tuple[nn.Module, ...]:
    depth = decoder.config.get_text_config().num_hidden_layers
    # a model that sees has blocks of vision as well, perhaps as many
    text = getattr(decoder, "language_model", None) or getattr(decoder, "text_model", None) or decoder
    for module in text.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return tuple(module)
    raise ModelError(f"{name} has no list of {depth} layers (config.num_hidden_layers) that could be its blocks.")


def _final_norm(
    decoder: PreTrainedModel, blocks: tuple[nn.Module, ...], ids: Tensor, name: str
) -> tuple[nn.Module | None, Tensor]:
    """Return the module that turns the last block's output into the last state, and that state."""
    inside = {part for block in blocks for part in block.modules()}
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    leaving: list[Tensor] = []

    def note(module: nn.Module, args: tuple, output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            calls.append((module, args[0], output))

    with ExitStack() as hooks:
        hooks.callback(blocks[-1].register_forward_hook(lambda _, __, out: leaving.append(_state(out))).remove)
        for module in decoder.modules():
            if module not in inside and module is not decoder:
                hooks.callback(module.register_forward_hook(note).remove)
        last = _states(decoder, ids)
    for module, before, after in calls:
        if before.shape == leaving[-1].shape and torch.equal(before, leaving[-1]) and torch.equal(after, last):
            return module, last
    if torch.equal(leaving[-1], last):
        return None, last
    raise ModelError(
        f"{name}: no module turns its last block's output into its last state, so its final norm cannot be found; "
        "a lens without it would be wrong."
    )


def _logits_from(model: PreTrainedModel, ids: Tensor, last: Tensor, name: str) -> tuple[float | None, float]:
    """Return (softcap, scale): logits are ``scale * (last @ W.T + b)``, bounded by the softcap where there is one."""
    logits = model(input_ids=ids, use_cache=False).logits.double()
    linear = model.get_output_embeddings()(last).double()  # type: ignore[operator]
    config = model.config.get_text_config()
    cap = next((cap for key in _SOFTCAPS if (cap := getattr(config, key, None))), None)
    # small logits hardly show a cap, so the config is believed about it; a scale shows at any size
    scale = float((logits * linear).sum() / linear.square().sum()) if cap is None else 1.0
    scale = 1.0 if abs(scale - 1) < 1e-3 else scale
    again = scale * linear if cap is None else cap * torch.tanh(linear / cap)
    if _close(again, logits, last.dtype):
        return cap, scale
    raise ModelError(
        f"{name}: its logits are not its last state times its unembedding, scaled or capped; unknown to us."
    )


def _attention(
    model: PreTrainedModel,
    decoder: PreTrainedModel,
    blocks: tuple[nn.Module, ...],
    ids: Tensor,
    last: Tensor,
    name: str,
) -> tuple[tuple[tuple[nn.Module | None, int], ...], str]:
    """Return each layer's attention module and heads as seen by the gate, and why it cannot be gated ("" if it can)."""
    of_layer = {part: layer for layer, block in enumerate(blocks) for part in block.modules()}
    seen: dict[int, tuple[nn.Module, int]] = {}

    def note(module: nn.Module, heads: int) -> None:
        seen[of_layer[module]] = (module, heads)

    has_attention = any("attention" in type(part).__name__.lower() for part in of_layer)
    if not has_attention:
        return (), ""
    try:
        with ask_gates(model, {}, on_call=note):
            _states(decoder, ids)
        # a gate of ones over all keys takes the path that builds M: it must give what the model gives by itself
        ones = torch.ones(1, 1, 1, ids.shape[1], device=ids.device)
        with ask_gates(model, {module: Gate(ones) for module, _ in seen.values()}):
            under_gates = _states(decoder, ids)
    except ModelError as error:
        return (), str(error)
    if not seen:
        return (), f"{name}'s attention does not go through transformers' AttentionInterface, so it cannot be gated."
    if not _close(under_gates, last):
        return (), f"{name}'s attention has parts that the gate does not know (its states differ under a gate of ones)."
    return tuple(seen.get(layer, (None, 0)) for layer in range(len(blocks))), ""


def _close(here: Tensor, there: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether two tensors are equal but for rounding in their dtype."""
    tolerance = 1e-4 if (dtype or here.dtype).itemsize >= 4 else 5e-2
    return torch.allclose(here.double(), there.double(), rtol=tolerance, atol=tolerance * float(there.abs().max()))


def _state(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
