"""Surprisal of all target words from one forward per (context, scene word): nothing is computed twice."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from groundscope.behaviour.prompts import Prompts
from groundscope.models.base import LanguageModel

BATCH_TOKENS = 4096
"""Tokens per forward: enough to keep the matrix products busy, few enough for any machine."""


@torch.inference_mode()
def surprisal(
    model: LanguageModel,
    ids: Int[Tensor, "prompt time"],
    target_ids: Int[Tensor, " target"],
    *,
    precision: torch.dtype = torch.float32,
) -> Float[Tensor, "prompt target"]:
    """Return -ln P(target | prompt), in nats, of every target after every prompt.

    Only the last position is unembedded, and its log-normaliser is taken in fp32 whatever ``precision`` the forward
    runs in. The model must be in eval mode; the result lies on the CPU.
    """
    unembedding, bias = model.unembedding, model.output_bias
    device = unembedding.device
    rows = max(1, BATCH_TOKENS // ids.shape[1])
    found = []
    for batch in ids.split(rows):
        with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
            last = model.hidden(batch.to(device))[:, -1]
            logits = last @ unembedding.T
        logits = logits.float() if bias is None else logits.float() + bias.float()
        if model.softcap is not None:
            logits = model.softcap * torch.tanh(logits / model.softcap)
        wanted = logits[:, target_ids.to(device)]
        found.append((torch.logsumexp(logits, dim=-1, keepdim=True) - wanted).cpu())
    return torch.cat(found)


def surprisal_cube(
    model: LanguageModel,
    prompts: Sequence[Prompts],
    target_ids: Int[Tensor, " target"],
    *,
    precision: torch.dtype = torch.float32,
) -> Float[Tensor, "context scene target"]:
    """Return the surprisal, in nats, of every target word in every context with every scene word.

    Contexts of equal length go through the model together, so nothing is padded.
    """
    cube = torch.empty(len(prompts), len(prompts[0].ids), len(target_ids))
    lengths = torch.tensor([p.ids.shape[1] for p in prompts])
    for length in lengths.unique():
        alike = torch.nonzero(lengths == length)[:, 0]
        ids = torch.cat([prompts[at].ids for at in alike.tolist()])
        cube[alike] = surprisal(model, ids, target_ids, precision=precision).view(len(alike), *cube.shape[1:])
    return cube
