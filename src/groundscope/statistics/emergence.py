"""When does an effect begin? The first checkpoint from which on the interval of a mean stays above zero."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import t as student

from groundscope.statistics.replicates import TwoWayWeights
from groundscope.statistics.resampling import equal_weights


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


def emergence(gain: Float[np.ndarray, "seed word step"], weights: TwoWayWeights, level: float = 0.95) -> Emergence:
    """Return from which checkpoint on the ``level`` interval of the mean gain over words stays above zero.

    In each resample of words and seeds the gain is averaged over seeds and the t interval over words is taken anew;
    the interval of the emergence step holds the central ``level`` of the steps so found.
    """
    n_seeds, n_words = len(gain), gain.shape[1]
    sample = TwoWayWeights(equal_weights(n_words), np.full((1, n_seeds), 1 / n_seeds))
    position = lasting_from(_lower_bounds(gain, sample, level))[0]
    found = np.sort(lasting_from(_lower_bounds(gain, weights, level)))
    tail = (1 - level) / 2
    last = len(found) - 1
    return Emergence(int(position), int(found[int(tail * last)]), int(found[int(np.ceil((1 - tail) * last))]))


def _lower_bounds(
    gain: Float[np.ndarray, "seed word step"], weights: TwoWayWeights, level: float
) -> Float[np.ndarray, "draw step"]:
    over_seeds = np.einsum("ds,swt->dwt", weights.seeds, gain)
    mean = np.einsum("dw,dwt->dt", weights.words, over_seeds)
    variance = np.einsum("dw,dwt->dt", weights.words, over_seeds**2) - mean**2
    n = gain.shape[1]
    error = np.sqrt(np.maximum(variance, 0) / (n - 1))
    return mean - student.ppf((1 + level) / 2, n - 1) * error
