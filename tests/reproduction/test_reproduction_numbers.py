"""Our side of published numbers, from planted tables whose answers are known."""

from pathlib import Path

import polars as pl
import pytest

from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.dose import DOSE
from groundscope.behaviour.generalisation import REPLICATION, replication
from groundscope.behaviour.measure import GAIN
from groundscope.files import read_json, write_json
from groundscope.mechanism.head_tables import SALIENCY_LAYERS
from groundscope.reproduction.comparison import compare
from groundscope.reproduction.experiments import experiment, run_folder
from groundscope.reproduction.measured import answer
from groundscope.reproduction.published import Point, paper
from groundscope.reproduction.results import Measured, Results
from groundscope.reproduction.verdicts import Verdict, same_size, verdicts
from groundscope.tables import read_table, write_table

STUDIES = Path(__file__).parents[2] / "studies" / "paper"
QUANTITIES = {quantity.key: quantity for quantity in paper().quantities}


def stated(key: str) -> list[float]:
    return [point.value for point in QUANTITIES[key].points if point.value is not None]


def test_published_numbers_agree_with_each_other():
    """Intervention minus control is the difference; the last layer's lens is the model's output; figures bound G."""
    intervention, control, effect = (stated(f"causal-{key}") for key in ("intervention", "control", "effect"))
    assert effect == pytest.approx([a - b for a, b in zip(intervention, control, strict=True)])
    for step, value in zip((5000, 10000, 20000), stated("causal-original"), strict=True):
        assert stated(f"lens-{step}")[-1] == pytest.approx(value, abs=0.005)
    for step in (10000, 15000, 20000):
        readings = stated(f"lens-{step}")
        lowered = [readings[layer - 1] - readings[layer] for layer in range(2, 12)]
        assert len(readings) == 12
        assert lowered.index(max(lowered)) + 3 == 8  # from layer 7 to layer 8


def test_behaviour_is_the_mean_over_words_and_seeds(results: Results, values):
    gain = read_table(results.folder / "tables/gain.parquet", GAIN)
    last = gain.filter(pl.col("step") == 1000, pl.col("direction") == "env2lan")
    (found,) = answer(results, QUANTITIES["transformer-gain"]).points
    assert found
    assert found.value == pytest.approx(last["gain_nats"].mean())
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert (found.step, found.n_seeds) == (1000, 2)
    assert values(results, "transformer-surprisal-match") == pytest.approx([7.375, 5.5])
    assert values(results, "reverse-match") == pytest.approx([8.625, 10.5])


def test_the_causal_test_is_read_at_the_same_part_of_training(results: Results, values):
    assert values(results, "causal-effect") == pytest.approx([step + 0.035 + 0.01 for step in (0.25, 0.5, 1.0)])
    assert values(results, "causal-intervention") == pytest.approx([6.0, 6.0, 6.0])
    assert values(results, "causal-layer") == pytest.approx([7.41] * 3)  # counted from 1
    assert values(results, "causal-count") == pytest.approx([5.01] * 3)


def test_saliency_and_doses(results: Results, values):
    assert values(results, "saliency-onset") == [500]
    assert values(results, "ablation-all-removed") == [0.6]
    (lost,) = answer(results, QUANTITIES["ablation-dose"]).points
    assert lost
    assert (lost.value, lost.low, lost.high) == pytest.approx((1.4, 0.8, 1.9))
    assert "3 doses" in lost.note


def test_an_unfinished_run_answers_only_for_what_it_has_reached(tmp_path: Path, planted, values):
    half = Results(planted(tmp_path / "half", steps=2000))
    assert values(half, "transformer-gain") == [None]
    for key in ("transformer-r2-peak", "transformer-r2-peak-step", "saliency-onset", "ablation-dose"):
        assert values(half, key) == [None], key  # of a course that is not over
    assert values(half, "gather-effect") == [None] * 3
    assert values(half, "causal-effect")[1:] == [pytest.approx(1.045), None]  # step 1,000 of 2,000 is their 10,000
    assert verdicts(QUANTITIES["transformer-gain"], answer(half, QUANTITIES["transformer-gain"]), paper_size=True) == [
        Verdict.NOT_RUN
    ]
    for key in ("causal-count", "causal-original", "causal-intervention"):  # how far they go until the end nobody knows
        found = verdicts(QUANTITIES[key], answer(half, QUANTITIES[key]), paper_size=True)
        assert set(found) <= {Verdict.UNCLEAR, Verdict.NOT_RUN}, key
    assert Results(tmp_path / "nowhere").there is False


