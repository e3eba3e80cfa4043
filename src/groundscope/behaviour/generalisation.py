"""Beyond the words, contexts and seeds at hand: tests that treat more than the words as a sample."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from groundscope.behaviour.evidence import Course
from groundscope.errors import TableError
from groundscope.statistics.average import average
from groundscope.statistics.crossed import crossed_mean
from groundscope.statistics.regression import r_squared
from groundscope.statistics.replicates import TwoWayWeights
from groundscope.statistics.resampling import generator
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

CROSSED = TableSchema(
    "crossed",
    "mean G at one checkpoint with words and contexts both random",
    (
        *CHECKPOINT_COLUMNS,
        Column("direction", pl.String(), "cue to target"),
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("n_words", pl.Int64(), "words"),
        Column("n_contexts", pl.Int64(), "contexts"),
        Column("gain_nats", pl.Float64(), "mean grounding information gain G"),
        Column("gain_low", pl.Float64(), "lower end of the interval over other words and other contexts"),
        Column("gain_high", pl.Float64(), "upper end of the interval over other words and other contexts"),
        Column("p", pl.Float64(), "p value of mean G = 0, two-sided, Satterthwaite"),
        Column("word_sd_nats", pl.Float64(), "standard deviation of words' own gains"),
        Column("context_sd_nats", pl.Float64(), "standard deviation of contexts' own gains"),
        Column("residual_sd_nats", pl.Float64(), "standard deviation of what is left"),
    ),
)
REPLICATION = TableSchema(
    "replication",
    "one architecture at one checkpoint, seeds as replicates",
    (
        Column("arch", pl.String(), "name of the model in the study file"),
        Column("direction", pl.String(), "cue to target"),
        Column("step", pl.Int64(), "optimizer steps done"),
        Column("n_seeds", pl.Int64(), "seeds"),
        Column("n_words", pl.Int64(), "words"),
        Column("match_nats", pl.Float64(), "mean surprisal with the word's own cue"),
        Column("mismatch_nats", pl.Float64(), "mean surprisal with other cues"),
        Column("gain_nats", pl.Float64(), "mean G over words and seeds"),
        Column("gain_low", pl.Float64(), "lower end of its interval over other words and other seeds"),
        Column("gain_high", pl.Float64(), "upper end of its interval over other words and other seeds"),
        Column("p", pl.Float64(), "p value of mean G = 0, words and seeds random; of one seed: sign flips over words"),
        Column("r2_log", pl.Float64(), "mean over seeds of R^2 of G on log(1 + co-occurring chunks seen)"),
        Column("r2_log_low", pl.Float64(), "lower end of its interval over other words and other seeds"),
        Column("r2_log_high", pl.Float64(), "upper end of its interval over other words and other seeds"),
    ),
)

KINDS = TableSchema(
    "kinds",
    "the words of one kind in one architecture at one checkpoint, seeds as replicates",
    (Column("kind", pl.String(), "noun, verb or adjective"), *REPLICATION.columns),
)
CATEGORIES = TableSchema(
    "categories",
    "one category of words in one architecture at one checkpoint, seeds as replicates",
    (
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("category", pl.String(), "category within the kind"),
        *REPLICATION.columns,
    ),
)


def crossed_evidence(surprisal: pl.DataFrame, *, confidence: float = 0.95) -> pl.DataFrame:
    """Return table `CROSSED` from table ``surprisal``.

    Only where every word was measured in every context; words with contexts of their own are not crossed with them, and
    such courses are left out.
    """
    gains = (
        surprisal.pivot("condition", index=[c for c in surprisal.columns if c not in ("condition", "surprisal_nats")])
        .with_columns((pl.col("mismatch") - pl.col("match")).alias("gain"))
        .drop_nulls("gain")
        .sort("word", "context")
    )
    rows = []
    keys = [*(column.name for column in CHECKPOINT_COLUMNS), "direction", "kind"]
    for key, cells in gains.group_by(keys, maintain_order=True):
        n_words, n_contexts = cells["word"].n_unique(), cells["context"].n_unique()
        if len(cells) != n_words * n_contexts or min(n_words, n_contexts) < 2:
            continue
        found = crossed_mean(cells["gain"].to_numpy().reshape(n_words, n_contexts), confidence)
        rows.append(
            dict(zip(keys, key, strict=True))
            | {
                "n_words": n_words,
                "n_contexts": n_contexts,
                "gain_nats": float(found.mean),
                "gain_low": float(found.low),
                "gain_high": float(found.high),
                "p": float(found.p),
                "word_sd_nats": float(found.row_sd),
                "context_sd_nats": float(found.column_sd),
                "residual_sd_nats": float(found.residual_sd),
            }
        )
    return CROSSED.frame(rows).sort("arch", "direction", "kind", "seed", "step")


def aligned(courses: Sequence[Course]) -> list[Course]:
    """Return the courses at the steps that all have; raises TableError when words differ or no step is left."""
    steps = set(courses[0].step.tolist()).intersection(*(course.step.tolist() for course in courses))
    if not steps or any(course.words != courses[0].words for course in courses):
        raise TableError(
            "Seeds of one model were measured on different words or at no common step. Run the study again."
        )
    return [course.at(np.isin(course.step, sorted(steps))) for course in courses]


def courses_by_model(gain: pl.DataFrame) -> dict[tuple[str, str], list[Course]]:
    """Return (architecture, direction) -> the seeds' courses at their common steps, from table ``gain``."""
    return {key: list(of_seed.values()) for key, of_seed in courses_by_seed(gain).items()}


