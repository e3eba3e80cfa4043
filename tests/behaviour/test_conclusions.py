import numpy as np
import polars as pl
import pytest
from scipy import stats

from groundscope.behaviour.acquisition import (
    ACQUISITION,
    WORD_EMERGENCE,
    acquisition,
    read_acquisition,
    word_emergence,
)
from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.dose import DOSE, dose
from groundscope.behaviour.dose_tests import DOSE_CONCLUSIONS, FALLS, LEFT, SPECIFIC, dose_conclusions
from groundscope.behaviour.generalisation import (
    CATEGORIES,
    CROSSED,
    KINDS,
    REPLICATION,
    by_category,
    by_kind,
    crossed_evidence,
    replication,
)
from groundscope.behaviour.measure import GAIN, SURPRISAL
from groundscope.corpus.ablation import Ablation
from groundscope.corpus.arms import Arm
from groundscope.errors import TableError

STEPS = np.array([0, 20, 40, 80, 120, 160, 200, 300, 400, 500, 600, 800])
WORDS = [f"w{at:02}" for at in range(60)]
RISE_AND_FALL = np.array([0, 0.1, 0.35, 0.5, 0.5, 0.4, 0.3, 0.2, 0.12, 0.1, 0.08, 0.06])
RISE = np.linspace(0, 0.5, 12)


def gain_table(explained, growth, seeds=(1, 2, 3), arch="transformer", noise=0.5, rng=None):
    """A planted study: ``explained`` is the share of G that the log count explains, ``growth`` the mean of G."""
    rng = rng or np.random.default_rng(0)
    oddity = rng.normal(size=len(WORDS))
    rate = rng.uniform(0.02, 1, len(WORDS))
    frames = []
    for seed in seeds:
        for at, step in enumerate(STEPS):
            chunks = np.rint(rate * step * 3).astype(int)
            relation = stats.zscore(np.log1p(chunks)) if step else np.zeros(len(WORDS))
            rest = np.sqrt(0.7) * oddity + np.sqrt(0.3) * rng.normal(size=len(WORDS))
            gain = growth[at] + noise * (np.sqrt(explained[at]) * relation + np.sqrt(1 - explained[at]) * rest)
            frames.append(
                pl.DataFrame(
                    {
                        "arch": arch, "seed": seed, "step": step, "tokens_seen": step * 100, "weight_hash": "x",
                        "direction": "env2lan", "word": WORDS, "kind": "noun", "category": "toys", "n_contexts": 9,
                        "n_mismatches": 59, "match_nats": 6 - gain, "mismatch_nats": 6.0, "gain_nats": gain,
                        "p_scene": 0.01,
                        "cooccurring_chunks": chunks, "counted_gain_nats": np.log1p(chunks) / 3,
                        "seen_env": chunks * 2, "seen_lan": np.rint(rate * step * 50).astype(int),
                    }
                )
            )  # fmt: skip
    return GAIN.conform(pl.concat(frames))


