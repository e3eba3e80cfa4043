"""Many tests at once: p values that keep their meaning over a family; nan (no test done) stays nan, uncounted."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import false_discovery_control

LEVEL = 0.05
"""Below it a corrected p value counts as significant, in every table and on every page."""


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return Holm's (1979) step-down adjusted p values: the chance of any false positive stays below the level."""
    adjusted = np.full_like(p, np.nan)
    done = np.flatnonzero(~np.isnan(p))
    order = done[np.argsort(p[done], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return adjusted


def holm_within(p: Float[np.ndarray, " test"], family: Shaped[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return Holm's adjusted p values, each corrected among the tests of its own ``family`` alone; nan stays nan."""
    adjusted = np.full_like(p, np.nan)
    for one in np.unique(family):
        adjusted[family == one] = holm(p[family == one])
    return adjusted


def benjamini_hochberg(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return Benjamini and Hochberg's (1995) adjusted p values: the share of false positives stays below the level."""
    adjusted = np.full_like(p, np.nan)
    done = ~np.isnan(p)
    if done.any():
        adjusted[done] = false_discovery_control(p[done], method="bh")
    return adjusted
