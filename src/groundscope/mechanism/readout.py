"""From prompts to the target's surprisal: only the layers and positions that matter for it are computed.

What follows the mixer in the last layer, the final norm and the vocabulary see the last position alone; and a run in
which nothing below some layer was changed begins there. Models of ours take both short cuts, wrapped ones run whole.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.base import LanguageModel
from groundscope.models.language_model import Block, GroundedLM


def last_states(model: LanguageModel, prompts: PromptBatch) -> Float[Tensor, "prompt d_model"]:
    """Return the state after the final norm at each prompt's last position."""
    if not isinstance(model, GroundedLM) or prompts.extras:
        return model.hidden(prompts.input_ids, **prompts.extras)[:, -1]  # type: ignore[call-arg]
    return states_from(model, model.embed(prompts.input_ids), 0)


def states_before(
    model: GroundedLM, input_ids: Int[Tensor, "prompt time"], layer: int
) -> Float[Tensor, "prompt time d_model"]:
    """Return what enters ``layer``."""
    state = model.embed(input_ids)
    for block in model.blocks[:layer]:
        state = block(state)
    return state


def states_from(
    model: GroundedLM, state: Float[Tensor, "prompt time d_model"], layer: int
) -> Float[Tensor, "prompt d_model"]:
    """Return the last position's state after the final norm, given what enters ``layer``."""
    for block in model.blocks[layer:-1]:
        state = block(state)
    return model.final_norm(_at_the_end(model.blocks[-1], state))  # type: ignore[arg-type]


def _at_the_end(block: Block, state: Float[Tensor, "prompt time d_model"]) -> Float[Tensor, "prompt d_model"]:
    """``block(state)[:, -1]``: only the mixer needs the other positions."""
    mixed = state[:, -1] + block.mixer(block.norm(state))[:, -1]
    if block.mlp is None or block.mlp_norm is None:
        return mixed
    return mixed + block.mlp(block.mlp_norm(mixed))


def read_logits(model: LanguageModel, states: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape vocab"]:
    """Return the logits, in at least fp32, of states after the final norm; a model's soft cap is honoured."""
    logits = functional.linear(states, model.unembedding, model.output_bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    softcap = getattr(model, "softcap", None)  # wrapped Hugging Face models may have one
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def target_surprisal(
    model: LanguageModel, states: Float[Tensor, "*shape d_model"], targets: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return ``-ln P(target)`` in nats from states after the final norm."""
    logits = read_logits(model, states)
    return logits.logsumexp(dim=-1) - logits.gather(-1, targets[..., None]).squeeze(-1)
