"""One architecture against another: the same words and the same seeds, so differences are paired."""

from itertools import combinations

import numpy as np
import polars as pl

from groundscope.behaviour.generalisation import courses_by_seed
from groundscope.statistics.average import average
from groundscope.statistics.corrections import holm_within
from groundscope.tables import Column, TableSchema

CONTRASTS = TableSchema(
    "contrasts",
    "two architectures at their last checkpoints, in one direction",
    (
        Column("arch", pl.String(), "name of the model in the study file"),
        Column("other", pl.String(), "name of the model that it is compared with"),
        Column("direction", pl.String(), "cue to target"),
        Column("step", pl.Int64(), "last checkpoint of the one, common to its seeds"),
        Column("other_step", pl.Int64(), "last checkpoint of the other"),
        Column("n_words", pl.Int64(), "words that both were measured on"),
        Column("n_seeds", pl.Int64(), "seeds that both were trained with"),
        Column("difference_nats", pl.Float64(), "mean over words and seeds of G of the one less G of the other"),
        Column("difference_low", pl.Float64(), "lower end of its interval"),
        Column("difference_high", pl.Float64(), "upper end of its interval"),
        Column("test", pl.String(), "test behind p"),
        Column("p", pl.Float64(), "p value of no difference"),
        Column("p_holm", pl.Float64(), "p after Holm's correction over the pairs of one direction"),
    ),
)


def contrasts(gain: pl.DataFrame, *, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return table `CONTRASTS` from table ``gain``: every pair of architectures, each at its last checkpoint.

    Two intervals may overlap although the difference is beyond doubt, for words that are hard for one model are hard
    for all. So G is subtracted word by word and seed by seed (a seed fixes the data order of every architecture), and
    the differences are tested as `average` tests a mean. Pairs without a seed or two words in common are left out.
    """
    courses = courses_by_seed(gain)
    rows = []
    for one, other in combinations(courses, 2):
        if one[1] != other[1]:
            continue
        left, right = courses[one], courses[other]
        both = [number for number in left if number in right]
        first, second = (next(iter(of_seed.values())) for of_seed in (left, right))
        words = sorted(set(first.words) & set(second.words))
        if not both or len(words) < 2:
            continue
        difference = [left[number].gain_at_the_end(words) - right[number].gain_at_the_end(words) for number in both]
        found = average(np.stack(difference, axis=1), confidence, seed)
        rows.append(
            {
                "arch": one[0],
                "other": other[0],
                "direction": one[1],
                "step": int(first.step[-1]),
                "other_step": int(second.step[-1]),
                "n_words": len(words),
                "n_seeds": len(both),
                "difference_nats": float(found.estimate),
                "difference_low": float(found.low),
                "difference_high": float(found.high),
                "test": found.test,
                "p": float(found.p),
                "p_holm": None,
            }
        )
    if not rows:
        return CONTRASTS.frame([])
    table = CONTRASTS.frame(rows)
    corrected = holm_within(table["p"].to_numpy(), table["direction"].to_numpy())
    return table.with_columns(pl.Series("p_holm", corrected)).with_columns(pl.selectors.float().fill_nan(None))
