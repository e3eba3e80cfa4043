"""The mean over words, and over seeds where there are several: estimate, interval and test by one rule everywhere."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from groundscope.statistics.crossed import crossed_mean
from groundscope.statistics.paired import sign_flip_test, t_interval
from groundscope.statistics.resampling import generator

DRAWS = 10_000
"""Sign patterns drawn where there is only one seed."""


@dataclass(frozen=True, slots=True)
class Average:
    """A mean, its interval, its two-sided p value against zero, and the name of the test behind it."""

    estimate: Float[np.ndarray, "*column"]
    low: Float[np.ndarray, "*column"]
    high: Float[np.ndarray, "*column"]
    p: Float[np.ndarray, "*column"]
    test: str


def average(values: Float[np.ndarray, "word seed *column"], level: float = 0.95, seed: int = 0) -> Average:
    """Return the mean of ``values`` with words, and seeds where there are several, as samples.

    Several seeds: crossed random effects, so that interval and p hold for other words and other seeds (`crossed`).
    One seed tells nothing of others: Student's interval over words, and the signs of words flipped (`paired`).
    """
    if values.shape[1] > 1:
        found = crossed_mean(values, level)
        test = "crossed random effects of words and seeds, two-sided"
        return Average(found.mean, found.low, found.high, found.p, test)
    only = values[:, 0]
    rng = generator(seed, "sign flips over words")
    p = sign_flip_test(only, alternative="two-sided", draws=DRAWS, rng=rng)
    return Average(np.asarray(only.mean(axis=0)), *t_interval(only, level), p, "sign-flip over words, two-sided")
