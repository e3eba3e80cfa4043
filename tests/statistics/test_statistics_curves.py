import numpy as np
import pytest
from scipy import stats

from groundscope.statistics.average import average
from groundscope.statistics.crossed import crossed_mean
from groundscope.statistics.emergence import emergence, lasting_from
from groundscope.statistics.regression import adjusted_r_squared, mean, r_squared
from groundscope.statistics.replicates import TwoWayWeights
from groundscope.statistics.resampling import generator
from groundscope.statistics.rise_fall import rise_then_fall


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def crossed_table(rng, rows=12, columns=8, mean=1.0):
    effects = rng.normal(0, 1, (rows, 1)) + rng.normal(0, 0.7, (1, columns))
    return mean + effects + rng.normal(0, 0.8, (rows, columns))


def test_crossed_equals_a_mixed_model(rng):
    """The closed form is the restricted-likelihood fit: same mean, same error, same three variances."""
    regression = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    pandas = pytest.importorskip("pandas")
    values = crossed_table(rng)
    found = crossed_mean(values)
    word, context = np.meshgrid(np.arange(12), np.arange(8), indexing="ij")
    frame = pandas.DataFrame({"d": values.ravel(), "word": word.ravel(), "context": context.ravel(), "all": 1})
    fit = regression.MixedLM.from_formula(
        "d ~ 1", frame, groups="all", re_formula="0", vc_formula={"context": "0 + C(context)", "word": "0 + C(word)"}
    ).fit(reml=True)
    assert fit.fe_params.iloc[0] == pytest.approx(found.mean)
    variance = found.row_sd**2 / 12 + found.column_sd**2 / 8 + found.residual_sd**2 / 96
    assert fit.bse_fe.iloc[0] == pytest.approx(np.sqrt(variance), rel=1e-3)
    assert np.sqrt(fit.vcomp) == pytest.approx([float(found.column_sd), float(found.row_sd)], rel=1e-2)
    assert np.sqrt(fit.scale) == pytest.approx(found.residual_sd, rel=1e-3)


