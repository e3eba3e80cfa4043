"""What a study concludes about each architecture, every claim with its estimate, interval and test."""

from typing import Any

import numpy as np
import polars as pl

from groundscope.behaviour.evidence import Course
from groundscope.behaviour.generalisation import courses_by_model
from groundscope.statistics.average import average
from groundscope.statistics.corrections import LEVEL, holm_within
from groundscope.statistics.emergence import emergence
from groundscope.statistics.regression import adjusted_r_squared, mean
from groundscope.statistics.replicates import Replicates, TwoWayWeights
from groundscope.statistics.resampling import Interval, generator
from groundscope.statistics.rise_fall import rise_then_fall
from groundscope.tables import Column, TableSchema

CONCLUSIONS = TableSchema(
    "conclusions",
    "one claim about one architecture and direction, over all seeds and words",
    (
        Column("arch", pl.String(), "name of the model in the study file"),
        Column("direction", pl.String(), "cue to target"),
        Column(
            "claim",
            pl.String(),
            "final_gain, emergence_step, r2_peak_step, r2_rise, r2_fall, gain_growth, or "
            "rises_then_falls_while_gain_grows",
        ),
        Column("unit", pl.String(), "of estimate and interval: nats, steps or R^2"),
        Column("step", pl.Int64(), "checkpoint that the claim is about; null: none"),
        Column("estimate", pl.Float64(), "estimate; null: not within training, or not to be had"),
        Column("ci_low", pl.Float64(), "lower end of its interval"),
        Column("ci_high", pl.Float64(), "upper end of its interval; null where the estimate may lie beyond training"),
        Column("n_seeds", pl.Int64(), "seeds"),
        Column("n_words", pl.Int64(), "words"),
        Column("test", pl.String(), "test behind p; null where the claim is a description"),
        Column("p", pl.Float64(), "p value"),
        Column("p_holm", pl.Float64(), "p after Holm's correction over architectures and directions"),
        Column("holds", pl.Boolean(), "whether p_holm is below .05 and the estimate has the claimed sign"),
    ),
)


def conclusions(gain: pl.DataFrame, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return table `CONCLUSIONS` from table ``gain``.

    - ``final_gain``: mean G at the last checkpoint; words and seeds random (one seed: sign flips over words).
    - ``emergence_step``: first checkpoint after which the interval of G (that of ``final_gain``, at each checkpoint)
      stays above zero; its own interval comes from resamples of words and seeds.
    - ``r2_peak_step``: checkpoint of the largest R^2, and its interval over resamples. A description: the largest of
      many noisy values is a poor estimate of where a curve is highest.
    - ``rises_then_falls_while_gain_grows``: R^2 (log count, adjusted) rises to some checkpoint and falls after it while
      G still grows; one p value that pays for the search (`statistics.rise_fall`). ``r2_rise``, ``r2_fall`` and
      ``gain_growth`` describe the checkpoint that speaks most for it.
    """
    rows: list[dict[str, Any]] = []
    for (arch, direction), courses in courses_by_model(gain).items():
        n_words, n_seeds = len(courses[0].words), len(courses)
        weights = TwoWayWeights.draw(n_words, n_seeds, resamples, generator(seed, "resamples of words and seeds"))
        growing = weights.replicate([mean(course.gain) for course in courses])
        who = {"arch": arch, "direction": direction, "n_seeds": n_seeds, "n_words": n_words}
        found = [
            _final_gain(courses, confidence, seed),
            _emergence(courses, growing, confidence),
            *_rise_and_fall(courses, weights, growing, confidence),
        ]
        rows += [_EMPTY | who | claim for claim in found]
    if not rows:
        return CONCLUSIONS.frame([])
    table = CONCLUSIONS.frame(rows).with_columns(pl.selectors.float().fill_nan(None))
    p = table["p"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    corrected = table.with_columns(pl.Series("p_holm", holm_within(p, table["claim"].to_numpy())).fill_nan(None))
    supported = (pl.col("p_holm") < LEVEL) & ((pl.col("claim") != "final_gain") | (pl.col("estimate") > 0))
    return corrected.with_columns(pl.when(pl.col("p_holm").is_not_null()).then(supported).alias("holds"))


_EMPTY = dict.fromkeys((column.name for column in CONCLUSIONS.columns), None)


def _final_gain(courses: list[Course], confidence: float, seed: int) -> dict[str, Any]:
    found = average(np.stack([course.gain[:, -1] for course in courses], axis=1), confidence, seed)
    estimate, low, high = (float(value) for value in (found.estimate, found.low, found.high))
    step = int(courses[0].step[-1])
    return _claim("final_gain", "nats", step, estimate, low, high) | {"test": found.test, "p": float(found.p)}


def _emergence(courses: list[Course], growing: Replicates, confidence: float) -> dict[str, Any]:
    lower = average(np.stack([course.gain for course in courses], axis=1), confidence).low
    found = emergence(growing, lower, confidence)
    steps = [*map(int, courses[0].step), None]  # the last position means: not within training
    estimate, low, high = (steps[position] for position in (found.position, found.low, found.high))
    return _claim("emergence_step", "steps", estimate, estimate, low, high)


def _rise_and_fall(
    courses: list[Course], weights: TwoWayWeights, growing: Replicates, confidence: float
) -> list[dict[str, Any]]:
    explained = weights.replicate([adjusted_r_squared(course.log_count, course.gain) for course in courses])
    found = rise_then_fall(explained, growing, confidence)
    highest = [int(courses[0].step[at]) for at in _highest(explained, confidence)] or [None] * 3
    peak = None if np.isnan(found.p) else int(courses[0].step[found.peak])
    statement = _claim("rises_then_falls_while_gain_grows", "steps", peak, peak, None, None)
    tested = {"test": "max-T over checkpoints, intersection-union of rise, fall and growth", "p": found.p}
    return [
        _claim("r2_peak_step", "steps", highest[0], *highest),
        _described("r2_rise", "R^2", peak, found.rise),
        _described("r2_fall", "R^2", peak, found.fall),
        _described("gain_growth", "nats", peak, found.growth),
        statement | tested,
    ]


def _highest(curve: Replicates, confidence: float) -> list[int]:
    """Position of the largest value, and the interval of that position over resamples; empty where nothing is known."""
    known = np.flatnonzero(~np.isnan(curve.estimate))
    if not len(known):
        return []
    found = known[np.nanargmax(np.where(np.isnan(curve.draws[:, known]), -np.inf, curve.draws[:, known]), axis=1)]
    tail = (1 - confidence) / 2
    bounds = np.quantile(found, [tail, 1 - tail], method="nearest")
    return [int(known[np.argmax(curve.estimate[known])]), *map(int, bounds)]


def _described(claim: str, unit: str, step: int | None, interval: Interval) -> dict[str, Any]:
    return _claim(claim, unit, step, float(interval.estimate), float(interval.low), float(interval.high))


def _claim(
    claim: str,
    unit: str,
    step: int | None,
    estimate: float | int | None,
    low: float | int | None,
    high: float | int | None,
) -> dict[str, Any]:
    return {"claim": claim, "unit": unit, "step": step, "estimate": estimate, "ci_low": low, "ci_high": high}