def surprisal_table(onset, n_contexts=8, seeds=(1, 2), noise=0.3):
    """Each word's gain jumps from zero to two nats at its own checkpoint, in every context."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in seeds:
        for word, begins in zip(WORDS, onset, strict=False):
            for at, step in enumerate(STEPS):
                for context in range(n_contexts):
                    gain = 2.0 * (at >= begins) + noise * rng.normal()
                    who = {
                        "arch": "transformer", "seed": seed, "step": step, "tokens_seen": step * 100,
                        "weight_hash": "x", "direction": "env2lan", "context": f"c{context}", "word": word,
                        "kind": "noun",
                    }  # fmt: skip
                    rows.append({**who, "condition": "match", "surprisal_nats": 6 - gain})
                    rows.append({**who, "condition": "mismatch", "surprisal_nats": 6.0})
    return SURPRISAL.frame(rows)


def claim(table, name, arch="transformer"):
    return table.row(by_predicate=(pl.col("claim") == name) & (pl.col("arch") == arch), named=True)


@pytest.fixture(scope="module")
def concluded():
    growth = np.linspace(0, 2.5, 12)
    gain = pl.concat([gain_table(RISE_AND_FALL, growth), gain_table(RISE, growth / 3, arch="lstm")])
    return conclusions(gain, resamples=400)


def test_the_planted_story_is_told(concluded):
    assert CONCLUSIONS.conform(concluded).equals(concluded)
    assert concluded.height == 2 * 7
    story = claim(concluded, "rises_then_falls_while_gain_grows")
    assert story["holds"] is True
    assert story["step"] in (40, 80, 120, 160)
    assert story["p_holm"] >= story["p"]
    assert claim(concluded, "r2_fall")["ci_low"] > 0
    assert claim(concluded, "gain_growth")["ci_low"] > 0
    peak = claim(concluded, "r2_peak_step")
    assert peak["ci_low"] <= peak["estimate"] <= peak["ci_high"] <= 200
    assert claim(concluded, "r2_peak_step", "lstm")["ci_high"] == 800
    assert claim(concluded, "r2_rise")["holds"] is None, "a description decides nothing"


def test_a_curve_that_only_rises_is_not_said_to_fall(concluded):
    assert claim(concluded, "rises_then_falls_while_gain_grows", "lstm")["holds"] is False


def test_final_gain_and_emergence(concluded):
    final = claim(concluded, "final_gain")
    assert final["estimate"] == pytest.approx(2.5, abs=0.2)
    assert final["ci_low"] < 2.5 < final["ci_high"]
    assert (final["step"], final["n_seeds"], final["n_words"], final["holds"]) == (800, 3, 60, True)
    begins = claim(concluded, "emergence_step")
    assert begins["ci_low"] <= begins["estimate"] <= begins["ci_high"]
    assert begins["estimate"] in (20, 40, 80)


def test_what_never_emerges_has_no_step():
    table = conclusions(gain_table(np.zeros(12), np.zeros(12)), resamples=200)
    assert claim(table, "emergence_step")["estimate"] is None
    assert claim(table, "final_gain")["holds"] is False
    assert claim(table, "rises_then_falls_while_gain_grows")["holds"] is False


def test_a_negative_gain_is_no_grounding():
    table = conclusions(gain_table(np.zeros(12), np.full(12, -2.0), seeds=(1,)), resamples=200)
    final = claim(table, "final_gain")
    assert final["p"] < 0.001
    assert final["holds"] is False


def test_conclusions_do_not_depend_on_the_order_of_rows():
    gain = gain_table(RISE_AND_FALL, np.linspace(0, 2, 12), seeds=(1, 2))
    expected = conclusions(gain, resamples=200)
    assert conclusions(gain.sample(fraction=1, shuffle=True, seed=3), resamples=200).equals(expected)
    assert conclusions(GAIN.frame([])).is_empty()


def test_seeds_are_compared_at_the_steps_they_share():
    gain = gain_table(RISE_AND_FALL, np.linspace(0, 2, 12), seeds=(1, 2))
    cut = gain.filter((pl.col("seed") == 1) | (pl.col("step") < 500))
    assert replication(cut, resamples=100)["step"].max() == 400
    with pytest.raises(TableError, match="different words"):
        replication(gain.filter((pl.col("seed") == 1) | (pl.col("word") != "w00")), resamples=100)


def test_replication_is_wider_than_one_seed_and_equals_the_means():
    gain = gain_table(RISE_AND_FALL, np.linspace(0, 2, 12))
    table = replication(gain, resamples=400)
    assert REPLICATION.conform(table).equals(table)
    means = gain.group_by("step").agg(pl.col("gain_nats").mean()).sort("step")["gain_nats"]
    np.testing.assert_allclose(table["gain_nats"], means)
    assert table["r2_log"][0] is None
    assert (table["gain_low"] <= table["gain_nats"]).all()
    assert table.filter(step=800)["p"].item() < 0.001
    one = replication(gain.filter(seed=1), resamples=400)
    of_words = gain.filter(seed=1, step=200)["gain_nats"]
    low, high = stats.ttest_1samp(of_words, 0).confidence_interval()
    assert one.filter(step=200).select("gain_low", "gain_high").row(0) == pytest.approx((low, high))
    assert one.filter(step=800)["p"].item() < 0.001, "sign flips over words"


def dose_record(arm, share):
    removed = 0 if arm is Arm.SEPARATED else int(share * 300)
    left = 300 - int(share * 300) * arm.takes_cooccurrence
    return Ablation(
        arm=arm,
        share=share,
        seed=0,
        words=("w",),
        chunks=1000,
        cooccurring=300,
        removed=removed,
        cooccurring_left=left,
        source="x",
    )


def test_a_dose_is_replication_per_ablated_corpus():
    gains = {0.0: 2.0, 1.0: 0.8}
    parts = []
    for arm in Arm:
        for share, end in gains.items():
            growth = np.linspace(0, end if arm is Arm.COOCCURRING else 2.0, 12)
            parts.append((dose_record(arm, share), gain_table(RISE, growth)))
    table = dose(parts, resamples=200)
    assert DOSE.conform(table).equals(table)
    ends = {(row["arm"], row["share_removed"]): row for row in table.filter(step=800).iter_rows(named=True)}
    assert ends["cooccurring", 1.0]["gain_nats"] == pytest.approx(0.8, abs=0.2)
    assert ends["cooccurring", 1.0]["gain_low"] > 0
    assert (ends["cooccurring", 1.0]["chunks_left"], ends["cooccurring", 1.0]["cooccurring_left"]) == (700, 0)
    assert (ends["control", 1.0]["chunks_left"], ends["control", 1.0]["cooccurring_left"]) == (700, 300)
    assert (ends["separated", 1.0]["chunks_left"], ends["separated", 1.0]["cooccurring_left"]) == (1000, 0)
    assert ends["control", 1.0]["gain_nats"] == pytest.approx(2, abs=0.2)
    assert dose([]).is_empty()


def doses_of(ends):
    """Parts of a dose: (arm, share) -> mean G at the end; seeds and words are the same in all."""
    parts = []
    for number, ((arm, share), end) in enumerate(ends.items()):
        rng = np.random.default_rng([5, number])
        parts.append((dose_record(arm, share), gain_table(np.zeros(12), np.linspace(0, end, 12), noise=0.3, rng=rng)))
    return parts


def test_the_gain_falls_with_cooccurrence_and_not_with_other_text():
    removed, control = Arm.COOCCURRING, Arm.CONTROL
    ends = {(removed, 0): 2.0, (removed, 0.5): 1.6, (removed, 1): 0.8, (control, 0): 2.0, (control, 1): 1.9}
    table = dose_conclusions(doses_of(ends))
    assert DOSE_CONCLUSIONS.conform(table).equals(table)
    found = {row["claim"]: row for row in table.iter_rows(named=True)}
    assert {claim: row["holds"] for claim, row in found.items()} == {LEFT: True, FALLS: True, SPECIFIC: True}
    assert found[LEFT]["estimate_nats"] == pytest.approx(0.8, abs=0.1)
    assert found[FALLS]["estimate_nats"] == pytest.approx(-1.2, abs=0.15), "least squares over three doses"
    assert found[SPECIFIC]["estimate_nats"] == pytest.approx(-1.1, abs=0.15), "over the two doses of both arms"
    assert (found[FALLS]["n_doses"], found[SPECIFIC]["n_doses"], found[FALLS]["n_seeds"]) == (3, 2, 3)

    assert (found[FALLS]["control"], found[SPECIFIC]["control"]) == (None, "control")

    as_much = dose_conclusions(doses_of({**ends, (control, 1): 0.8}))
    assert as_much.filter(claim=SPECIFIC)["holds"].item() is False
    growing = dose_conclusions(doses_of({(removed, 0): 1.0, (removed, 1): 2.0}))
    assert growing.filter(claim=FALLS)["p"].item() < 0.001
    assert growing.filter(claim=FALLS)["holds"].item() is False, "the other way round"
    assert growing.filter(claim=SPECIFIC).is_empty(), "there is no control"


def test_separation_is_asked_what_removal_is_and_each_control_by_itself():
    nothing = {(arm, 0): 2.0 for arm in Arm}
    rest = {(Arm.COOCCURRING, 1): 0.5, (Arm.SEPARATED, 1): 0.9, (Arm.RANDOM, 1): 1.7, (Arm.CONTROL, 1): 2.4}
    table = dose_conclusions(doses_of({**nothing, **rest}))
    found = {(row["claim"], row["arm"], row["control"]): row["estimate_nats"] for row in table.iter_rows(named=True)}
    assert found == {
        (LEFT, "cooccurring", None): pytest.approx(0.5, abs=0.1),
        (FALLS, "cooccurring", None): pytest.approx(-1.5, abs=0.15),
        (LEFT, "separated", None): pytest.approx(0.9, abs=0.1),
        (FALLS, "separated", None): pytest.approx(-1.1, abs=0.15),
        (SPECIFIC, "cooccurring", "random"): pytest.approx(-1.2, abs=0.2),
        (SPECIFIC, "cooccurring", "control"): pytest.approx(-1.9, abs=0.2),
    }
    assert table["p"].to_list() == table["p_holm"].to_list(), "one model and direction: nothing to correct for"


def test_doses_are_compared_on_the_seeds_that_all_have():
    (nothing, whole), (everything, left) = doses_of({(Arm.COOCCURRING, 0): 2.0, (Arm.COOCCURRING, 1): 1.0})
    table = dose_conclusions([(nothing, whole), (everything, left.filter(pl.col("seed") != 2))])
    assert set(table["n_seeds"]) == {2}
    assert dose_conclusions([(nothing, whole.filter(seed=1)), (everything, left.filter(seed=2))]).is_empty()
    assert dose_conclusions([]).is_empty()


def test_categories_are_replications_of_their_words():
    gain = gain_table(RISE, np.linspace(0, 2, 12)).with_columns(
        pl.when(pl.col("word") < "w20").then(pl.lit("animals")).otherwise(pl.lit("toys")).alias("category"),
    )
    lonely = pl.when(pl.col("word") == "w59").then(pl.lit("places")).otherwise("category").alias("category")
    table = by_category(gain.with_columns(lonely), resamples=100)
    assert CATEGORIES.conform(table).equals(table)
    assert table["category"].unique().sort().to_list() == ["animals", "toys"], "one word makes no category"
    assert table.filter(category="animals")["n_words"].unique().item() == 20
    end = gain.filter((pl.col("step") == 800) & (pl.col("word") < "w20"))["gain_nats"].mean()
    assert table.filter(category="animals", step=800)["gain_nats"].item() == pytest.approx(end)


def test_kinds_of_words_are_told_apart():
    nouns = gain_table(RISE, np.linspace(0, 2, 12))
    verbs = gain_table(RISE, np.linspace(0, 1, 12)).with_columns(
        pl.lit("verb").alias("kind"), pl.concat_str(pl.lit("to "), "word").alias("word")
    )
    table = by_kind(pl.concat([nouns, verbs]), resamples=100)
    assert KINDS.conform(table).equals(table)
    assert table.filter(kind="noun").drop("kind").equals(replication(nouns, resamples=100))
    assert table.filter(kind="verb", step=800)["gain_nats"].item() == pytest.approx(1, abs=0.1)
    both = pl.concat(
        [surprisal_table(np.full(60, 5)), surprisal_table(np.full(60, 3)).with_columns(kind=pl.lit("verb"))]
    )
    crossed = crossed_evidence(both)
    assert crossed["kind"].unique().sort().to_list() == ["noun", "verb"]
    assert crossed.filter(kind="noun").equals(crossed_evidence(both.filter(kind="noun")))


def test_crossed_evidence_agrees_with_words_and_contexts():
    table = crossed_evidence(surprisal_table(np.full(60, 5)))
    assert CROSSED.conform(table).equals(table)
    assert table.height == 2 * 12
    end = table.filter(seed=1, step=800).row(0, named=True)
    assert end["gain_nats"] == pytest.approx(2, abs=0.05)
    assert (end["n_words"], end["n_contexts"]) == (60, 8)
    assert end["residual_sd_nats"] == pytest.approx(0.3, abs=0.03)
    assert end["p"] < 1e-6


def test_words_with_contexts_of_their_own_are_not_crossed():
    own = surprisal_table(np.full(60, 5), seeds=(1,)).with_columns(
        pl.concat_str("word", pl.lit("/"), "context").alias("context")
    )
    assert crossed_evidence(own).is_empty()


def emerging_table(onset, seeds=(1, 2), steps=STEPS):
    """Exchanged scenes find nothing (p uniform) before a word's own checkpoint and everything from it on."""
    rng = np.random.default_rng(0)
    gain = gain_table(RISE, np.linspace(0, 2, 12), seeds=seeds)
    begins = dict(zip(WORDS, onset, strict=True))
    grounded = [STEPS.tolist().index(row["step"]) >= begins[row["word"]] for row in gain.iter_rows(named=True)]
    p = np.where(grounded, 0.01, rng.integers(1, 101, gain.height) / 100)
    return gain.with_columns(pl.Series("p_scene", p))


