"""Our numbers for the published ones: one reader per kind of measure, from tables of a run to values at points."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from groundscope.behaviour.dose import DOSE
from groundscope.behaviour.dose_tests import DOSE_CONCLUSIONS, FALLS, LEFT
from groundscope.corpus.arms import Arm
from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_WORDS
from groundscope.mechanism.head_tables import SALIENCY_LAYERS
from groundscope.mechanism.lens_table import LENS
from groundscope.reproduction.no_effect import at_checkpoints
from groundscope.reproduction.no_effect import verdict as no_effect_verdict
from groundscope.reproduction.published import Quantity
from groundscope.reproduction.results import CONFIDENCE, Measured, Results, difference, over_seeds, over_words_and_seeds
from groundscope.statistics.replicates import TwoWayWeights
from groundscope.statistics.resampling import generator, percentile_interval

FORWARD = "env2lan"
AGAINST = "random"
"""The kind of control heads that the paper compares with."""
DOSE_CLAIMS = {"all_removed": (LEFT, 1), "lost": (FALLS, -1)}
"""Published number -> the claim of the run's own tables that answers it, and its sign there."""
LAYERS = 12
"""Depth of the model whose layers the paper speaks of: what it says of them is said of no other."""
MIDDLE = (6, 7, 8)
"""Layers 7 to 9 of the paper, counted from 0."""
NO_FALL = 0.05
"""R^2 is shown not to fall from its peak where the interval of its fall ends below this."""
RISEN = 0.1
"""Saliency has begun to rise where it has gone this part of the way from its first to its highest value."""
RESIDUAL = "residual lens"
"""What is noted of a reading that is not by the authors' kind of lens."""
RESAMPLES = 2000
"""Of words and seeds, for which layer lowers surprisal most."""


class Answer(NamedTuple):
    """What a run says about a quantity."""

    points: list[Measured | None]
    """A value per published point; None: not measured."""
    tested: bool | None = None
    """What the one test of the direction said, where there is one."""
    change: Measured | None = None
    """The last value minus the first, paired by word and seed, where both ends can be paired."""
    untested: tuple[str, ...] = ()
    """Where any is told, per point: why a run that came to it could not test it; empty: it could, or did not come."""

    def why_untested(self, position: int) -> str:
        """Return that of the point at ``position``."""
        return self.untested[position] if self.untested else ""


def answer(results: Results, quantity: Quantity) -> Answer:
    """Return what a run has to say about a quantity."""
    if not results.there:
        return _nothing(quantity)
    return READERS[quantity.measure.kind](results, quantity)


def _nothing(quantity: Quantity) -> Answer:
    return Answer([None] * len(quantity.points))


def _behaviour(results: Results, quantity: Quantity) -> Answer:
    if results.gain is None:
        return _nothing(quantity)
    column, rows = quantity.measure.column, results.gain.filter(pl.col("direction") == quantity.measure.direction)
    if quantity.measure.minus:
        other = Results(results.folder, quantity.measure.minus).gain
        if other is None:
            return _nothing(quantity)
        rows = difference(other, rows, column, "word", "seed", "step", "direction")
    steps = [results.step_for(point.step, quantity.steps, rows) for point in quantity.points]
    return _series([rows.filter(pl.col("step").eq_missing(step)) for step in steps], column, steps)


def _series(frames: Sequence[pl.DataFrame], column: str, steps: Sequence[int | None], note: str = "") -> Answer:
    """The mean of a column in each frame, and its change from the first frame to the last where both have any."""
    points = [over_words_and_seeds(rows, column, step, note) for rows, step in zip(frames, steps, strict=True)]
    if len(points) < 2 or not (points[0] and points[-1]):
        return Answer(points)
    change = difference(frames[0], frames[-1], column, "word", "seed")
    return Answer(points, change=over_words_and_seeds(change, column, None))


def _r_squared(results: Results, quantity: Quantity) -> Answer:
    if results.replication is None or results.conclusions is None:
        return _nothing(quantity)
    rows = results.replication.filter(pl.col("direction") == FORWARD)
    found = [_r_squared_at(rows, results.step_for(point.step, quantity.steps, rows)) for point in quantity.points]
    return Answer(found, _fell(results.conclusions) if results.is_over(rows) else None)


def _r_squared_at(rows: pl.DataFrame, step: int | None) -> Measured | None:
    here = rows.filter(pl.col("step").eq_missing(step), pl.col("r2_log").is_not_null())
    if here.is_empty():
        return None
    row = here.row(0, named=True)
    return Measured(row["r2_log"], row["r2_log_low"], row["r2_log_high"], step, row["n_seeds"])


def _fell(conclusions: pl.DataFrame) -> bool | None:
    """True where rise and fall are tested and hold; False where R^2 is shown not to fall; None: neither can be said.

    By the course of the run itself: its peak may lie at another part of training than the authors'.
    """
    claim = conclusions.filter(claim="rises_then_falls_while_gain_grows", direction=FORWARD)
    if len(claim) and claim["holds"][0]:
        return True
    fall = _claimed(conclusions, "r2_fall")
    return False if fall and fall.high is not None and fall.high < NO_FALL else None


