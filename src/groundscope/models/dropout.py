"""Dropout whose random numbers cost little on a CPU: four decisions from one 64-bit draw."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_LEVELS = 2**16  # what 16 bits can tell apart; a probability is rounded to a multiple of 1/65536


def dropout(x: Float[Tensor, "*shape"], p: float, training: bool) -> Float[Tensor, "*shape"]:
    """Return x with each element zeroed with probability ``p`` and the others scaled, in training; else x itself.

    As `torch.nn.functional.dropout`, several times as fast on a CPU, where drawing a float per element is most of it.
    """
    if not training or p == 0:
        return x
    return x * keep_mask(x.shape, p, x.dtype) if x.device.type == "cpu" else functional.dropout(x, p)


def keep_mask(shape: Sequence[int], p: float, dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Return 0 with probability ``p`` and else 1 / (1 - p), independently, from torch's global CPU generator.

    ``p`` counts as the nearest multiple of 1/65536, in the scale too, so that the mean is exactly 1.
    """
    size = math.prod(shape)
    dropped = round(p * _LEVELS)
    draws = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    keep = draws.view(torch.int16)[:size].view(tuple(shape)) >= dropped - _LEVELS // 2
    return keep.to(dtype).mul_(_LEVELS / max(_LEVELS - dropped, 1))
