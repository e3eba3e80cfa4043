"""The paper's claim on models trained without co-occurrence: a sentence per model, with estimate, interval, verdict."""

import numpy as np
import polars as pl

from groundscope.corpus.ablation import Arm
from groundscope.report.findings import FORWARD, Claim, Statement, Verdict
from groundscope.report.numbers import decimal, digits_for, interval, nats, p_value, percent, plural, whole
from groundscope.report.seeds import ALPHA
from groundscope.statistics.corrections import holm


def ablation_claims(dose: pl.DataFrame | None) -> list[Claim]:
    """The one claim, from table ``dose``."""
    return [
        Claim(
            "A gain is left when all co-occurring chunks are removed",
            "Holds when, with every co-occurring chunk removed from training, the interval of G at the last checkpoint "
            "for other words and other seeds lies above zero, and, with several seeds, p is below .05 after "
            "correction over models (Holm).",
            _without_cooccurrence(dose),
        )
    ]


def _without_cooccurrence(dose: pl.DataFrame | None) -> tuple[Statement, ...]:
    if dose is None:
        return (Statement("", Verdict.UNTESTED, "Not measured in this run: it trains no model without co-occurrence."),)
    last = dose.filter((pl.col("step") == pl.max("step").over("arch")) & (pl.col("direction") == FORWARD))
    most = last.filter(arm=Arm.COOCCURRING.value).sort("arch", "share_removed").group_by("arch").tail(1).sort("arch")
    if most.is_empty():
        return (Statement("", Verdict.UNTESTED, "Only the control, which lost other text, was trained."),)
    p = holm(most["p"].fill_null(np.nan).to_numpy())
    return tuple(
        _statement(row, last.filter(pl.col("arch") == row["arch"]), None if np.isnan(corrected) else float(corrected))
        for row, corrected in zip(most.to_dicts(), p, strict=True)
    )


def _statement(row: dict, doses: pl.DataFrame, p: float | None) -> Statement:
    arch = str(row["arch"])
    if row["share_removed"] < 1:
        removed = percent(row["share_removed"], 0)
        return Statement(arch, Verdict.UNTESTED, f"At most {removed} of the co-occurring chunks were removed.")
    digits = digits_for(row["gain_nats"], row["gain_low"], row["gain_high"])
    gain = f"{nats(row['gain_nats'], digits)} {interval(row['gain_low'], row['gain_high'], digits)}"
    support = f"{plural(row['n_seeds'], 'seed')}, {plural(row['n_words'], 'word')}"
    support += f"; {p_value(p)}" if p is not None else ""
    others = [
        f"{nats(found['gain_nats'][0])} with {words}"
        for words, found in (
            ("as much other text removed", doses.filter(arm=Arm.CONTROL.value, share_removed=1.0)),
            ("nothing removed", doses.filter(arm=Arm.COOCCURRING.value, share_removed=0.0)),
        )
        if found.height
    ]
    against = f", against {' and '.join(others)}" if others else ""
    sentence = f"At step {whole(row['step'])} G is {gain} without any co-occurring chunk{against} ({support})."
    return Statement(arch, _verdict(row, p), sentence, f"G {decimal(row['gain_nats'], digits)}")


def _verdict(row: dict, p: float | None) -> Verdict:
    if row["gain_low"] > 0 and (p is None or p < ALPHA):
        return Verdict.HOLDS
    return Verdict.UNCLEAR if row["gain_nats"] > 0 else Verdict.FAILS
