"""Simulated studies without any effect: a test at .05 must find one in 3 to 7 % of them.

Two thousand studies, because the rate among two hundred strays by .03 by itself.
"""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from groundscope.statistics.corrections import holm
from groundscope.statistics.crossed import crossed_mean
from groundscope.statistics.paired import sign_flip_test
from groundscope.statistics.regression import r_squared
from groundscope.statistics.replicates import TwoWayWeights
from groundscope.statistics.resampling import generator, percentile_interval

STUDIES, WORDS, CONTEXTS = 2000, 60, 12
LEVEL, LOWEST, HIGHEST = 0.05, 0.03, 0.07


def gains(effect=0.0, seed=0, studies=STUDIES):
    """Gain [word, context, study]: skewed over words, as gains are; contexts differ too."""
    rng = np.random.default_rng(seed)
    words = rng.gamma(2, 1, (WORDS, 1, studies)) - rng.gamma(2, 1, (WORDS, 1, studies))
    contexts = rng.normal(0, 0.1, (1, CONTEXTS, studies))
    return (
        effect + words + contexts - contexts.mean(axis=1, keepdims=True) + rng.normal(0, 1, (WORDS, CONTEXTS, studies))
    )


TESTS = {
    "sign flips": lambda values: sign_flip_test(
        values.mean(axis=1), alternative="two-sided", draws=4000, rng=generator(0, "calibration")
    ),
    "sign flips, one-sided": lambda values: sign_flip_test(
        values.mean(axis=1), alternative="greater", draws=4000, rng=generator(0, "calibration")
    ),
    "t": lambda values: ttest_1samp(values.mean(axis=1), 0).pvalue,
}


@pytest.mark.parametrize("name", TESTS)
def test_false_positives_are_as_rare_as_stated(name):
    assert LOWEST <= np.mean(TESTS[name](gains()) < LEVEL) <= HIGHEST


def test_crossed_false_positives_are_as_rare_as_stated():
    """Contexts are a sample here: their own effect must not pass for the words'."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (WORDS, 1, STUDIES)) + rng.normal(0, 0.5, (1, CONTEXTS, STUDIES))
    values = values + rng.normal(0, 1, (WORDS, CONTEXTS, STUDIES))
    assert LOWEST <= np.mean(crossed_mean(values).p < LEVEL) <= HIGHEST
    assert np.mean(TESTS["t"](values) < LEVEL) > 2 * HIGHEST, "a test over words alone is fooled by the contexts"


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_sd", [0, 0.5, 1, 3])
def test_few_seeds_that_differ_much_or_little_are_no_more_often_fooled(seeds, seed_sd):
    """``seed_sd`` in standard errors of the mean over words."""
    rng = np.random.default_rng([seeds, int(2 * seed_sd)])
    by_seed = seed_sd * np.sqrt(seeds / WORDS) * rng.normal(size=(1, seeds, 2 * STUDIES))
    values = rng.normal(size=(WORDS, 1, 2 * STUDIES)) + by_seed + 0.7 * rng.normal(size=(WORDS, seeds, 2 * STUDIES))
    assert LOWEST <= np.mean(crossed_mean(values).p < LEVEL) <= HIGHEST


@pytest.mark.parametrize(("seed_sd", "at_least"), [(0.1, 0.93), (0.4, 0.87)])
def test_intervals_of_r_squared_over_three_seeds_hold_what_they_promise(seed_sd, at_least):
    """Slopes differ by ``seed_sd`` from seed to seed; the truth is the mean R^2 of all seeds over all words."""
    rng = np.random.default_rng(0)
    slopes = 0.7 + seed_sd * rng.normal(size=100_000)
    truth = (slopes**2 / (slopes**2 + 1)).mean()
    covered = {"interval": [], "percentiles": []}
    for _ in range(800):
        count, own = rng.normal(size=(2, 80, 1))
        noise = np.sqrt(0.75) * rng.normal(size=(3, 80, 1)) + 0.5 * own
        gains = (0.7 + seed_sd * rng.normal(size=(3, 1, 1))) * count + noise
        found = TwoWayWeights.draw(80, 3, 400, rng).replicate([r_squared(count, gain) for gain in gains])
        interval = found.interval()
        covered["interval"].append(interval.low[0] <= truth <= interval.high[0])
        low, high = percentile_interval(found.draws)
        covered["percentiles"].append(low[0] <= truth <= high[0])
    assert at_least <= np.mean(covered["interval"]) <= 0.97
    if seed_sd > 0.1:
        assert np.mean(covered["percentiles"]) < 0.86, "percentiles take the scatter of three seeds for known"


@pytest.mark.parametrize("name", TESTS)
def test_planted_effects_are_found_with_the_stated_power(name):
    """A mean gain of 0.4 of its standard deviation over 60 words: power .86 two-sided (Cohen 1988), .92 one-sided."""
    spread = gains().mean(axis=1).std(axis=0).mean()
    power = np.mean(TESTS[name](gains(effect=0.4 * spread, seed=1)) < LEVEL)
    assert power == pytest.approx(0.92 if "one-sided" in name else 0.86, abs=0.04)


def test_holm_keeps_the_family_wise_rate_over_checkpoints():
    """Of 200 studies with 20 checkpoints each, none with an effect, at most 8 % show any corrected p below .05."""
    rng = np.random.default_rng(3)
    any_found = []
    for _ in range(200):
        lasting = rng.normal(size=(WORDS, 1))
        p = ttest_1samp(0.7 * lasting + 0.7 * rng.normal(size=(WORDS, 20)), 0).pvalue
        any_found.append((holm(p) < LEVEL).any())
    assert np.mean(any_found) <= 0.08