def test_a_run_that_does_not_say_how_long_it_was_answers_for_nothing(tmp_path: Path, planted):
    """Any checkpoint could be its last, and a range of steps means nothing."""
    planted(run_folder(tmp_path, "small", "transformer-12"))
    settings = run_folder(tmp_path, "small", "transformer-12") / "resolved.json"
    for content in (None, "{}"):
        settings.unlink() if content is None else settings.write_text(content, encoding="utf-8")
        groups = compare(paper(), STUDIES, tmp_path, ("small",))
        found = [row.ours[0] for group in groups for row in group.rows if row.experiment == "transformer-12"]
        assert {one.verdict for one in found if one} == {Verdict.NOT_RUN}
        assert all("no resolved.json that says for how many steps" in one.problem for one in found if one)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("causal_words", lambda table: pl.concat([table, table]), "holds the same row twice"),
        ("causal", lambda table: pl.concat([table, table.head(1)]), "holds the same row twice"),
        ("lens", lambda table: table.with_columns(pl.lit(None, pl.Int64).alias("seed")), "rows of no model or seed"),
    ],
)
def test_a_table_that_was_put_together_by_hand_is_told(name: str, change, said: str, tmp_path: Path, planted):
    file = planted(run_folder(tmp_path, "small", "transformer-12")) / "tables" / f"{name}.parquet"
    changed = change(pl.read_parquet(file))
    file.unlink()
    changed.write_parquet(file)
    groups = compare(paper(), STUDIES, tmp_path, ("small",))
    found = [row.ours[0] for group in groups for row in group.rows if row.experiment == "transformer-12"]
    assert any(said in one.problem and one.verdict is Verdict.NOT_RUN for one in found if one)
    assert any(one.verdict is Verdict.DIRECTION for one in found if one)  # what other tables say


def test_a_setting_that_this_version_does_not_have_is_passed_over(tmp_path: Path, planted, values):
    folder = planted(tmp_path / "run")
    settings = read_json(folder / "resolved.json")
    settings["statistics"]["colour"] = "red"
    write_json(folder / "resolved.json", settings)
    assert None not in values(Results(folder), "gather-effect")


def test_the_peak_of_r_squared_is_judged_by_its_rise(results: Results):
    """R^2 is never below zero, so an interval of its own would call every peak real."""
    found = answer(results, QUANTITIES["transformer-r2-peak"])
    assert found.points[0]
    assert found.change
    flat = found._replace(change=Measured(0.01, -0.2, 0.2, None, 2))
    assert verdicts(QUANTITIES["transformer-r2-peak"], flat, paper_size=True) == [Verdict.UNCLEAR]


@pytest.mark.parametrize(
    ("holds", "fell_at_most", "verdict"),
    [(True, 0.2, Verdict.DIRECTION), (False, 0.2, Verdict.UNCLEAR), (False, 0.04, Verdict.DIFFERS)],
)
def test_a_fall_of_r_squared_is_judged_by_the_course_wherever_its_peak_lies(
    tmp_path: Path, planted, holds: bool, fell_at_most: float, verdict: Verdict
):
    """At the part of training at which the authors' R^2 is highest ours may still rise: that is no course."""
    folder = planted(tmp_path / "run")
    table = Results(folder).conclusions
    assert table is not None
    course, fall = pl.col("claim") == "rises_then_falls_while_gain_grows", pl.col("claim") == "r2_fall"
    edited = table.with_columns(
        holds=pl.when(course).then(holds).otherwise("holds"),
        estimate=pl.when(fall).then(0.02).otherwise("estimate"),
        ci_low=pl.when(fall).then(0.0).otherwise("ci_low"),
        ci_high=pl.when(fall).then(fell_at_most).otherwise("ci_high"),
    )
    assert edited.filter(fall, direction="env2lan").height
    write_table(folder / "tables/conclusions.parquet", edited, CONCLUSIONS)
    fell = QUANTITIES["transformer-r2-end"]
    assert verdicts(fell, answer(Results(folder), fell), paper_size=False)[-1] is verdict


