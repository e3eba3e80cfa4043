import itertools

import numpy as np
import pytest
from scipy import stats

from groundscope.statistics.corrections import benjamini_hochberg, holm, holm_within
from groundscope.statistics.paired import cohens_dz, sign_flip_test, t_interval
from groundscope.statistics.regression import mean, partial_r_squared, r_squared, slope
from groundscope.statistics.resampling import bootstrap, equal_weights, generator, resample_weights


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_generator_is_a_function_of_seed_and_purpose():
    assert generator(1, "a").random() == generator(1, "a").random()
    assert generator(1, "a").random() != generator(1, "b").random()
    assert generator(1, "a").random() != generator(2, "a").random()


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_sign_flip_is_exact_for_few_words(rng, alternative):
    values = rng.normal(0.4, 1, size=7)
    p = sign_flip_test(values[:, None], alternative=alternative, draws=10, rng=rng)[0]
    means = [np.mean(np.array(signs) * values) for signs in itertools.product([1, -1], repeat=7)]
    observed = values.mean()
    hits = {
        "greater": [m >= observed - 1e-12 for m in means],
        "less": [m <= observed + 1e-12 for m in means],
        "two-sided": [abs(m) >= abs(observed) - 1e-12 for m in means],
    }[alternative]
    assert p == pytest.approx(np.mean(hits))


def test_sampled_sign_flips_agree_with_scipy(rng):
    values = rng.normal(0.15, 1, size=(60, 3))
    ours = sign_flip_test(values, alternative="greater", draws=20_000, rng=rng)
    for column in range(3):
        theirs = stats.permutation_test(
            (values[:, column],), np.mean, permutation_type="samples", alternative="greater",
            n_resamples=20_000, rng=np.random.default_rng(1),
        ).pvalue  # fmt: skip
        assert ours[column] == pytest.approx(theirs, abs=0.012)
    assert ours.min() >= 1 / 20_000


@pytest.mark.parametrize("size", [5, 60])
@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_a_difference_that_is_no_number_is_refused_and_not_significant(rng, size, unknown):
    values = rng.normal(size=(size, 2))
    values[1, 1] = unknown
    with pytest.raises(ValueError, match="nan or infinite"):
        sign_flip_test(values, alternative="two-sided", draws=100, rng=rng)


def test_interval_and_effect_size_agree_with_scipy(rng):
    values = rng.normal(0.3, 2, size=(30, 2))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    np.testing.assert_allclose(t_interval(values, 0.9), expected)
    np.testing.assert_allclose(t_interval(values[:, 0], 0.9), [end[0] for end in expected])
    np.testing.assert_allclose(cohens_dz(values), values.mean(0) / values.std(0, ddof=1))
    assert np.isnan(cohens_dz(np.ones((5, 1)))).all()


def test_one_observation_has_neither_interval_nor_effect_size():
    assert np.isnan([*t_interval(np.ones((1, 2))), cohens_dz(np.ones((1, 2)))]).all()


def test_corrections_agree_with_published_definitions(rng):
    p = rng.uniform(size=20) ** 2
    ordered = np.sort(p)
    expected = [min(1, max((20 - j) * ordered[j] for j in range(i + 1))) for i in range(20)]
    np.testing.assert_allclose(np.sort(holm(p)), expected)
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_holm_within_corrects_each_family_alone() -> None:
    p = np.array([0.01, 0.02, np.nan, 0.03])
    found = holm_within(p, np.array(["a", "b", "a", "b"], dtype=object))
    np.testing.assert_allclose(found, [0.01, 0.04, np.nan, 0.04])


def test_corrections_do_not_count_tests_that_were_not_done():
    p = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(holm(p), [0.02, np.nan, 0.04])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, np.nan, 0.04])
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_regression_statistics_agree_with_least_squares(rng):
    x, z = rng.normal(size=(2, 50))
    y = 0.5 * x + 0.8 * z + rng.normal(size=50)
    fit = stats.linregress(x, y)
    whole = equal_weights(50)
    assert r_squared(x[:, None], y[:, None])(whole)[0, 0] == pytest.approx(fit.rvalue**2)
    assert slope(x[:, None], y[:, None])(whole)[0, 0] == pytest.approx(fit.slope)

    def unexplained(*regressors):
        design = np.column_stack([np.ones(50), *regressors])
        return np.sum((y - design @ np.linalg.lstsq(design, y)[0]) ** 2)

    expected = 1 - unexplained(x, z) / unexplained(z)
    found = partial_r_squared(x[:, None], y[:, None], z[:, None])(whole)[0, 0]
    assert found == pytest.approx(expected)


def test_weights_are_resampling(rng):
    x, y = rng.normal(size=(2, 12, 1))
    weights = resample_weights(12, 5, rng)
    for row, found in zip(weights, r_squared(x, y)(weights)[:, 0], strict=True):
        drawn = np.repeat(np.arange(12), np.rint(row * 12).astype(int))
        assert found == pytest.approx(stats.linregress(x[drawn, 0], y[drawn, 0]).rvalue ** 2)


def test_r_squared_is_undefined_without_variation():
    fit = bootstrap(r_squared(np.ones((9, 1)), np.arange(9.0)[:, None]), 9, draws=50, rng=generator(0, "t"))
    assert np.isnan(fit.estimate).all()
    assert np.isnan(fit.low).all()


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_intervals_agree_with_scipy(rng, method):
    sample = rng.exponential(size=(40, 1))
    ours = bootstrap(mean(sample), 40, draws=20_000, rng=rng, method=method)
    theirs = stats.bootstrap(
        (sample[:, 0],), np.mean, method=method, n_resamples=20_000, rng=np.random.default_rng(3)
    ).confidence_interval
    assert ours.estimate[0] == pytest.approx(sample.mean())
    assert ours.low[0] == pytest.approx(theirs.low, abs=0.015)
    assert ours.high[0] == pytest.approx(theirs.high, abs=0.015)


def test_bca_stands_in_with_percentiles_where_nothing_varies():
    same = bootstrap(mean(np.full((8, 1), 2.0)), 8, draws=100, rng=generator(0, "t"))
    assert same.estimate == same.low == same.high == 2


def test_intervals_cover_as_often_as_they_say(rng):
    covered = 0
    for _ in range(200):
        sample = rng.normal(1, 1, size=(50, 1))
        found = bootstrap(mean(sample), 50, draws=300, rng=rng, level=0.9)
        covered += bool(found.low[0] <= 1 <= found.high[0])
    assert 0.85 <= covered / 200 <= 0.94
