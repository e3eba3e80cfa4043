import numpy as np
import polars as pl
import pytest
from scipy import stats

from groundscope.behaviour.contrasts import CONTRASTS, contrasts
from groundscope.behaviour.measure import GAIN


def gains(arch, of_words, seeds=(1, 2, 3), spread=0.2, steps=(0, 100), rng=None):
    """Table ``gain``: nothing at first, the words' own gains and some noise at the end."""
    rng = rng or np.random.default_rng(0)
    n = len(of_words)
    frames = [
        pl.DataFrame(
            {
                "arch": arch, "seed": seed, "step": step, "tokens_seen": step, "weight_hash": "x",
                "direction": "env2lan", "word": [f"w{at:02}" for at in range(n)], "kind": "noun", "category": "toys",
                "n_contexts": 9, "n_mismatches": n - 1, "match_nats": 6 - gain, "mismatch_nats": 6.0,
                "gain_nats": gain, "p_scene": 0.5, "cooccurring_chunks": 1, "counted_gain_nats": 0.0, "seen_env": 1,
                "seen_lan": 1,
            }
        )
        for seed in seeds
        for step in steps
        for gain in [(of_words if step else 0) + spread * rng.normal(size=n)]
    ]  # fmt: skip
    return GAIN.conform(pl.concat(frames))


def test_a_difference_is_found_although_intervals_overlap():
    """Words differ by far more than models do, and alike in both."""
    rng = np.random.default_rng(1)
    words = rng.normal(1, 1, 40)
    table = contrasts(pl.concat([gains("a", words, rng=rng), gains("b", words + 0.3, rng=rng)]))
    assert CONTRASTS.conform(table).equals(table)
    row = table.row(0, named=True)
    assert (row["arch"], row["other"], row["n_words"], row["n_seeds"], row["step"]) == ("a", "b", 40, 3, 100)
    assert row["difference_high"] < 0
    assert row["p_holm"] < 0.01
    alone = [stats.ttest_1samp(values, 0).confidence_interval() for values in (words, words + 0.3)]
    assert alone[0].high > alone[1].low


def test_one_seed_is_a_paired_test_over_words():
    rng = np.random.default_rng(2)
    parts = [gains(arch, rng.normal(1, 1, 30), seeds=(7,), rng=rng) for arch in "ab"]
    row = contrasts(pl.concat(parts)).row(0, named=True)
    one, other = (part.filter(step=100)["gain_nats"].to_numpy() for part in parts)
    expected = stats.ttest_rel(one, other)
    assert row["difference_nats"] == pytest.approx((one - other).mean())
    low, high = expected.confidence_interval()
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high))
    assert row["p"] == pytest.approx(expected.pvalue, abs=0.02)


def test_only_common_seeds_and_words_are_compared():
    words = np.ones(20)
    one, other = gains("a", words, seeds=(1, 2, 3)), gains("b", words, seeds=(2, 3, 4))
    row = contrasts(pl.concat([one, other.filter(pl.col("word") != "w00")])).row(0, named=True)
    assert (row["n_seeds"], row["n_words"]) == (2, 19)
    assert contrasts(pl.concat([one, gains("b", words, seeds=(9,))])).is_empty()
    assert contrasts(one).is_empty()
    assert contrasts(GAIN.frame([])).is_empty()


def test_each_direction_is_a_family_of_its_own():
    rng = np.random.default_rng(3)
    forward = pl.concat([gains(arch, rng.normal(1, 1, 30), rng=rng) for arch in "abc"])
    both = contrasts(pl.concat([forward, forward.with_columns(direction=pl.lit("lan2env"))]))
    assert both.height == 6
    assert both.filter(direction="env2lan").equals(contrasts(forward))