def test_one_seed_and_shallow_models_are_answered_for(tmp_path: Path, planted, values):
    folder = planted(tmp_path / "one")
    for file in (folder / "tables").glob("*.parquet"):
        table = pl.read_parquet(file)
        table = table.filter(pl.col("seed") == 42) if "seed" in table.columns else table
        table.filter(pl.col("layer") < 3).write_parquet(file) if file.stem == "lens" else table.write_parquet(file)
    one = Results(folder)
    for key in ("causal-original", "causal-layer", "saliency-onset"):
        found = verdicts(QUANTITIES[key], answer(one, QUANTITIES[key]), paper_size=True)
        assert set(found) == {Verdict.UNCLEAR}, key
    assert values(one, "lens-largest-step") == [None] * 3
    (gain,) = verdicts(QUANTITIES["transformer-gain"], answer(one, QUANTITIES["transformer-gain"]), paper_size=True)
    assert gain is Verdict.SIZE  # an interval over words


def test_an_untrained_model_answers_for_no_early_step(results: Results):
    """Step 0 is a twentieth of the training away from the paper's step 1,000, and has learnt nothing."""
    rows = pl.DataFrame({"step": [0, 1000]})
    assert results.step_for(1000, 20_000, rows) is None
    assert results.step_for(0, 20_000, rows) == 0
    assert results.step_for(3500, 20_000, pl.DataFrame({"step": [0, 150, 300, 1000]})) == 150
    assert results.step_for(3500, 20_000, pl.DataFrame({"step": [0, 100, 250, 1000]})) is None


def test_a_step_that_one_seed_has_not_reached_answers_for_nothing(results: Results):
    rows = pl.DataFrame({"seed": [42, 42, 142], "step": [500, 1000, 500]})
    assert results.step_for(None, 1, rows) is None
    assert results.step_for(10_000, 20_000, rows) == 500
    assert not results.is_over(rows)


def test_intervals_are_of_one_level_whatever_the_run_was_asked_for(tmp_path: Path, planted):
    """At 55 % what was unclear would be said to agree or to differ."""
    folder = planted(tmp_path / "run")
    settings = read_json(folder / "resolved.json")
    asked = ("transformer-r2-peak", "transformer-r2-end", "gather-effect")
    usual = {key: answer(Results(folder), QUANTITIES[key]) for key in asked}
    low = {"resamples": 200, "confidence": 0.55}
    gain = Results(folder).gain
    assert gain is not None
    write_table(folder / "tables/replication.parquet", replication(gain, **low), REPLICATION)
    write_table(folder / "tables/conclusions.parquet", conclusions(gain, **low), CONCLUSIONS)
    write_json(folder / "resolved.json", settings | {"statistics": low})
    assert {key: answer(Results(folder), QUANTITIES[key]) for key in asked} == usual
    left = answer(Results(folder), QUANTITIES["ablation-all-removed"])
    assert verdicts(QUANTITIES["ablation-all-removed"], left, paper_size=False) == [Verdict.UNCLEAR]
    assert "intervals are of 55%" in left.why_untested(0)


def test_what_is_said_of_a_course_waits_for_its_end(tmp_path: Path, planted, values):
    """Neither that R² fell, nor what is left without co-occurrence, nor layers 7 to 9 of a model that has no twelve."""
    folder = planted(tmp_path / "run")
    table = Results(folder).conclusions
    assert table is not None
    write_table(folder / "tables/conclusions.parquet", table.with_columns(pl.lit(True).alias("holds")), CONCLUSIONS)
    fell = QUANTITIES["transformer-r2-end"]
    assert answer(Results(folder), fell).tested is True
    settings = read_json(folder / "resolved.json")
    write_json(folder / "resolved.json", settings | {"training": settings["training"] | {"steps": 2000}})
    assert answer(Results(folder), fell).tested is None
    write_json(folder / "resolved.json", settings)
    doses = read_table(folder / "tables/dose.parquet", DOSE)
    write_table(folder / "tables/dose.parquet", doses.filter(pl.col("share_removed") < 1), DOSE)
    flow = read_table(folder / "tables/saliency_layers.parquet", SALIENCY_LAYERS)
    write_table(folder / "tables/saliency_layers.parquet", flow.filter(pl.col("layer") < 9), SALIENCY_LAYERS)
    for key in ("ablation-dose", "ablation-all-removed", "saliency-onset"):
        assert values(Results(folder), key) == [None], key


