"""When does an effect begin? The first checkpoint from which on the interval of a mean stays above zero."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from groundscope.statistics.replicates import Replicates


@dataclass(frozen=True, slots=True)
class Emergence:
    """A position on the checkpoint axis and its interval; the number of checkpoints stands for "not yet"."""

    position: int
    low: int
    high: int


def lasting_from(lower: Float[np.ndarray, "*column step"]) -> Int[np.ndarray, "*column"]:
    """Return the first step from which on every lower bound is above zero; the number of steps where there is none.

    Lasting: a checkpoint that is above zero by chance does not count when a later one is not.
    """
    stays = np.flip(np.logical_and.accumulate(np.flip(lower > 0, axis=-1), axis=-1), axis=-1)
    return np.asarray(lower.shape[-1] - stays.sum(axis=-1))


def emergence(mean: Replicates, lower: Float[np.ndarray, " step"], level: float = 0.95) -> Emergence:
    """Return from which checkpoint on the lower bound of a mean stays above zero, and the interval of that position.

    ``lower`` bounds the mean itself (`average`); in each resample of ``mean`` the bound lies as far below it. The
    interval holds the central ``level`` of the positions so found.
    """
    found = np.sort(lasting_from(mean.draws - (mean.estimate - lower)))
    tail = (1 - level) / 2
    last = len(found) - 1
    low, high = int(found[int(tail * last)]), int(found[int(np.ceil((1 - tail) * last))])
    return Emergence(int(lasting_from(lower)), low, high)
