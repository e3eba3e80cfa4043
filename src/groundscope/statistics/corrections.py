"""Many tests at once: p values that keep their meaning over a family; nan (no test done) stays nan, uncounted."""

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return Holm's (1979) step-down adjusted p values: the chance of any false positive stays below the level."""
    adjusted = np.full_like(p, np.nan)
    done = np.flatnonzero(~np.isnan(p))
    order = done[np.argsort(p[done], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return adjusted


def benjamini_hochberg(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return Benjamini and Hochberg's (1995) adjusted p values: the share of false positives stays below the level."""
    adjusted = np.full_like(p, np.nan)
    done = ~np.isnan(p)
    if done.any():
        adjusted[done] = false_discovery_control(p[done], method="bh")
    return adjusted