def test_a_smaller_run_never_agrees_in_size(tmp_path: Path, planted):
    for scale, times in (("paper", 20), ("small", 1)):
        planted(run_folder(tmp_path, scale, "transformer-12"), times=times)
    groups = compare(paper(), STUDIES, tmp_path, ("paper", "small"))
    rows = [row for group in groups for row in group.rows]
    assert len(rows) == sum(len(quantity.points) * len(quantity.experiments) for quantity in paper().quantities)
    large, small = ({row.ours[scale].verdict for row in rows} for scale in (0, 1))
    assert Verdict.SIZE in large
    assert Verdict.SIZE not in small
    effect = next(row for row in rows if row.quantity.key == "causal-effect" and row.point.step == 20000)
    assert [found.verdict for found in effect.ours] == [Verdict.DIRECTION, Verdict.DIRECTION]  # 1.05 against 0.86
    onset = next(row for row in rows if row.quantity.key == "saliency-onset")
    assert [found.verdict for found in onset.ours] == [Verdict.DIRECTION] * 2  # 500 of 1,000: the half of training
    planted(run_folder(tmp_path, "paper", "transformer-12"))  # in the place of a whole run, but shorter
    short = [row for group in compare(paper(), STUDIES, tmp_path, ("paper",)) for row in group.rows]
    assert Verdict.SIZE not in {row.ours[0].verdict for row in short}
    assert groups[0].tally(1)[Verdict.NOT_RUN] >= 4


def test_what_stands_in_for_the_authors_never_agrees_in_size(tmp_path: Path, planted):
    """Composed pictures: the study file at the paper's size is not the paper's experiment."""
    folder = planted(run_folder(tmp_path, "paper", "pictures"), times=300)
    gain = read_table(folder / "tables/gain.parquet", GAIN)
    near = gain.with_columns(pl.lit("vlm-12.dino").alias("arch"), pl.col("gain_nats") * 0.7)
    write_table(folder / "tables/gain.parquet", near, GAIN)
    write_json(folder / "resolved.json", experiment("pictures", STUDIES).study().model_dump(mode="json"))
    groups = compare(paper(), STUDIES, tmp_path, ("paper",))
    (gap,) = (row for group in groups for row in group.rows if row.quantity.key == "pictures-gain")
    assert gap.ours[0]
    assert gap.ours[0].measured
    assert same_size(gap.point, gap.ours[0].measured, gap.quantity)
    assert gap.ours[0].verdict is Verdict.DIRECTION


def test_a_study_of_several_models_answers_for_the_one_asked_for(tmp_path: Path, planted):
    folder = planted(tmp_path / "pictures", steps=1000)
    gain = read_table(folder / "tables/gain.parquet", GAIN)
    both = [
        gain.with_columns(pl.lit(f"vlm.{name}").alias("arch"), pl.col("gain_nats") * part)
        for name, part in (("dino", 1.0), ("random", 0.5))
    ]
    write_table(folder / "tables/gain.parquet", pl.concat(both), GAIN)
    (seeing,) = answer(Results(folder, "dino"), QUANTITIES["pictures-gain"]).points
    (blind,) = answer(Results(folder, "random"), QUANTITIES["pictures-gain"]).points
    assert seeing
    assert blind
    assert blind.value == pytest.approx(seeing.value / 2)
    slower = QUANTITIES["pictures-slower"].model_copy(update={"points": (Point(step=300_000),)})
    (ahead,) = answer(Results(folder, "dino"), slower).points
    assert ahead
    assert ahead.value == pytest.approx(seeing.value / 2)