def test_each_word_emerges_where_it_was_planted():
    onset = np.arange(60) % 13  # the thirteenth never does
    table = word_emergence(emerging_table(onset))
    assert WORD_EMERGENCE.conform(table).equals(table)
    known = [*STEPS.tolist(), None]
    expected = [known[begins] for begins in onset]
    found = dict(table.select("word", "emergence_step").iter_rows())
    assert np.mean([found[word] == step for word, step in zip(WORDS, expected, strict=True)]) > 0.85
    row = table.row(0, named=True)
    assert row["p"] == pytest.approx(stats.combine_pvalues([0.01, 0.01]).pvalue)
    assert (table["p_bh"] >= table["p"]).all()


def test_words_with_too_few_scenes_to_prove_anything_are_left_out():
    gain = emerging_table(np.zeros(60, dtype=int)).with_columns(
        pl.when(pl.col("word") < "w10")
        .then(4)
        .when(pl.col("word") < "w20")
        .then(10)
        .otherwise(59)
        .alias("n_mismatches")
    )
    least = [stats.combine_pvalues([1 / (m + 1)] * 2).pvalue for m in (4, 10)]
    assert least[0] > 0.05 > least[1], "two seeds together can do what one cannot"
    assert word_emergence(gain)["word"].to_list() == WORDS[10:]
    assert word_emergence(gain.filter(seed=1))["word"].to_list() == WORDS[20:]


