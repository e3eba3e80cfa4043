"""What is minimised, and how: mean next-token surprisal, AdamW that decays matrices only."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from groundscope.models.base import LanguageModel
from groundscope.models.loss import linear_cross_entropy
from groundscope.training.config import TrainConfig


class NextTokenLoss(nn.Module):
    """A language model with its loss as ``forward``, so that autocast, DDP and FSDP wrap both at once."""

    def __init__(self, model: LanguageModel):
        super().__init__()
        self.model = model

    def forward(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, ""]:
        """Return the mean surprisal in nats of each token after the first, given those before it.

        Ids beyond the vocabulary are patches of pictures: they are seen, and never predicted.
        """
        hidden = self.model.hidden(tokens)[:, :-1].flatten(0, 1)
        targets = tokens[:, 1:].flatten()
        targets = targets.masked_fill(targets >= len(self.model.unembedding), -100)
        return linear_cross_entropy(hidden, self.model.unembedding, targets, self.model.output_bias)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW over all weights; biases, norms and other vectors are not decayed."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def clip_gradients(model: nn.Module, clip: float | None) -> Float[Tensor, ""]:
    """Scale all gradients so that their common norm is at most ``clip``; return the norm before that."""
    weights = [weight for weight in model.parameters() if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None], foreach=True)
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(weights, clip, norm, foreach=True)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