def _r_squared_peak(results: Results, quantity: Quantity) -> Answer:
    if results.replication is None or results.conclusions is None:
        return _nothing(quantity)
    rows = results.replication.filter(pl.col("direction") == FORWARD, pl.col("r2_log").is_not_null())
    if not results.is_over(rows):
        return _nothing(quantity)
    if quantity.measure.column == "value":
        note = "the highest of all checkpoints, so rather too high"
        top = rows.row(int(rows["r2_log"].arg_max() or 0), named=True)
        peak = Measured(top["r2_log"], top["r2_log_low"], top["r2_log_high"], top["step"], top["n_seeds"], note)
        # R^2 is never below zero, so that its own interval says nothing: what is tested is that it has risen
        return Answer([peak], change=_claimed(results.conclusions, "r2_rise"))
    return Answer([_claimed(results.conclusions, "r2_peak_step")])


def _claimed(conclusions: pl.DataFrame, claim: str) -> Measured | None:
    rows = conclusions.filter(claim=claim, direction=FORWARD).drop_nulls("estimate").to_dicts()
    return next((Measured(row["estimate"], row["ci_low"], row["ci_high"], None, row["n_seeds"]) for row in rows), None)


def _causal(results: Results, quantity: Quantity) -> Answer:
    by_seed, by_word = results.table(CAUSAL), results.table(CAUSAL_WORDS)
    if by_seed is None or by_word is None:
        return _nothing(quantity)
    if quantity.measure.column == "mean_layer" and _flow_by_layer(results) is None:
        return _nothing(quantity)
    ours = (pl.col("role") == quantity.measure.role) & (pl.col("control") == AGAINST)
    by_seed, by_word, column = by_seed.filter(ours), by_word.filter(ours), quantity.measure.column
    steps = [results.step_for(point.step, quantity.steps, by_seed) for point in quantity.points]
    if column in ("difference_nats", "mean_count"):
        return _series([by_word.filter(pl.col("step").eq_missing(step)) for step in steps], column, steps)
    by_seed = by_seed.drop_nulls(column).with_columns(pl.col(column) + (column == "mean_layer"))  # layers from 1
    frames = [by_seed.filter(pl.col("step").eq_missing(step)) for step in steps]
    found = [over_seeds(rows[column].to_list(), step) for rows, step in zip(frames, steps, strict=True)]
    change = difference(frames[0], frames[-1], column, "seed")[column].to_list() if len(frames) > 1 else []
    return Answer(found, change=over_seeds(change, None))


def _no_effect(results: Results, quantity: Quantity) -> Answer:
    by_seed, by_word = results.table(CAUSAL), results.table(CAUSAL_WORDS)
    if by_seed is None or by_word is None or not results.is_over(by_seed):
        return _nothing(quantity)
    steps = [results.step_for(point.step, quantity.steps, by_seed) for point in quantity.points]
    reached = [step for step in steps if step is not None]
    found = at_checkpoints(by_seed, by_word, quantity.measure.role, AGAINST, reached, **results.weighing)
    at = [None if step is None else found[step] for step in steps]
    return Answer(
        [one and one.change for one in at],
        no_effect_verdict(at),
        untested=tuple(one.untested if one else "" for one in at),
    )


def _lens(results: Results, quantity: Quantity) -> Answer:
    table = _reading(results)
    if table is None:
        return _nothing(quantity)
    note = _kind_noted(table)
    steps = [results.step_for(point.step, quantity.steps, table) for point in quantity.points]
    layers = [point.layer for point in quantity.points]
    if quantity.measure.kind == "lens_drop":  # from the layer before
        before = table.with_columns(pl.col("layer") + 1)
        table = difference(table, before, "surprisal_nats", "word", "seed", "step", "layer")
    at = zip(steps, layers, strict=True)
    frames = [table.filter(pl.col("step").eq_missing(step), pl.col("layer") == layer) for step, layer in at]
    return _series(frames, "surprisal_nats", steps, note)


def _lens_step(results: Results, quantity: Quantity) -> Answer:
    table = _reading(results)
    if table is None:
        return _nothing(quantity)
    steps = [results.step_for(point.step, quantity.steps, table) for point in quantity.points]
    return Answer([_largest_step(table.filter(pl.col("step").eq_missing(step)), step) for step in steps])