def test_seeds_that_disagree_do_not_ground_a_word():
    gain = emerging_table(np.zeros(60, dtype=int)).with_columns(
        pl.when(pl.col("seed") == 1).then(0.01).otherwise(0.9).alias("p_scene")
    )
    assert word_emergence(gain)["p"].to_list() == pytest.approx([stats.combine_pvalues([0.01, 0.9]).pvalue] * 60)


def test_agreement_with_children_is_found_and_frequency_can_explain_it():
    onset = np.arange(60) // 5
    gain = emerging_table(onset)
    rng = np.random.default_rng(1)
    ages = {word: 18 + 0.6 * begins + rng.normal() for word, begins in zip(WORDS, onset, strict=True)}
    words = word_emergence(gain, ages)
    assert word_emergence(gain).drop("age_months").equals(words.drop("age_months"))
    table = acquisition(words, gain, resamples=300)
    assert ACQUISITION.conform(table).equals(table)
    row = table.row(0, named=True)
    found = dict(words.select("word", "emergence_step").iter_rows())
    steps = [801 if found[word] is None else found[word] for word in WORDS]
    assert row["rho"] == pytest.approx(stats.spearmanr(steps, list(ages.values())).statistic)
    assert row["rho_low"] > 0.5
    assert row["p"] < 0.001
    assert row["n_words"] == 60

    frequency = dict(gain.filter(step=800, seed=1).select("word", "seen_lan").iter_rows())
    order = {word: -count for word, count in frequency.items()}
    noisy = {word: age + rng.normal(0, 300) for word, age in order.items()}
    confounded = word_emergence(gain, noisy).with_columns(
        pl.col("word").replace_strict(order, return_dtype=pl.Int64).alias("emergence_step")
    )
    explained = acquisition(confounded, gain, resamples=300)
    assert explained["rho"].item() > 0.8
    assert explained["rho_partial"].is_null().item(), "nothing is left once frequency is held"


def test_ages_are_read_and_what_is_missing_is_named(tmp_path):
    path = tmp_path / "ages.csv"
    path.write_text("definition,aoa_months_50pct\nball,16.5\nball,19\nhorse,21\nmoon,\n")
    assert read_acquisition(path) == {"ball": 16.5, "horse": 21.0}
    with pytest.raises(TableError, match="has no column age; it has definition"):
        read_acquisition(path, months="age")
    with pytest.raises(TableError, match="cannot be read"):
        read_acquisition(tmp_path / "none.csv")


@pytest.mark.real
def test_the_shared_list_of_ages_can_be_read(real_data):
    ages = read_acquisition(real_data / "cdi" / "aoa_english_american_norming_derived.csv")
    assert len(ages) > 500
    assert 10 < ages["dog"] < 25


def test_too_few_words_of_known_age_leave_a_model_out():
    gain = emerging_table(np.arange(60) // 5, seeds=(1,))
    assert acquisition(word_emergence(gain, {"w01": 20.0}), gain).is_empty()
