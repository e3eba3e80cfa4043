"""From gains per word to evidence per checkpoint: intervals, tests, effect sizes, and what co-occurrence explains."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from groundscope.errors import TableError
from groundscope.statistics.corrections import holm
from groundscope.statistics.paired import cohens_dz, sign_flip_test
from groundscope.statistics.regression import mean, partial_r_squared, r_squared, slope
from groundscope.statistics.resampling import Interval, bootstrap, generator
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema


def _interval_columns(name: str, meaning: str) -> tuple[Column, Column]:
    return (
        Column(f"{name}_low", pl.Float64(), f"lower end of the bootstrap interval (BCa, over words) of {meaning}"),
        Column(f"{name}_high", pl.Float64(), f"upper end of the bootstrap interval (BCa, over words) of {meaning}"),
    )


EVIDENCE = TableSchema(
    "evidence",
    "one direction at one checkpoint, over all words",
    (
        *CHECKPOINT_COLUMNS,
        Column("direction", pl.String(), "cue to target: env2lan, lan2env, or lan2lan"),
        Column("n_words", pl.Int64(), "words"),
        Column("match_nats", pl.Float64(), "mean surprisal with the word's own cue"),
        Column("mismatch_nats", pl.Float64(), "mean surprisal with other cues"),
        Column("gain_nats", pl.Float64(), "mean grounding information gain G"),
        *_interval_columns("gain", "mean G"),
        Column("effect_size", pl.Float64(), "Cohen's d_z: mean G over its standard deviation over words"),
        Column("test", pl.String(), "test behind p"),
        Column("p", pl.Float64(), "p value of mean G = 0"),
        Column("p_holm", pl.Float64(), "p after Holm's correction over the checkpoints of one model and seed"),
        Column("r2_log", pl.Float64(), "R^2 over words of G on log(1 + co-occurring chunks seen)"),
        *_interval_columns("r2_log", "r2_log"),
        Column("r2_raw", pl.Float64(), "R^2 over words of G on co-occurring chunks seen"),
        *_interval_columns("r2_raw", "r2_raw"),
        Column("slope_log", pl.Float64(), "nats of G per unit of log(1 + co-occurring chunks seen)"),
        *_interval_columns("slope_log", "slope_log"),
        Column(
            "r2_partial", pl.Float64(), "R^2 of G on the log count, log(1 + times seen in the target's channel) held"
        ),
        *_interval_columns("r2_partial", "r2_partial"),
        Column("counted_gain_nats", pl.Float64(), "mean G of a predictor that only counts which words shared a chunk"),
        Column("r2_counted", pl.Float64(), "R^2 over words of G on the G of that predictor"),
        *_interval_columns("r2_counted", "r2_counted"),
    ),
)
TEST = "sign-flip over words, two-sided"


class Course(NamedTuple):
    """One model, seed and direction: words by checkpoints, in the order of the steps."""

    step: Int[np.ndarray, " step"]
    words: list[str]
    match: Float[np.ndarray, "word step"]
    mismatch: Float[np.ndarray, "word step"]
    chunks: Float[np.ndarray, "word step"]
    frequency: Float[np.ndarray, "word step"]
    counted: Float[np.ndarray, "word step"]

    @property
    def gain(self) -> Float[np.ndarray, "word step"]:
        """G in nats."""
        return self.mismatch - self.match

    def gain_at_the_end(self, words: Sequence[str]) -> Float[np.ndarray, " word"]:
        """G of these words at the last checkpoint, in nats."""
        place = {word: at for at, word in enumerate(self.words)}
        return self.gain[[place[word] for word in words], -1]

    @property
    def log_count(self) -> Float[np.ndarray, "word step"]:
        """log(1 + co-occurring chunks seen)."""
        return np.log1p(self.chunks)

    @property
    def log_frequency(self) -> Float[np.ndarray, "word step"]:
        """log(1 + times the target was seen)."""
        return np.log1p(self.frequency)

    def at(self, chosen: Bool[np.ndarray, " step"]) -> "Course":
        """Return the course at some of its steps."""
        return Course(self.step[chosen], self.words, *(part[:, chosen] for part in self[2:]))

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Course":
        """Lay out the rows of table ``gain`` of one model, seed and direction.

        Words without a gain (no mismatched scene) are left out. Raises TableError when a word is missing at a step.
        """
        rows = rows.filter(pl.col("gain_nats").is_not_null()).sort("word", "step")
        steps, words = rows["step"].unique().sort(), rows["word"].unique().sort()
        if rows.height != len(steps) * len(words):
            raise TableError(
                f"Table 'gain' has {rows.height} rows for {len(words)} words at {len(steps)} checkpoints: some are "
                "missing or double. Run the study again."
            )
        target = "seen_env" if rows["direction"][0] == "lan2env" else "seen_lan"
        columns = ("match_nats", "mismatch_nats", "cooccurring_chunks", target, "counted_gain_nats")
        arrays = [
            rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy().reshape(len(words), len(steps)) for name in columns
        ]
        return cls(steps.to_numpy(), words.to_list(), *arrays)


def evidence(gain: pl.DataFrame, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return table `EVIDENCE` from table ``gain``, for every model, seed and direction in it.

    Words are the units: intervals resample words (BCa), and the test flips the signs of words' gains, so that contexts
    count as fixed (`crossed` in statistics treats both as random). Holm's correction is over the checkpoints of one
    model, seed and direction. All courses share the same resamples, so their differences are not noise of resampling.
    """
    frames = []
    for (arch, model_seed, direction), rows in gain.group_by("arch", "seed", "direction", maintain_order=True):
        course = Course.of(rows)
        found = _evidence_of(course, resamples, confidence, seed)
        who = rows.select("step", "tokens_seen", "weight_hash").unique("step").sort("step")
        frames.append(
            pl.concat([who, found], how="horizontal").with_columns(
                pl.lit(arch).alias("arch"),
                pl.lit(model_seed).alias("seed"),
                pl.lit(direction).alias("direction"),
            )
        )
    if not frames:
        return EVIDENCE.frame([])
    return EVIDENCE.conform(pl.concat(frames)).with_columns(pl.selectors.float().fill_nan(None))


def _evidence_of(course: Course, resamples: int, confidence: float, seed: int) -> pl.DataFrame:
    gain, n = course.gain, len(course.words)
    p = sign_flip_test(
        gain, alternative="two-sided", draws=max(resamples, 10_000), rng=generator(seed, "sign flips over words")
    )
    statistics = {
        "gain": mean(gain),
        "r2_log": r_squared(course.log_count, gain),
        "r2_raw": r_squared(course.chunks, gain),
        "slope_log": slope(course.log_count, gain),
        "r2_counted": r_squared(course.counted, gain),
        "r2_partial": partial_r_squared(course.log_count, gain, course.log_frequency),
    }
    columns: dict[str, object] = {
        "n_words": np.full(len(course.step), n),
        "match_nats": course.match.mean(axis=0),
        "mismatch_nats": course.mismatch.mean(axis=0),
        "counted_gain_nats": course.counted.mean(axis=0),
        "effect_size": cohens_dz(gain),
        "test": [TEST] * len(course.step),
        "p": p,
        "p_holm": holm(p),
    }
    for name, statistic in statistics.items():
        rng = generator(seed, "resamples of words")
        found: Interval = bootstrap(statistic, n, draws=resamples, rng=rng, level=confidence)
        columns["gain_nats" if name == "gain" else name] = found.estimate
        columns[f"{name}_low"], columns[f"{name}_high"] = found.low, found.high
    return pl.DataFrame(columns)
