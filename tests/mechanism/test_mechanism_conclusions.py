"""The claims on mechanism, on made-up differences whose truth is known."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from groundscope.mechanism.causal import CONTROLS
from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_WORDS
from groundscope.mechanism.conclusions import lens_conclusions, mechanism_conclusions
from groundscope.mechanism.lens_table import LENS

WORDS = [f"w{i}" for i in range(30)]


def identity(arch, seed, step):
    return {"arch": arch, "seed": seed, "step": step, "tokens_seen": step, "weight_hash": "x"}


def complete(schema, rows):
    frame = pl.DataFrame(rows)
    return schema.conform(frame.with_columns(pl.lit(None).alias(name) for name in schema.dtypes if name not in rows[0]))


def tables(effects, *, seeds=(1, 2), noise=0.02, steps=(0, 100), count=2.0, with_heads=3, has_some=lambda word: True):
    """``effects``: role -> effect in nats at the last step, at earlier ones it is none; ``with_heads`` of 3 prompts."""
    rng = np.random.default_rng(0)
    causal, words = [], []
    for seed in seeds:
        for step in steps:
            for role, effect in effects.items():
                for control in CONTROLS:
                    who = {**identity("t", seed, step), "role": role, "control": control, "ablation": "zero"}
                    causal.append({**who, "mixers": "attention", "effect": "the logits changed"})
                    for word in WORDS:
                        here = with_heads if has_some(word) else 0
                        change = ((effect if step == steps[-1] else 0.0) + rng.normal(0, noise)) * here / 3
                        row = {"word": word, "n_prompts": 3, "n_with_heads": here, "mean_count": count * here / 3}
                        row |= {"difference_nats": change}
                        words.append({**who, **row, "gain_difference_nats": -change / 2})
    return complete(CAUSAL, causal), CAUSAL_WORDS.frame(words)


def of(table, claim):
    return table.filter(claim=claim).to_dicts()


def test_an_effect_is_found_and_so_is_its_absence():
    found = mechanism_conclusions(*tables({"aggregate": 0.4, "gather": 0.0}))
    for row in of(found, "aggregate_heads_matter"):
        assert row["holds"]
        assert row["step"] == 100
        assert row["ci_low"] < 0.4 < row["ci_high"]
        assert (row["n_seeds"], row["n_words"]) == (2, 30)
    assert all(row["estimate"] == pytest.approx(0.2, abs=0.01) for row in of(found, "aggregate_heads_carry_grounding"))
    assert all(row["holds"] for row in of(found, "gather_heads_do_not_matter"))
    assert not any(row["holds"] for row in of(found, "gather_heads_matter"))
    assert not of(found, "aggregate_heads_do_not_matter")


def test_what_is_merely_not_seen_is_not_shown_to_be_absent():
    found = mechanism_conclusions(*tables({"aggregate": 0.0, "gather": 0.0}, noise=1.5))
    assert not any(row["holds"] for row in of(found, "gather_heads_do_not_matter"))
    assert not any(row["holds"] for row in of(found, "gather_heads_matter"))


def test_gather_heads_that_are_rare_are_judged_where_they_are():
    every_third = {"w0", "w3", "w6", "w9", "w12", "w15", "w18", "w21", "w24", "w27"}
    made = tables({"aggregate": 0.4, "gather": 0.3}, with_heads=1, has_some=lambda word: word in every_third)
    assert made[1].filter(role="gather", step=100)["difference_nats"].mean() < 0.05, (
        "over all prompts it looks like none"
    )
    found = mechanism_conclusions(*made, negligible_nats=0.05)
    for row in of(found, "gather_heads_do_not_matter"):
        assert row["estimate"] == pytest.approx(0.3, abs=0.02)
        assert row["n_words"] == 10
        assert not row["holds"]
    assert all(row["holds"] for row in of(found, "gather_heads_matter"))
    for row in of(found, "aggregate_heads_matter"):  # the paper's column: over all prompts
        assert row["estimate"] == pytest.approx(0.4 / 9, abs=0.01)


def test_heads_of_a_single_word_are_too_few():
    made = tables({"aggregate": 0.4, "gather": 0.0}, with_heads=2, has_some=lambda word: word == "w3")
    for row in of(mechanism_conclusions(*made), "gather_heads_do_not_matter"):
        assert row["note"] == "4 of 180 prompts have gather heads, of too few words to be tested"
        assert row["holds"] is row["estimate"] is None


def test_a_single_seed_is_tested_over_words():
    causal, words = tables({"aggregate": 0.1, "gather": 0.01}, seeds=(7,))
    (row, _) = of(mechanism_conclusions(causal, words, negligible_nats=0.05), "gather_heads_do_not_matter")
    values = words.filter(role="gather", control="random", step=100)["difference_nats"].to_numpy()
    expected = max(
        ttest_1samp(values, 0.05, alternative="less").pvalue, ttest_1samp(values, -0.05, alternative="greater").pvalue
    )
    assert row["p"] == pytest.approx(expected, rel=1e-9)
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))


def test_models_without_heads_say_so():
    causal, words = tables({"aggregate": 0.0, "gather": 0.0}, count=0.0)
    causal = causal.with_columns(pl.lit("no heads: an LSTM has no mixing matrices").alias("effect"))
    found = mechanism_conclusions(causal, words.clear())
    assert set(found["note"]) == {"no heads: an LSTM has no mixing matrices"}
    assert found["estimate"].is_null().all()
    assert found["holds"].is_null().all()


def lens(added, seeds=(1, 2)):
    """``added``: nats that each layer adds to G."""
    rng = np.random.default_rng(1)
    rows = []
    for seed in seeds:
        for word in WORDS:
            gain = np.concatenate([[0.0], np.cumsum(np.array(added) + rng.normal(0, 0.02, len(added)))])
            for layer, value in enumerate(gain):
                who = {**identity("t", seed, 100), "lens": "tuned", "layer": layer, "word": word, "n_prompts": 2}
                rows.append({**who, "condition": "match", "surprisal_nats": 7 - value})
                rows.append({**who, "condition": "mismatch", "surprisal_nats": 7.0})
    return LENS.frame(rows)


@pytest.mark.parametrize(
    ("added", "holds", "largest"), [((0.1, 0.6, 0.5, 0.1), True, 1), ((0.9, 0.1, 0.1, 0.2), False, 0)]
)
def test_where_the_gain_arises(added, holds, largest):
    found = lens_conclusions(lens(added))
    (row,) = of(found, "middle_layers_add_most")
    assert row["holds"] is holds
    assert row["estimate"] == pytest.approx(np.mean(added[1:3]) - np.mean([added[0], added[3]]), abs=0.02)
    assert of(found, "largest_step")[0]["estimate"] == largest


def test_two_layers_have_no_middle():
    (row,) = of(lens_conclusions(lens((0.1, 0.2))), "middle_layers_add_most")
    assert row["holds"] is None
    assert "no middle" in row["note"]


def test_one_word_is_not_tested():
    of_one = lens((0.1, 0.6, 0.5, 0.1)).filter(word=WORDS[0])
    (row,) = of(lens_conclusions(of_one), "middle_layers_add_most")
    assert row["estimate"] is None
    assert row["holds"] is None
    assert row["note"] == "one word is too few to be tested"
