"""From one row per seed to one row per model: means, and how far the seeds reach.

The band around a mean is the widest reach of the seeds: the lowest of their lower and the highest of their upper
bounds. It shows what was seen with each seed. It is no interval for other seeds: of few, that can be the wider one.
"""

from collections.abc import Sequence

import polars as pl

from groundscope.statistics.corrections import LEVEL


def evidence_over_seeds(evidence: pl.DataFrame) -> pl.DataFrame:
    """Join the seeds of table ``evidence``: one row per (arch, direction, step), sorted by step.

    Means keep their names; ``*_low`` and ``*_high`` are the outermost bounds; ``p_holm`` is the largest of the seeds;
    ``n_significant`` counts the seeds in which the match advantages are positive and significant. Steps that not all
    seeds of a model have reached are left out, so that a curve never jumps because a seed is missing.
    """
    finite = evidence.with_columns(pl.selectors.float().fill_nan(None))
    r_squared = ("r2_log", "r2_raw", "r2_partial", "r2_counted")
    means = ("match_nats", "mismatch_nats", "gain_nats", "counted_gain_nats", "effect_size", *r_squared)
    reaches = ("gain", *r_squared)
    grouped = finite.group_by("arch", "direction", "step").agg(
        pl.col("tokens_seen").max(),
        pl.len().alias("n_seeds"),
        pl.col("n_words").max(),
        *(pl.col(name).mean() for name in means),
        *(pl.col(f"{name}_low").min() for name in reaches),
        *(pl.col(f"{name}_high").max() for name in reaches),
        *(pl.col(name).min().alias(f"{name}_seed_low") for name in ("match_nats", "mismatch_nats")),
        *(pl.col(name).max().alias(f"{name}_seed_high") for name in ("match_nats", "mismatch_nats")),
        pl.col("p_holm").max(),
        ((pl.col("p_holm") < LEVEL) & (pl.col("gain_nats") > 0)).sum().alias("n_significant"),
    )
    return _complete(grouped)


def loss_over_seeds(loss: pl.DataFrame, unit: int, points: int = 240) -> pl.DataFrame:
    """Thin table ``loss`` to at most ``points`` steps per model: means over bins of steps, then over seeds.

    Bins are even in log(1 + step / unit), as the axis of steps is. Columns: arch, step (the bin's last), tokens_seen,
    loss_nats, loss_low, loss_high (reach of the seeds), n_seeds.
    """
    finite = loss.with_columns(pl.col("loss_nats").fill_nan(None))
    position = (1 + pl.col("step") / unit).log()
    binned = finite.with_columns((position / position.max().over("arch") * points).floor().alias("bin"))
    per_seed = binned.group_by("arch", "seed", "bin").agg(
        pl.col("step", "tokens_seen").max(), pl.col("loss_nats").mean()
    )
    joined = per_seed.group_by("arch", "bin").agg(
        pl.col("step", "tokens_seen").max(),
        pl.col("loss_nats").mean(),
        pl.col("loss_nats").min().alias("loss_low"),
        pl.col("loss_nats").max().alias("loss_high"),
        pl.len().alias("n_seeds"),
    )
    return _complete(joined.drop("bin"), by=("arch",))


def at_the_end(rows: pl.DataFrame, by: Sequence[str] = ("arch",)) -> pl.DataFrame:
    """The rows of the last checkpoint: of each model, or of each group ``by``."""
    return rows.filter(pl.col("step") == pl.col("step").max().over(by))


def different_courses(rows: pl.DataFrame, column: str) -> list[pl.DataFrame]:
    """One model's rows for each different course of ``column``; models that saw the same data share the longest."""
    of_models = rows.drop_nulls(column).partition_by("arch", maintain_order=True)
    courses: list[tuple[set[tuple[int, float]], pl.DataFrame]] = []
    for of_model in sorted(of_models, key=len, reverse=True):
        course = set(of_model.select("step", pl.col(column).round(4)).iter_rows())
        if not any(course <= longer for longer, _ in courses):
            courses.append((course, of_model))
    return [of_model for _, of_model in courses]


def unfinished(evidence: pl.DataFrame) -> list[tuple[str, int, int, int]]:
    """Seeds that stop before their model's others: (arch, seed, last step, last step of the model)."""
    last = evidence.group_by("arch", "seed").agg(pl.col("step").max()).sort("arch", "seed")
    furthest = dict(last.group_by("arch").agg(pl.col("step").max()).iter_rows())
    return [(arch, seed, step, furthest[arch]) for arch, seed, step in last.iter_rows() if step < furthest[arch]]


def _complete(frame: pl.DataFrame, by: tuple[str, ...] = ("arch", "direction")) -> pl.DataFrame:
    everyone = pl.col("n_seeds") == pl.col("n_seeds").max().over("arch")
    return frame.filter(everyone).sort(*by, "step")