def test_crossed_is_a_t_test_when_contexts_do_not_differ(rng):
    by_word = rng.normal(0.5, 1, 20)
    found = crossed_mean(np.repeat(by_word[:, None], 4, axis=1))
    expected = stats.ttest_1samp(by_word, 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.degrees == pytest.approx(19)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_crossed_works_column_by_column(rng):
    tables = np.stack([crossed_table(rng) for _ in range(3)], axis=-1)
    together = crossed_mean(tables)
    for at in range(3):
        assert together.p[at] == pytest.approx(crossed_mean(tables[..., at]).p)


def test_two_way_weights(rng):
    weights = TwoWayWeights.draw(10, 3, 4000, rng)
    np.testing.assert_allclose(weights.words.sum(axis=1), 1)
    np.testing.assert_allclose(weights.seeds.sum(axis=1), 1)
    seeds = rng.normal(size=3)
    spread = (weights.seeds @ seeds).std()
    assert spread == pytest.approx(seeds.std(ddof=1) / np.sqrt(3), rel=0.05), "unbiased for few seeds"
    assert (TwoWayWeights.draw(10, 1, 5, rng).seeds == 1).all()


def test_replicates_average_over_seeds(rng):
    gains = rng.normal(size=(3, 20, 4))
    weights = TwoWayWeights.draw(20, 3, 50, rng)
    found = weights.replicate([mean(gain) for gain in gains])
    np.testing.assert_allclose(found.estimate, gains.mean(axis=(0, 1)))
    alone = TwoWayWeights(weights.words, np.ones((50, 1))).replicate([mean(gains[0])])
    np.testing.assert_allclose(alone.draws, weights.words @ gains[0])


def test_what_seeds_add_is_counted_once(rng):
    """The spread of resamples is the standard error of the mixed model, whether or not seeds differ as such."""
    for seed_sd in (0.0, 1.0):
        words, seeds = rng.normal(size=(1, 200, 1)), seed_sd * rng.normal(size=(8, 1, 1))
        gains = words + seeds + 3 * rng.normal(size=(8, 200, 1))
        found = TwoWayWeights.draw(200, 8, 4000, rng).replicate([mean(gain) for gain in gains])
        fit = crossed_mean(gains[..., 0].T)
        error = np.sqrt(fit.row_sd**2 / 200 + fit.column_sd**2 / 8 + fit.residual_sd**2 / 1600)
        assert found.draws.std() == pytest.approx(error, rel=0.1)


def test_few_seeds_that_scatter_make_a_deviate_of_students_t(rng):
    """Where words are alike and three seeds are not, three standard errors are as rare as of t with two degrees."""
    gains = np.array([2.0, 3.0, 4.0])[:, None, None] + np.zeros((3, 400, 1)) + 1e-3 * rng.normal(size=(3, 400, 1))
    found = TwoWayWeights.draw(400, 3, 20_000, rng).replicate([mean(gain) for gain in gains])
    ratio = float(found.estimate[0] / found.draws.std())
    assert ratio == pytest.approx(3 * np.sqrt(3), rel=0.02)
    assert found.as_normal()[0] == pytest.approx(stats.norm.isf(stats.t.sf(ratio, 2)), rel=1e-3)
    alone = TwoWayWeights.draw(400, 1, 20_000, rng).replicate([mean(rng.normal(0.1, 1, (400, 1)))])
    assert alone.as_normal()[0] == pytest.approx(float(alone.estimate[0] / alone.draws.std()), rel=0.01)


@pytest.mark.parametrize(
    ("lower", "expected"),
    [([-1, 1, -1, 2, 3], 3), ([1, 1, 1], 0), ([-1, -1], 2), ([1, 1, -1], 3), ([np.nan, 1, 1], 1)],
)
def test_lasting_from(lower, expected):
    assert lasting_from(np.array(lower, dtype=float)) == expected


def emerged(gain, draws=400):
    """Gain [seed, word, step] to its emergence."""
    weights = TwoWayWeights.draw(gain.shape[1], len(gain), draws, generator(0, "t"))
    return emergence(weights.replicate([mean(one) for one in gain]), average(gain.swapaxes(0, 1)).low)


def test_emergence_is_found_where_it_was_planted(rng):
    steps = np.arange(20)
    planted = np.maximum(steps - 8, 0) * 0.25
    gain = planted + rng.normal(0, 0.6, (3, 80, 20))
    found = emerged(gain)
    assert found.low <= found.position <= found.high
    assert 8 <= found.low <= found.high <= 11


def test_nothing_emerges_from_noise(rng):
    found = emerged(rng.normal(0, 1, (2, 50, 12)))
    assert found.position >= 11
    assert found.high == 12


def test_a_gain_from_the_start_emerges_at_the_start(rng):
    found = emerged(2 + rng.normal(0, 0.1, (1, 30, 5)))
    assert (found.position, found.low, found.high) == (0, 0, 0)


STEPS = np.linspace(0, 1, 15)
GROWING = 2 * STEPS
RISE_AND_FALL = np.where(STEPS < 0.3, STEPS / 0.3 * 0.4, 0.4 - (STEPS - 0.3) / 0.7 * 0.3)


def simulated(rng, explained, growth, n_words=100, n_seeds=1):
    """Gains of which ``explained`` is the share due to the count at each step; words keep their oddities over steps."""
    count = rng.normal(size=n_words)
    lasting = rng.normal(size=(1, n_words, 1))
    passing = rng.normal(size=(n_seeds, n_words, len(explained)))
    noise = np.sqrt(0.7) * lasting + np.sqrt(0.3) * passing
    return count, np.sqrt(explained) * count[:, None] + np.sqrt(1 - explained) * noise + growth


def judged(rng, explained, growth, **sizes):
    count, gains = simulated(rng, explained, growth, **sizes)
    weights = TwoWayWeights.draw(len(count), len(gains), 400, rng)
    repeated = np.repeat(count[:, None], len(explained), axis=1)
    curve = weights.replicate([adjusted_r_squared(repeated, gain) for gain in gains])
    return rise_then_fall(curve, weights.replicate([mean(gain) for gain in gains]))


def test_a_planted_rise_and_fall_is_found():
    """Stated power: at least 90 % for R^2 from 0 to .4 to .1 over 100 words of one seed."""
    found = [judged(np.random.default_rng([1, i]), RISE_AND_FALL, GROWING) for i in range(60)]
    assert np.mean([result.p < 0.05 for result in found]) >= 0.9
    assert all(abs(result.peak - 4) <= 3 for result in found)
    one = found[0]
    assert one.rise.low > 0
    assert one.fall.low > 0
    assert one.growth.low > 0


@pytest.mark.parametrize(
    ("explained", "growth"),
    [
        (np.minimum(0.35, STEPS), GROWING),  # rises and stays, like the recurrent control
        (np.full(15, 0.2), GROWING),
        (np.zeros(15), GROWING),
        (0.45 * (1 - STEPS), GROWING),  # only falls
        (RISE_AND_FALL, np.zeros(15)),  # nothing grows
    ],
)
def test_what_does_not_rise_and_fall_is_rarely_said_to(explained, growth):
    found = [judged(np.random.default_rng([2, i]), explained, growth).p < 0.05 for i in range(80)]
    assert np.mean(found) <= 0.1  # 3 % in four hundred such studies that only rise


def test_too_few_checkpoints_decide_nothing(rng):
    assert np.isnan(judged(rng, np.array([0.1, 0.3]), np.zeros(2)).p)


def test_checkpoints_without_counts_are_left_out(rng):
    gain = rng.normal(size=(40, 6)) + np.arange(6)
    count = np.repeat(rng.normal(size=(40, 1)), 6, axis=1)
    count[:, 0] = 0
    weights = TwoWayWeights.draw(40, 1, 100, generator(0, "t"))
    result = rise_then_fall(weights.replicate([r_squared(count, gain)]), weights.replicate([mean(gain)]))
    assert 2 <= result.peak <= 4
    assert 0 < result.p <= 1
