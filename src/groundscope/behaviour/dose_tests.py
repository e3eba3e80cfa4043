"""Does grounding fall with the co-occurrence that is removed, and by more than the loss of text explains?"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from groundscope.behaviour.evidence import Course
from groundscope.behaviour.generalisation import courses_by_seed
from groundscope.corpus.ablation import Ablation
from groundscope.corpus.arms import Arm
from groundscope.statistics.average import average
from groundscope.statistics.corrections import LEVEL, holm_within
from groundscope.tables import Column, TableSchema

LEFT, FALLS, SPECIFIC = "gain_is_left", "gain_falls_with_removal", "gain_falls_more_than_with_other_text"

DOSE_CONCLUSIONS = TableSchema(
    "dose_conclusions",
    "one claim about one architecture trained on ablated corpora, at the last checkpoint",
    (
        Column("arch", pl.String(), "name of the model in the study file"),
        Column("direction", pl.String(), "cue to target"),
        Column("claim", pl.String(), f"{LEFT}, {FALLS}, or {SPECIFIC}"),
        Column("arm", pl.String(), "cooccurring: those chunks removed; separated: their scene words exchanged"),
        Column("control", pl.String(), "what it is held against: random, control, or null"),
        Column("n_doses", pl.Int64(), "shares removed that the claim rests on, none included"),
        Column("estimate_nats", pl.Float64(), "G without any co-occurring chunk; change of G over their whole removal"),
        Column("ci_low", pl.Float64(), "lower end of its interval over words and seeds"),
        Column("ci_high", pl.Float64(), "upper end of its interval"),
        Column("n_seeds", pl.Int64(), "seeds"),
        Column("n_words", pl.Int64(), "words"),
        Column("test", pl.String(), "test behind p"),
        Column("p", pl.Float64(), "p value of zero, two-sided"),
        Column("p_holm", pl.Float64(), "p after Holm's correction over architectures and directions"),
        Column("holds", pl.Boolean(), "whether p_holm is below .05 and the estimate has the claimed sign"),
    ),
)

_Gains = Mapping[tuple[str, float], Float[np.ndarray, "word seed"]]
_Claim = tuple[str, str, str | None]  # the claim, its arm, its control


def dose_conclusions(
    parts: Iterable[tuple[Ablation, pl.DataFrame]], *, confidence: float = 0.95, seed: int = 0
) -> pl.DataFrame:
    """Return table `DOSE_CONCLUSIONS` from what was removed and table ``gain`` of the models trained on what was left.

    - ``gain_is_left``: with all co-occurring chunks removed, G is above zero.
    - ``gain_falls_with_removal``: the least-squares slope of G on the share removed, of each word in each seed, is
      below zero on average.
    - ``gain_falls_more_than_with_other_text``: that slope is below the one of a control, which lost as much text.

    The first two are asked of the separated arm as well, the third of the removal alone, against each control.

    Words and seeds are paired over doses and tested as `average` tests a mean. Seeds that some dose lacks are left out;
    a claim whose doses are not there has no row.
    """
    found: dict[tuple[str, str], dict[tuple[str, float], dict[int, Course]]] = {}
    for removed, gain in parts:
        for key, of_seed in courses_by_seed(gain).items():
            found.setdefault(key, {})[removed.arm.value, removed.share] = of_seed
    rows = []
    for (arch, direction), doses in sorted(found.items()):
        gains = _at_the_end(doses)
        for (claim, arm, control), (values, n_doses) in _claims(gains).items():
            tested = average(values, confidence, seed)
            rows.append(
                {
                    "arch": arch,
                    "direction": direction,
                    "claim": claim,
                    "arm": arm,
                    "control": control,
                    "n_doses": n_doses,
                    "estimate_nats": float(tested.estimate),
                    "ci_low": float(tested.low),
                    "ci_high": float(tested.high),
                    "n_seeds": values.shape[1],
                    "n_words": values.shape[0],
                    "test": tested.test,
                    "p": float(tested.p),
                }
            )
    return _judged(rows)


def _at_the_end(doses: Mapping[tuple[str, float], Mapping[int, Course]]) -> _Gains:
    """G at the last checkpoint of every dose, on the words and seeds that all doses have."""
    seeds = sorted(set.intersection(*(set(of_seed) for of_seed in doses.values())))
    courses = [of_seed[number] for of_seed in doses.values() for number in seeds]
    if not courses:
        return {}
    words = sorted(set.intersection(*(set(course.words) for course in courses)))
    return {
        dose: np.stack([of_seed[number].gain_at_the_end(words) for number in seeds], axis=1)
        for dose, of_seed in doses.items()
        if len(words) > 1
    }


def _claims(gains: _Gains) -> dict[_Claim, tuple[Float[np.ndarray, "word seed"], int]]:
    """What each claim that can be tested is about, word by word and seed by seed, and how many doses are behind it."""
    shares = {arm: [share for name, share in sorted(gains) if name == arm.value] for arm in Arm}
    claims: dict[_Claim, tuple[Float[np.ndarray, "word seed"], int]] = {}
    for arm in filter(lambda arm: arm.takes_cooccurrence, Arm):
        if 1.0 in shares[arm]:
            claims[LEFT, arm.value, None] = (gains[arm.value, 1.0], 1)
        if len(shares[arm]) > 1:
            claims[FALLS, arm.value, None] = (_slope(gains, arm, shares[arm]), len(shares[arm]))
    removal = Arm.COOCCURRING
    for control in (Arm.RANDOM, Arm.CONTROL):
        both = [share for share in shares[removal] if share in shares[control]]
        if len(both) > 1:
            beyond = _slope(gains, removal, both) - _slope(gains, control, both)
            claims[SPECIFIC, removal.value, control.value] = (beyond, len(both))
    return claims


def _slope(gains: _Gains, arm: Arm, shares: list[float]) -> Float[np.ndarray, "word seed"]:
    x = np.array(shares) - np.mean(shares)
    y = np.stack([gains[arm.value, share] for share in shares], axis=-1)
    return y @ x / (x @ x)


def _judged(rows: list[dict[str, Any]]) -> pl.DataFrame:
    if not rows:
        return DOSE_CONCLUSIONS.frame([])
    table = pl.DataFrame(rows, schema_overrides={"control": pl.String})
    asked = table.select(pl.concat_str("claim", "arm", pl.col("control").fill_null(""), separator=" ")).to_series()
    corrected = holm_within(table["p"].to_numpy(), asked.to_numpy())
    claimed = pl.when(pl.col("claim") == LEFT).then(pl.col("estimate_nats") > 0).otherwise(pl.col("estimate_nats") < 0)
    judged = table.with_columns(pl.Series("p_holm", corrected), pl.selectors.float().fill_nan(None)).with_columns(
        pl.col("p_holm").fill_nan(None)
    )
    return DOSE_CONCLUSIONS.conform(judged.with_columns(((pl.col("p_holm") < LEVEL) & claimed).alias("holds")))
