"""Our side of published numbers, from planted tables whose answers are known; and the verdicts."""

from pathlib import Path

import polars as pl
import pytest

from groundscope.behaviour.measure import GAIN
from groundscope.reproduction.comparison import compare
from groundscope.reproduction.experiments import run_folder
from groundscope.reproduction.measured import Answer, answer
from groundscope.reproduction.published import Direction, Quantity, paper
from groundscope.reproduction.results import Measured, Results
from groundscope.reproduction.verdicts import Verdict, verdicts
from groundscope.tables import read_table, write_table

QUANTITIES = {quantity.key: quantity for quantity in paper().quantities}


@pytest.fixture(scope="module")
def results(tmp_path_factory, planted) -> Results:
    return Results(planted(tmp_path_factory.mktemp("planted") / "transformer-12"))


def values(results: Results, key: str) -> list[float | None]:
    return [None if one is None else one.value for one in answer(results, QUANTITIES[key]).points]


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


def test_behaviour_is_the_mean_over_words_and_seeds(results: Results):
    gain = read_table(results.folder / "tables/gain.parquet", GAIN)
    last = gain.filter(pl.col("step") == 1000, pl.col("direction") == "env2lan")
    (found,) = answer(results, QUANTITIES["transformer-gain"]).points
    assert found
    assert found.value == pytest.approx(last["gain_nats"].mean())
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert (found.step, found.n_seeds) == (1000, 2)
    assert values(results, "transformer-surprisal-match") == pytest.approx([8.0, 5.5])
    assert values(results, "reverse-match") == pytest.approx([8.0, 10.5])


def test_the_causal_test_is_read_at_the_same_part_of_training(results: Results):
    assert values(results, "causal-effect") == pytest.approx([step + 0.035 + 0.01 for step in (0.25, 0.5, 1.0)])
    assert values(results, "causal-intervention") == pytest.approx([6.0, 6.0, 6.0])
    assert values(results, "causal-layer") == pytest.approx([7.41] * 3)  # counted from 1
    assert values(results, "causal-count") == pytest.approx([5.01] * 3)
    gather = answer(results, QUANTITIES["gather-effect"])
    assert gather.tested is True
    assert gather.points[0]
    assert gather.points[0].value == 0.004


def test_the_lens_is_the_authors_where_it_was_trained(results: Results):
    words = 0.035  # mean of the planted differences between words
    expected = [7 - 0.01 * layer - (0.25 if layer >= 8 else 0) - (layer > 1) + words for layer in range(1, 13)]
    assert values(results, "lens-5000") == pytest.approx(expected)
    assert values(results, "lens-15000") == [None] * 12  # no checkpoint near
    assert values(results, "lens-largest-step") == [8, None, 8]


def test_saliency_and_doses(results: Results):
    assert values(results, "saliency-onset") == [500]
    assert values(results, "ablation-all-removed") == [0.6]
    (lost,) = answer(results, QUANTITIES["ablation-dose"]).points
    assert lost
    assert (lost.value, lost.low, lost.high) == pytest.approx((1.4, 0.9, 1.9))


def test_an_unfinished_run_answers_only_for_what_it_has_reached(tmp_path: Path, planted):
    half = Results(planted(tmp_path / "half", steps=2000))
    assert values(half, "transformer-gain") == [None]
    assert values(half, "causal-effect")[1:] == [pytest.approx(1.045), None]  # step 1,000 of 2,000 is their 10,000
    assert verdicts(QUANTITIES["transformer-gain"], answer(half, QUANTITIES["transformer-gain"]), paper_size=True) == [
        Verdict.NOT_RUN
    ]
    assert Results(tmp_path / "nowhere").there is False


def judged(direction: Direction, *ours: tuple[float, float, float] | None, tested=None, **changes) -> list[Verdict]:
    base = QUANTITIES["causal-original"]  # 6.38, 5.30, 4.77, grade B
    quantity: Quantity = base.model_copy(update={"direction": direction, **changes})
    points = [one and Measured(*map(float, one), step=1, n_seeds=2) for one in ours]
    return verdicts(quantity, Answer(points, tested), paper_size=True)


def test_verdicts_follow_from_intervals():
    near, far = [(6.4, 6.3, 6.5), (5.3, 5.2, 5.4), (4.8, 4.7, 4.9)], [(8.0, 7.9, 8.1), (7.5, 7.4, 7.6), (7.0, 6.9, 7.1)]
    assert judged(Direction.FALLS, *near) == [Verdict.SIZE] * 3
    assert judged(Direction.FALLS, *far) == [Verdict.DIRECTION] * 3
    assert judged(Direction.RISES, *near) == [Verdict.DIFFERS] * 3
    assert judged(Direction.FALLS, near[0], near[1], None) == [Verdict.SIZE, Verdict.SIZE, Verdict.NOT_RUN]
    assert judged(Direction.FALLS, near[0], None, None)[0] is Verdict.UNCLEAR  # one value does not fall
    overlapping = [(6.4, 5.0, 7.8), (5.3, 4, 6), (4.8, 4.0, 5.6)]
    assert judged(Direction.FALLS, *overlapping) == [Verdict.UNCLEAR] * 3
    assert judged(Direction.POSITIVE, *overlapping) == [Verdict.SIZE] * 3
    assert judged(Direction.POSITIVE, (0, 0, 0), (0, 0, 0), (0.1, -0.1, 0.3)) == [Verdict.UNCLEAR] * 3
    assert judged(Direction.POSITIVE, (0, 0, 0), (0, 0, 0), (-0.2, -0.3, -0.1)) == [Verdict.DIFFERS] * 3
    assert judged(Direction.WITHIN, *near, low=4, high=5) == [Verdict.SIZE] * 3
    assert judged(Direction.WITHIN, *near, low=5, high=6) == [Verdict.DIFFERS] * 3
    assert judged(Direction.WITHIN, *near, low=4.8, high=6) == [Verdict.UNCLEAR] * 3
    for tested, verdict in ((True, Verdict.SIZE), (False, Verdict.DIFFERS), (None, Verdict.UNCLEAR)):
        assert judged(Direction.NONE, *near, tested=tested) == [verdict] * 3


def test_a_smaller_run_never_agrees_in_size(tmp_path: Path, planted):
    for scale, times in (("paper", 20), ("small", 1)):
        planted(run_folder(tmp_path, scale, "transformer-12"), times=times)
    groups = compare(paper(), tmp_path, ("paper", "small"))
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
    short = [row for group in compare(paper(), tmp_path, ("paper",)) for row in group.rows]
    assert Verdict.SIZE not in {row.ours[0].verdict for row in short}
    assert groups[0].tally(1)[Verdict.NOT_RUN] >= 4


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
