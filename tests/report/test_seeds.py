from pathlib import Path

import numpy as np
import polars as pl
import pytest

from groundscope.behaviour.evidence import EVIDENCE
from groundscope.report.seeds import different_courses, evidence_over_seeds, loss_over_seeds, unfinished
from groundscope.statistics.corrections import LEVEL
from groundscope.training.metrics import LOSS


@pytest.fixture(scope="module")
def evidence(plain_run: Path) -> pl.DataFrame:
    return pl.read_parquet(plain_run / "tables" / "evidence.parquet")


def test_seeds_join_as_a_plain_loop_would_join_them(evidence: pl.DataFrame) -> None:
    joined = evidence_over_seeds(evidence)
    assert joined.height == evidence.select("arch", "direction", "step").n_unique()
    for row in joined.iter_rows(named=True):
        seeds = [
            seed
            for seed in evidence.iter_rows(named=True)
            if all(seed[key] == row[key] for key in ("arch", "direction", "step"))
        ]
        assert row["n_seeds"] == len(seeds) == 2
        assert row["gain_nats"] == pytest.approx(np.mean([seed["gain_nats"] for seed in seeds]))
        assert row["gain_low"] == min(seed["gain_low"] for seed in seeds)
        assert row["gain_high"] == max(seed["gain_high"] for seed in seeds)
        assert row["match_nats_seed_high"] == max(seed["match_nats"] for seed in seeds)
        assert row["p_holm"] == max(seed["p_holm"] for seed in seeds)
        significant = [seed for seed in seeds if seed["p_holm"] < LEVEL and seed["gain_nats"] > 0]
        assert row["n_significant"] == len(significant)


def test_a_negative_gain_is_never_counted_as_an_advantage(evidence: pl.DataFrame) -> None:
    against = evidence.with_columns(-pl.col("gain_nats").abs(), pl.lit(0.001).alias("p_holm"))
    assert evidence_over_seeds(against)["n_significant"].max() == 0


def test_means_stop_where_the_first_seed_stops(evidence: pl.DataFrame) -> None:
    lost = (pl.col("arch") == "lstm-4") & (pl.col("seed") == 142) & (pl.col("step") > 300)
    cut = evidence.filter(~lost)
    steps = evidence_over_seeds(cut).group_by("arch").agg(pl.col("step").max()).sort("arch").rows()
    assert steps == [("lstm-4", 300), ("transformer-4", 1500)]
    assert unfinished(cut) == [("lstm-4", 142, 300, 1500)]
    assert unfinished(evidence) == []


def test_models_with_the_same_course_share_one() -> None:
    rows = pl.DataFrame({"arch": list("aabbcc"), "step": [0, 1] * 3, "counted": [0.0, 0.5, 0.0, 0.50001, 0.0, 0.7]})
    assert [course["arch"].unique().to_list() for course in different_courses(rows, "counted")] == [["a"], ["c"]]


def test_a_shorter_run_over_the_same_data_has_no_course_of_its_own():
    rows = pl.DataFrame(
        {"arch": ["a", "a", "b", "b", "b"], "step": [0, 1, 0, 1, 2], "counted": [0.0, 1.0, 0.0, 1.0, 2.0]}
    )
    assert [course["arch"].unique().to_list() for course in different_courses(rows, "counted")] == [["b"]]


def test_undefined_values_become_missing_ones(evidence: pl.DataFrame) -> None:
    undefined = EVIDENCE.conform(evidence.with_columns(pl.lit(float("nan")).alias("r2_log")))
    assert evidence_over_seeds(undefined)["r2_log"].null_count() == evidence_over_seeds(undefined).height


def test_thinned_loss_keeps_its_ends_and_its_mean() -> None:
    steps, seeds = 5000, (1, 2)
    values = {seed: np.linspace(7, 3, steps) + seed / 10 for seed in seeds}
    loss = LOSS.frame(
        {
            "arch": ["a"] * 2 * steps,
            "seed": np.repeat(seeds, steps).tolist(),
            "step": list(range(steps)) * 2,
            "tokens_seen": list(range(0, 10 * steps, 10)) * 2,
            "loss_nats": np.concatenate([values[1], values[2]]).tolist(),
            "learning_rate": [0.1] * 2 * steps,
            "gradient_norm": [0.1] * 2 * steps,
        }
    )
    thin = loss_over_seeds(loss, unit=100, points=50)
    assert 30 <= thin.height <= 51
    assert thin["step"].is_sorted()
    assert thin["step"][-1] == steps - 1
    assert thin["loss_nats"][0] == pytest.approx(7.15, abs=0.05)
    assert thin["loss_nats"][-1] == pytest.approx(3.15, abs=0.05)
    np.testing.assert_allclose(thin["loss_high"] - thin["loss_low"], 0.1)