def courses_by_seed(gain: pl.DataFrame) -> dict[tuple[str, str], dict[int, Course]]:
    """Return (architecture, direction) -> seed -> its course, at the steps that all its seeds have."""
    seeds: dict[tuple[str, str], dict[int, Course]] = {}
    for (arch, direction, seed), rows in gain.sort("arch", "direction", "seed").group_by(
        "arch", "direction", "seed", maintain_order=True
    ):
        seeds.setdefault((str(arch), str(direction)), {})[int(str(seed))] = Course.of(rows)
    return {key: dict(zip(of_seed, aligned(list(of_seed.values())), strict=True)) for key, of_seed in seeds.items()}


def replication(gain: pl.DataFrame, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return table `REPLICATION` from table ``gain``: seeds are replicates.

    Means have the interval and test of `average`, for few seeds resampled make intervals that are far too narrow;
    R^2, which has no such form, is resampled over words and seeds (`Replicates.interval`).
    """
    frames = []
    for (arch, direction), courses in courses_by_model(gain).items():
        n_words, n_seeds = len(courses[0].words), len(courses)
        weights = TwoWayWeights.draw(n_words, n_seeds, resamples, generator(seed, "resamples of words and seeds"))
        explained = weights.replicate([r_squared(course.log_count, course.gain) for course in courses])
        r2 = explained.interval(confidence)
        gains = average(np.stack([course.gain for course in courses], axis=1), confidence, seed)
        frames.append(
            pl.DataFrame(
                {
                    "arch": arch,
                    "direction": direction,
                    "step": courses[0].step,
                    "n_seeds": n_seeds,
                    "n_words": n_words,
                    "match_nats": np.mean([course.match.mean(axis=0) for course in courses], axis=0),
                    "mismatch_nats": np.mean([course.mismatch.mean(axis=0) for course in courses], axis=0),
                    "gain_nats": gains.estimate,
                    "gain_low": gains.low,
                    "gain_high": gains.high,
                    "p": gains.p,
                    "r2_log": r2.estimate,
                    "r2_log_low": r2.low.clip(0, 1),
                    "r2_log_high": r2.high.clip(0, 1),
                }
            )
        )
    if not frames:
        return REPLICATION.frame([])
    return REPLICATION.conform(pl.concat(frames)).with_columns(pl.selectors.float().fill_nan(None))


def by_kind(gain: pl.DataFrame, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return table `KINDS`: `replication` within each kind of word."""
    return _within(("kind",), KINDS, gain, resamples, confidence, seed)


def by_category(gain: pl.DataFrame, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return table `CATEGORIES`: `replication` within each kind and category of at least two words."""
    return _within(("kind", "category"), CATEGORIES, gain, resamples, confidence, seed)


def _within(
    keys: tuple[str, ...], schema: TableSchema, gain: pl.DataFrame, resamples: int, confidence: float, seed: int
) -> pl.DataFrame:
    several = gain.filter(pl.col("word").n_unique().over(keys) > 1).sort(keys)
    frames = [
        replication(rows, resamples=resamples, confidence=confidence, seed=seed).with_columns(
            pl.lit(value).alias(key) for key, value in zip(keys, values, strict=True)
        )
        for values, rows in several.group_by(keys, maintain_order=True)
    ]
    return schema.conform(pl.concat(frames)) if frames else schema.frame([])
