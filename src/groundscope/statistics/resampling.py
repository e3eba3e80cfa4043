"""The bootstrap in one form: a statistic is a function of weights over observations.

Resampling n observations with replacement is the same as weighting each by how often it was drawn. A statistic that
takes weights is therefore computed for all resamples at once, as matrix products, and its jackknife comes for free.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

Method = Literal["percentile", "bca"]
Statistic = Callable[[Float[np.ndarray, "draw n"]], Float[np.ndarray, "draw *column"]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic and its confidence interval; arrays of the statistic's columns."""

    estimate: Float[np.ndarray, "*column"]
    low: Float[np.ndarray, "*column"]
    high: Float[np.ndarray, "*column"]


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a random generator that depends on ``seed`` and ``purpose`` alone."""
    digest = hashlib.sha256(purpose.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


def resample_weights(n: int, draws: int, rng: np.random.Generator) -> Float[np.ndarray, "draw n"]:
    """Return the weights (rows sum to 1) of ``draws`` resamples with replacement of ``n`` observations."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws) / n


def equal_weights(n: int) -> Float[np.ndarray, "1 n"]:
    """Return the weights that stand for the sample itself."""
    return np.full((1, n), 1 / n)


def jackknife_weights(n: int) -> Float[np.ndarray, "n n"]:
    """Return the weights of the ``n`` samples that each leave one observation out."""
    return (1 - np.eye(n)) / (n - 1)


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    draws: int,
    rng: np.random.Generator,
    level: float = 0.95,
    method: Method = "bca",
) -> Interval:
    """Return a statistic of ``n`` observations with its bootstrap interval.

    ``bca`` corrects for bias and for a spread that depends on the value (Efron 1987); where it is undefined (no spread,
    or the estimate lies beyond every resample) the percentile interval stands in. Resamples in which the statistic is
    undefined (nan) are left out; a column that is undefined in the sample itself comes back as nan.
    """
    estimate = statistic(equal_weights(n))[0]
    replicates = statistic(resample_weights(n, draws, rng))
    low, high = (np.full(estimate.shape, rank) for rank in ((1 - level) / 2, (1 + level) / 2))
    if method == "bca":
        low, high = _bca_ranks(statistic(jackknife_weights(n)), replicates, estimate, (1 - level) / 2)
    undefined = np.isnan(estimate)
    return Interval(
        estimate,
        np.where(undefined, np.nan, _quantile(replicates, low)),
        np.where(undefined, np.nan, _quantile(replicates, high)),
    )


def percentile_interval(
    replicates: Float[np.ndarray, "draw *column"], level: float = 0.95
) -> tuple[Float[np.ndarray, "*column"], Float[np.ndarray, "*column"]]:
    """Return the central ``level`` of replicates, nan left out."""
    low, high = (np.full(replicates.shape[1:], rank) for rank in ((1 - level) / 2, (1 + level) / 2))
    return _quantile(replicates, low), _quantile(replicates, high)


def _bca_ranks(
    jackknife: Float[np.ndarray, "n *column"],
    replicates: Float[np.ndarray, "draw *column"],
    estimate: Float[np.ndarray, "*column"],
    tail: float,
) -> tuple[Float[np.ndarray, "*column"], Float[np.ndarray, "*column"]]:
    """Quantile ranks of the BCa interval: Efron and Tibshirani (1993), equations 14.10 to 14.15."""
    known = np.maximum(np.sum(~np.isnan(replicates), axis=0), 1)
    below = (np.sum(replicates < estimate, axis=0) + 0.5 * np.sum(replicates == estimate, axis=0)) / known
    away = _mean(jackknife) - jackknife
    spread = _sum(away**2) ** 1.5
    usable = (below > 0) & (below < 1) & (spread > 0)
    bias = norm.ppf(np.where(usable, below, 0.5))
    acceleration = np.divide(_sum(away**3), 6 * spread, out=np.zeros_like(spread), where=spread > 0)

    def rank(z: float) -> Float[np.ndarray, "*column"]:
        corrected = norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        return np.where(usable, corrected, norm.cdf(z))

    return rank(float(norm.ppf(tail))), rank(float(norm.ppf(1 - tail)))


def _quantile(
    replicates: Float[np.ndarray, "draw *column"], ranks: Float[np.ndarray, "*column"]
) -> Float[np.ndarray, "*column"]:
    """Linear quantiles with a rank of its own for each column; nan sorts last and is not counted."""
    ordered = np.sort(replicates, axis=0)
    known = np.sum(~np.isnan(ordered), axis=0)
    place = np.clip(ranks, 0, 1) * np.maximum(known - 1, 0)
    lower = np.floor(place).astype(int)[None]
    upper = np.minimum(lower + 1, np.maximum(known - 1, 0)[None])
    left = np.take_along_axis(ordered, lower, axis=0)[0]
    right = np.take_along_axis(ordered, upper, axis=0)[0]
    return np.asarray(left + (right - left) * (place - lower[0]))


def _sum(values: Float[np.ndarray, "n *column"]) -> Float[np.ndarray, "*column"]:
    return np.nansum(values, axis=0)


def _mean(values: Float[np.ndarray, "n *column"]) -> Float[np.ndarray, "*column"]:
    known = np.sum(~np.isnan(values), axis=0)
    return np.divide(np.nansum(values, axis=0), known, out=np.full(values.shape[1:], np.nan), where=known > 0)
