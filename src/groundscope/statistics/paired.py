"""Is a paired difference different from zero? One difference per word, one column per checkpoint."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

Alternative = Literal["greater", "less", "two-sided"]
EXACT_UP_TO = 12
"""With so many observations or fewer all 2^n sign patterns are gone through."""


def sign_flip_test(
    differences: Float[np.ndarray, "n *column"],
    *,
    alternative: Alternative,
    draws: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "*column"]:
    """Return the p value of the sign-flip permutation test of a mean of zero, for each column.

    Under no effect a word's difference between two exchangeable conditions is as likely as its negative, so the
    signs are flipped: all of them for few observations (exact), else ``draws`` random patterns, the same for all
    columns, with the observed one counted in (Phipson and Smyth 2010), so that p is never 0 and the test is never
    too liberal. Makes no assumption of normality. Raises ValueError for differences that are nan or infinite: no
    pattern compares with them, and they would pass for the most significant ones.
    """
    if not np.isfinite(differences).all():
        raise ValueError("A difference that is nan or infinite cannot be tested: leave its observation out.")
    n = len(differences)
    flat = differences.reshape(n, -1)
    if n <= EXACT_UP_TO:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 1 - 2 * rng.integers(0, 2, size=(draws, n))
        signs[0] = 1
    null = signs @ flat / n
    observed = flat.mean(axis=0)
    tolerance = 1e-12 * np.abs(flat).max(axis=0, initial=0)  # a pattern that only reorders the sum is a tie
    if alternative == "two-sided":
        null, observed = np.abs(null), np.abs(observed)
    elif alternative == "less":
        null, observed = -null, -observed
    return np.mean(null >= observed - tolerance, axis=0).reshape(differences.shape[1:])


def t_interval(
    differences: Float[np.ndarray, "n *column"], level: float = 0.95
) -> tuple[Float[np.ndarray, "*column"], Float[np.ndarray, "*column"]]:
    """Return Student's confidence interval of the mean of each column (Student 1908); nan for a single observation."""
    mean, n = differences.mean(axis=0), len(differences)
    half = student.ppf((1 + level) / 2, n - 1) * _deviation(differences) / np.sqrt(n)
    return np.asarray(mean - half), np.asarray(mean + half)


def cohens_dz(differences: Float[np.ndarray, "n *column"]) -> Float[np.ndarray, "*column"]:
    """Return the effect size of paired differences: their mean over their standard deviation (Cohen 1988, section 2.3).

    nan where they do not vary, as a single observation does not.
    """
    spread, mean = _deviation(differences), differences.mean(axis=0)
    return np.divide(mean, spread, out=np.full_like(mean, np.nan), where=spread > 0)


def _deviation(differences: Float[np.ndarray, "n *column"]) -> Float[np.ndarray, "*column"]:
    """Standard deviation in the population, as a sample of two or more tells it; else nan."""
    if len(differences) < 2:
        return np.full(differences.shape[1:], np.nan)
    return np.asarray(differences.std(axis=0, ddof=1))
