"""Plain in-context retrieval: models trained with one form for scene and speech, beside those that have two."""

import numpy as np
import polars as pl

from groundscope.behaviour.generalisation import REPLICATION, courses_by_model, replication
from groundscope.statistics.average import average
from groundscope.tables import Column, TableSchema

ONE_FORM = TableSchema(
    "one_form",
    "one architecture trained with one form for scene and speech, at one checkpoint, seeds as replicates",
    (
        *REPLICATION.columns,
        Column("two_forms_nats", pl.Float64(), "mean G of the study's own models, which have two forms, at this step"),
        Column("difference_nats", pl.Float64(), "mean over words and seeds of G with one form less G with two"),
        Column("difference_low", pl.Float64(), "lower end of its interval over words and seeds"),
        Column("difference_high", pl.Float64(), "upper end of its interval"),
        Column("difference_p", pl.Float64(), "p value of no difference, two-sided"),
    ),
)


def one_form_table(
    one: pl.DataFrame, two: pl.DataFrame, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> pl.DataFrame:
    """Return table `ONE_FORM` from tables ``gain`` of the models with one form and of those with ``two``.

    Both are compared word by word and seed by seed, at the steps, seeds and words that both have; the rest is left out.
    Counts of co-occurring chunks are those of the corpus with two forms: the chunks are the same.
    """
    keys = ["arch", "seed", "step", "direction", "word"]
    one = one.join(two, on=keys, how="semi")
    two = two.join(one, on=keys, how="semi")
    if one.is_empty():
        return ONE_FORM.frame([])
    of_two = courses_by_model(two)
    compared = []
    for (arch, direction), courses in courses_by_model(one).items():
        with_one, with_two = (np.stack([c.gain for c in part], axis=1) for part in (courses, of_two[arch, direction]))
        found = average(with_one - with_two, confidence, seed)
        compared.append(
            pl.DataFrame(
                {
                    "arch": arch,
                    "direction": direction,
                    "step": courses[0].step,
                    "two_forms_nats": with_two.mean(axis=(0, 1)),
                    "difference_nats": found.estimate,
                    "difference_low": found.low,
                    "difference_high": found.high,
                    "difference_p": found.p,
                }
            )
        )
    measured = replication(one, resamples=resamples, confidence=confidence, seed=seed)
    table = measured.join(pl.concat(compared), on=["arch", "direction", "step"], maintain_order="left")
    return ONE_FORM.conform(table).with_columns(pl.selectors.float().fill_nan(None))
