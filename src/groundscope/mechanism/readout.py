"""From prompts to the target's surprisal: only the layers and positions that matter for it are computed.

What follows the mixer in the last layer, the final norm and the vocabulary see the last position alone. Models of
ours take this short cut, wrapped ones run whole.
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
    state = model.embed(prompts.input_ids)
    for block in model.blocks[:-1]:
        state = block(state)
    last: Block = model.blocks[-1]  # type: ignore[assignment]
    return model.final_norm(after_mixing(last, state[:, -1] + last.mixer.at_the_end(last.norm(state))))


def after_mixing(block: Block, state: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
    """Return what leaves ``block``, given the residual stream after its mixer: the MLP sees each position alone."""
    return state if block.mlp is None or block.mlp_norm is None else state + block.mlp(block.mlp_norm(state))


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
