"""Diverging training, told in words before anything of it is kept."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from groundscope.errors import TrainingError
from groundscope.training.config import TrainConfig
from groundscope.training.schedule import learning_rate


def refuse_divergence(step: int, loss: float, gradient_norm: float, config: TrainConfig, kept: int | None) -> None:
    """Raise TrainingError when what the update of ``step`` measured (nats, norm before clipping) is not finite.

    ``kept`` is the step of the last checkpoint, for the message.
    """
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        raise _diverged(step, f"loss {loss:.4g}, gradient norm {gradient_norm:.4g}", config, kept)


def refuse_broken_weights(done: int, weights: Mapping[str, Tensor], config: TrainConfig, kept: int | None) -> None:
    """Raise TrainingError when a weight is not finite after ``done`` updates.

    The last update may break weights whose loss and gradient were sound still; the next step's loss would tell, but
    a checkpoint or a state is kept before it.
    """
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise _diverged(done - 1, f"its update left weights that are not finite in {name}", config, kept)


def _diverged(step: int, found: str, config: TrainConfig, kept: int | None) -> TrainingError:
    last = "no checkpoint is kept" if kept is None else f"the checkpoint of step {kept} is kept"
    return TrainingError(
        f"Training diverged at step {step}: {found}, learning rate {learning_rate(step, config):.3g}; {last}. Lower "
        f"learning_rate (now {config.learning_rate:g}), raise warmup_steps (now {config.warmup_steps}) or lower clip "
        f"(now {config.clip}), and train into a new folder."
    )
