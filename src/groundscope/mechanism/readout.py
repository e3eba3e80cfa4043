"""From final states to the target's surprisal: only the positions that are asked for ever meet the vocabulary."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.base import LanguageModel


def last_states(model: LanguageModel, prompts: PromptBatch) -> Float[Tensor, "prompt d_model"]:
    """Return the state after the final norm at each prompt's last position."""
    return model.hidden(prompts.input_ids, **prompts.extras)[:, -1]  # type: ignore[call-arg]


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
