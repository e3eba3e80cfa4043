import numpy as np
import polars as pl
import pytest
from scipy import stats

from groundscope.behaviour.cooccurrence import Seen
from groundscope.behaviour.evidence import EVIDENCE, Course, evidence
from groundscope.behaviour.measure import GAIN, SURPRISAL, measure
from groundscope.behaviour.options import BehaviourOptions
from groundscope.errors import TableError

IDENTITY = {"arch": "tiny", "seed": 1, "step": 100, "tokens_seen": 12800, "weight_hash": "abc"}


@pytest.fixture(scope="module")
def seen(nouns):
    return seen_of(len(nouns))


def seen_of(n):
    per_word = [np.arange(n) * factor for factor in (1, 5, 9, 4, 6)]
    return Seen(*per_word[:3], np.diag(per_word[0]), *per_word[3:])


def test_tables_of_one_checkpoint(any_model, vocabulary, nouns, contexts, seen):
    found = measure(any_model, vocabulary, nouns, contexts, seen, BehaviourOptions(), IDENTITY)
    assert SURPRISAL.conform(found.surprisal).equals(found.surprisal)
    assert GAIN.conform(found.gain).equals(found.gain)
    assert found.surprisal.height == 2 * len(nouns) * len(contexts.shared) * 2
    assert found.gain.height == 2 * len(nouns)
    assert not found.gain.null_count().sum_horizontal().item()
    assert found.gain.select(pl.col("gain_nats") == pl.col("mismatch_nats") - pl.col("match_nats"))["gain_nats"].all()

    means = (
        found.surprisal.group_by("direction", "word", "condition")
        .agg(pl.col("surprisal_nats").mean())
        .pivot("condition", index=["direction", "word"], values="surprisal_nats")
    )
    joined = found.gain.join(means, on=["direction", "word"])
    np.testing.assert_allclose(joined["match"], joined["match_nats"])
    np.testing.assert_allclose(joined["mismatch"], joined["mismatch_nats"])


def test_an_untrained_model_gains_nothing(model, vocabulary, nouns, contexts, seen):
    gain = measure(model, vocabulary, nouns, contexts, seen, BehaviourOptions(), IDENTITY).gain
    assert gain["gain_nats"].abs().max() < 0.05


def test_the_same_input_gives_the_same_bytes(model, vocabulary, nouns, contexts, seen):
    options = BehaviourOptions(mismatch="sample", mismatches=3)
    first, second = (measure(model, vocabulary, nouns, contexts, seen, options, IDENTITY) for _ in range(2))
    assert first.gain.equals(second.gain)
    other = measure(model, vocabulary, nouns, contexts, seen, options.model_copy(update={"seed": 1}), IDENTITY)
    assert not first.gain.equals(other.gain)


def test_a_word_alone_in_its_category_has_no_gain(model, vocabulary, nouns, contexts, seen):
    options = BehaviourOptions(mismatch="same_category")
    gain = measure(model, vocabulary, nouns, contexts, seen, options, IDENTITY).gain.filter(direction="env2lan")
    without = gain.filter(pl.col("gain_nats").is_null())["word"].to_list()
    assert without == []
    animals = measure(model, vocabulary, nouns[:3], contexts, seen_of(3), options, IDENTITY).gain.filter(
        direction="env2lan"
    )
    assert animals.filter(pl.col("gain_nats").is_null())["word"].to_list() == ["ball"]
    assert animals["n_mismatches"].to_list() == [1, 1, 0]


def fake_gain(steps=(0, 10, 20), n_words=30, seeds=(1, 2)):
    rng = np.random.default_rng(0)
    frequency = rng.integers(100, 5000, n_words)
    frames = []
    for seed in seeds:
        for at, step in enumerate(steps):
            chunks = rng.binomial(frequency, 0.1) * at
            gain = 0.8 * at + 0.3 * np.log1p(chunks) + rng.normal(0, 0.5, n_words)
            frames.append(
                pl.DataFrame(
                    {
                        "arch": "tiny", "seed": seed, "step": step, "tokens_seen": step * 100, "weight_hash": str(step),
                        "direction": "env2lan", "word": [f"w{i:02}" for i in range(n_words)], "kind": "noun",
                        "category": "x", "n_contexts": 9, "n_mismatches": 9, "match_nats": 5 - gain,
                        "mismatch_nats": np.full(n_words, 5.0), "gain_nats": gain,
                        "p_scene": 0.5, "cooccurring_chunks": chunks,
                        "counted_gain_nats": np.log1p(chunks) / 2,
                        "seen_env": frequency * at, "seen_lan": frequency * at * 2,
                    }
                )
            )  # fmt: skip
    return GAIN.conform(pl.concat(frames))


def test_evidence_agrees_with_plain_statistics():
    gain = fake_gain()
    found = evidence(gain, resamples=500)
    assert EVIDENCE.conform(found).equals(found)
    assert found.height == 6
    for row in found.iter_rows(named=True):
        rows = gain.filter(seed=row["seed"], step=row["step"])
        values, chunks = rows["gain_nats"].to_numpy(), rows["cooccurring_chunks"].to_numpy()
        assert row["gain_nats"] == pytest.approx(values.mean())
        assert row["effect_size"] == pytest.approx(values.mean() / values.std(ddof=1))
        assert row["gain_low"] < row["gain_nats"] < row["gain_high"]
        half_width = stats.sem(values) * stats.t.ppf(0.975, 29)
        assert row["gain_high"] - row["gain_low"] == pytest.approx(2 * half_width, rel=0.2)
        if row["step"] == 0:
            assert row["r2_log"] is None
            assert row["p"] > 0.05
            continue
        assert row["r2_log"] == pytest.approx(stats.linregress(np.log1p(chunks), values).rvalue ** 2)
        assert row["r2_counted"] == pytest.approx(row["r2_log"]), "the planted counted gain is linear in the log count"
        assert row["counted_gain_nats"] == pytest.approx(np.log1p(chunks).mean() / 2)
        assert row["r2_raw"] == pytest.approx(stats.linregress(chunks, values).rvalue ** 2)
        assert row["slope_log"] == pytest.approx(stats.linregress(np.log1p(chunks), values).slope)
        assert row["r2_log_low"] <= row["r2_log"] <= row["r2_log_high"]
        assert row["p_holm"] < 0.001


def test_evidence_is_corrected_within_a_model_and_seed():
    found = evidence(fake_gain(), resamples=200)
    for _, course in found.group_by("seed"):
        p = course.sort("p")["p"].to_numpy()
        expected = np.minimum(1, np.maximum.accumulate(p * (3 - np.arange(3))))
        np.testing.assert_allclose(course.sort("p")["p_holm"], expected)


def test_evidence_does_not_depend_on_what_else_is_in_the_table():
    gain = fake_gain()
    whole, part = evidence(gain, resamples=200), evidence(gain.filter(seed=2), resamples=200)
    assert whole.filter(seed=2).equals(part)
    assert (
        evidence(gain.sample(fraction=1, shuffle=True, seed=1), resamples=200)
        .sort("seed", "step")
        .equals(whole.sort("seed", "step"))
    )


def test_evidence_of_nothing_is_an_empty_table():
    assert evidence(GAIN.frame([])).is_empty()


def test_a_missing_word_is_noticed():
    with pytest.raises(TableError, match="89 rows for 30 words at 3 checkpoints"):
        Course.of(fake_gain(seeds=(1,)).head(89))
