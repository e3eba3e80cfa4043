"""The paper's claims on models trained without co-occurrence: a sentence per model, its estimate, interval, verdict."""

import numpy as np
import polars as pl

from groundscope.behaviour.dose_tests import FALLS, SPECIFIC
from groundscope.corpus.arms import Arm
from groundscope.report.findings import FORWARD, NEGLIGIBLE_NATS, Claim, Statement, Verdict, size_rule, sized
from groundscope.report.numbers import (
    decimal,
    digits_for,
    holm_p,
    listing,
    nats,
    nats_within,
    p_value,
    percent,
    plural,
    whole,
)
from groundscope.report.seeds import at_the_end
from groundscope.statistics.corrections import LEVEL, holm

OTHER_TEXT = {Arm.RANDOM: "as much text of all kinds", Arm.CONTROL: "as much other text"}
"""The controls of a removal, the better matched one first."""


def ablation_claims(
    dose: pl.DataFrame | None, negligible: float = NEGLIGIBLE_NATS, tested: pl.DataFrame | None = None
) -> list[Claim]:
    """The claims, from tables ``dose`` and ``dose_conclusions``; less than ``negligible`` nats does not matter."""
    return [
        Claim(
            "A gain is left when all co-occurring chunks are removed",
            "Holds when, with every co-occurring chunk removed from training, the interval of G at the last checkpoint "
            "for other words and other seeds lies above zero, and p is below .05 after correction over models (Holm). "
            f"{size_rule(negligible)}",
            _without_cooccurrence(dose, negligible),
        ),
        Claim(
            "The gain grows with co-occurrence",
            "Holds when G falls with the share of co-occurring chunks removed, and by more than with as much text of "
            "all kinds removed (where that was not run, of other kinds): slopes of each word in each seed, both "
            "samples, with p below .05 after correction over models and directions (Holm). "
            f"{size_rule(negligible, 'of the difference')}",
            _with_cooccurrence(tested, negligible),
        ),
    ]


def _without_cooccurrence(dose: pl.DataFrame | None, negligible: float) -> tuple[Statement, ...]:
    if dose is None:
        return (Statement("", Verdict.UNTESTED, "Not measured in this run: it trains no model without co-occurrence."),)
    last = at_the_end(dose).filter(direction=FORWARD)
    most = last.filter(arm=Arm.COOCCURRING.value).sort("arch", "share_removed").group_by("arch").tail(1).sort("arch")
    if most.is_empty():
        return (Statement("", Verdict.UNTESTED, "No model was trained with those chunks removed, only other arms."),)
    p = holm(most["p"].fill_null(np.nan).to_numpy())
    statements = []
    for row, corrected in zip(most.to_dicts(), p, strict=True):
        doses = last.filter(pl.col("arch") == row["arch"])
        statement = _statement(row, doses, None if np.isnan(corrected) else float(corrected))
        statements.append(sized(statement, (row["gain_low"], row["gain_high"]), negligible, "G"))
    return tuple(statements)


def _statement(row: dict, doses: pl.DataFrame, p: float | None) -> Statement:
    arch = str(row["arch"])
    if row["share_removed"] < 1:
        removed = percent(row["share_removed"], 0)
        return Statement(arch, Verdict.UNTESTED, f"At most {removed} of the co-occurring chunks were removed.")
    estimate = (row["gain_nats"], row["gain_low"], row["gain_high"])
    support = f"{plural(row['n_seeds'], 'seed')}, {plural(row['n_words'], 'word')}"
    support += f"; {p_value(p)}" if p is not None else ""
    others = [
        f"{nats(found['gain_nats'][0])} with {words}"
        for words, found in (
            ("scene words exchanged in them", doses.filter(arm=Arm.SEPARATED.value, share_removed=1.0)),
            ("as much text of all kinds removed", doses.filter(arm=Arm.RANDOM.value, share_removed=1.0)),
            ("as much other text removed", doses.filter(arm=Arm.CONTROL.value, share_removed=1.0)),
            ("nothing removed", doses.filter(arm=Arm.COOCCURRING.value, share_removed=0.0)),
        )
        if found.height
    ]
    against = f", against {listing(others)}" if others else ""
    gain = f"G is {nats_within(*estimate)} without any co-occurring chunk{against}"
    sentence = f"At step {whole(row['step'])} {gain} ({support})."
    return Statement(arch, _verdict(row, p), sentence, f"G {decimal(row['gain_nats'], digits_for(*estimate))}")


def _with_cooccurrence(tested: pl.DataFrame | None, negligible: float) -> tuple[Statement, ...]:
    forward = None if tested is None else tested.filter(direction=FORWARD).sort("arch")
    if forward is None or forward.is_empty():
        return (Statement("", Verdict.UNTESTED, "Not tested in this run: it needs two doses, none removed and some."),)
    return tuple(_slopes(rows, negligible) for rows in forward.partition_by("arch", maintain_order=True))


def _slopes(tests: pl.DataFrame, negligible: float) -> Statement:
    arch = str(tests["arch"][0])
    found = {(row["claim"], row["arm"], row["control"]): row for row in tests.iter_rows(named=True)}
    falls = found.get((FALLS, Arm.COOCCURRING, None))
    control = next((arm for arm in OTHER_TEXT if (SPECIFIC, Arm.COOCCURRING, arm) in found), None)
    if falls is None or control is None:
        missing = "the chunks removed" if falls is None else "as much other text removed"
        return Statement(arch, Verdict.UNTESTED, f"It needs two doses, none removed and some, with {missing}.")
    specific = found[SPECIFIC, Arm.COOCCURRING, control]
    said = (
        f"Over their whole removal G changes by {_change(falls)}, by {_change(specific)} beyond what "
        f"{OTHER_TEXT[control]} does."
    )
    exchanged = found.get((FALLS, Arm.SEPARATED, None))
    if exchanged is not None:
        said += f" With scene words exchanged in the same chunks, and none removed, it changes by {_change(exchanged)}."
    if falls["holds"] and specific["holds"]:
        verdict = Verdict.HOLDS
    else:
        fails = falls["estimate_nats"] >= 0 or specific["estimate_nats"] >= 0
        verdict = Verdict.FAILS if fails else Verdict.UNCLEAR
    signs = f"ΔG {decimal(falls['estimate_nats'], digits_for(falls['estimate_nats']))}"
    loss = -specific["ci_high"], -specific["ci_low"]
    return sized(Statement(arch, verdict, said, signs), loss, negligible, "the difference")


def _change(row: dict) -> str:
    return f"{nats_within(row['estimate_nats'], row['ci_low'], row['ci_high'])} ({holm_p(row['p_holm'])})"


def _verdict(row: dict, p: float | None) -> Verdict:
    if row["gain_low"] > 0 and (p is None or p < LEVEL):
        return Verdict.HOLDS
    return Verdict.UNCLEAR if row["gain_nats"] > 0 else Verdict.FAILS