def _largest_step(rows: pl.DataFrame, step: int | None) -> Measured | None:
    """The layer behind layer 2 that lowers the mean surprisal most, with its interval over words and seeds."""
    if rows.is_empty():
        return None
    layers = rows["layer"].unique().sort().to_list()
    seeds = rows["seed"].unique().sort().to_list()
    wide = (
        rows.pivot(on="layer", index=("word", "seed"), values="surprisal_nats", aggregate_function="mean")
        .filter(pl.len().over("word") == len(seeds))
        .sort("seed", "word")
        .select("seed", *map(str, layers))
    )
    if wide.is_empty():
        return None
    lowered: list[Float[np.ndarray, "word layer"]] = [
        -np.diff(wide.filter(seed=seed).drop("seed").to_numpy(), axis=1)[:, 2:] for seed in seeds
    ]
    weights = TwoWayWeights.draw(len(lowered[0]), len(seeds), RESAMPLES, generator(0, "largest step of a lens"))
    resampled = weights.replicate([partial(np.dot, b=of_seed) for of_seed in lowered])
    low, high = percentile_interval(3.0 + resampled.draws.argmax(axis=1)[:, None])
    by_seed = f"by seed {', '.join(str(3 + of_seed.mean(axis=0).argmax()) for of_seed in lowered)}"
    note = ", ".join(part for part in (_kind_noted(rows), by_seed) if part)
    return Measured(3.0 + int(resampled.estimate.argmax()), float(low[0]), float(high[0]), step, len(seeds), note)


def _reading(results: Results) -> pl.DataFrame | None:
    """What the authors' kind of lens reads where the scene matches; the residual one's where theirs was not trained."""
    table = results.table(LENS)
    matching = None if table is None else table.filter(pl.col("condition") == "match")
    if matching is None or matching["layer"].n_unique() != LAYERS + 1:  # the embedding is read, too
        return None
    kinds = matching["lens"].unique().to_list()
    kind = next((kind for kind in ("linear", "tuned") if kind in kinds), None)
    return matching.filter(pl.col("lens") == kind) if kind else None


def _kind_noted(reading: pl.DataFrame) -> str:
    return "" if reading["lens"][0] == "linear" else RESIDUAL


def _saliency_onset(results: Results, quantity: Quantity) -> Answer:
    """The step by which saliency has begun to rise; it did so after the checkpoint where its interval begins."""
    table = _flow_by_layer(results)
    if table is None or not results.is_over(table):
        return _nothing(quantity)
    flow = table.filter(pl.col("layer").is_in(MIDDLE)).group_by("seed", "step").agg(pl.col("flow_nats").mean())
    onsets, before = [], []
    for _, of_seed in flow.sort("seed", "step").group_by("seed", maintain_order=True):
        steps, values = of_seed["step"].to_list(), of_seed["flow_nats"].to_numpy()
        risen = values > values[0] + RISEN * (values.max() - values[0])
        if risen.any():
            at = int(risen.argmax())
            onsets.append(float(steps[at]))
            before.append(float(steps[at - 1]) if at > 1 else 0.0)  # nobody saw what came before the first value
    if len(onsets) < (seeds := flow["seed"].n_unique()):  # a mean of the others would say that all of them rise
        return Answer([None], untested=(f"it rises above its first value on {len(onsets)} of {seeds} seeds",))
    note = f"first checkpoint {RISEN:.0%} of the way from the first value to the highest; may have begun since the last"
    found, earliest = over_seeds(onsets, None, note), over_seeds(before, None)
    if found is None or earliest is None or found.low is None or earliest.low is None:
        return Answer([found])
    return Answer([replace(found, low=max(0.0, min(found.low, earliest.low)))])


def _flow_by_layer(results: Results) -> pl.DataFrame | None:
    """Saliency by layer of a model of the paper's depth; None where there is none."""
    table = results.table(SALIENCY_LAYERS)
    return None if table is None or table["layer"].max() != LAYERS - 1 else table


def _dose(results: Results, quantity: Quantity) -> Answer:
    courses, table = results.table(DOSE), results.table(DOSE_CONCLUSIONS)
    if courses is None or table is None or not results.is_over(courses) or courses["share_removed"].max() != 1:
        return _nothing(quantity)
    if results.confidence != CONFIDENCE:
        told = f"its intervals are of {results.confidence:.0%}; run it again with statistics.confidence={CONFIDENCE}"
        return Answer([None], untested=(told,))
    claim, sign = DOSE_CLAIMS[quantity.measure.column]
    step = results.step_for(None, 1, courses)
    for row in table.filter(claim=claim, arm=Arm.COOCCURRING.value, direction=FORWARD).to_dicts():
        low, high = sorted(sign * row[end] for end in ("ci_low", "ci_high"))
        note = f"{row['n_doses']} doses, paired by word and seed" if row["n_doses"] > 1 else ""
        return Answer([Measured(sign * row["estimate_nats"], low, high, step, row["n_seeds"], note)])
    return _nothing(quantity)


READERS: Mapping[str, Callable[[Results, Quantity], Answer]] = {
    "behaviour": _behaviour,
    "r_squared": _r_squared,
    "r_squared_peak": _r_squared_peak,
    "causal": _causal,
    "no_effect": _no_effect,
    "lens": _lens,
    "lens_drop": _lens,
    "lens_step": _lens_step,
    "saliency_onset": _saliency_onset,
    "dose": _dose,
}
