"""The paper's claims on models trained without co-occurrence: a sentence per model, its estimate, interval, verdict."""

import polars as pl

from groundscope.behaviour.dose_tests import FALLS, LEFT, SPECIFIC
from groundscope.corpus.arms import Arm
from groundscope.progress import counted
from groundscope.report.findings import FORWARD, NEGLIGIBLE_NATS, Claim, Statement, Verdict, size_rule, sized
from groundscope.report.numbers import (
    decimal,
    digits_for,
    holm_p,
    listing,
    nats,
    nats_within,
    percent,
    whole,
)
from groundscope.report.seeds import at_the_end

OTHER_TEXT = {Arm.RANDOM: "as much text of all kinds", Arm.CONTROL: "as much other text"}
"""The controls of a removal, the better matched one first."""


def ablation_claims(
    dose: pl.DataFrame | None, negligible: float = NEGLIGIBLE_NATS, tested: pl.DataFrame | None = None
) -> list[Claim]:
    """The claims, from tables ``dose`` and ``dose_conclusions``; less than ``negligible`` nats does not matter."""
    return [
        Claim(
            "A gain is left when all co-occurring chunks are removed",
            "Holds when, with every co-occurring chunk removed from training, G at the last checkpoint is above zero: "
            "words and seeds both count as samples, p is corrected over models and directions (Holm) and below .05. "
            f"{size_rule(negligible)}",
            _without_cooccurrence(dose, tested, negligible),
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


def _without_cooccurrence(
    dose: pl.DataFrame | None, tested: pl.DataFrame | None, negligible: float
) -> tuple[Statement, ...]:
    if dose is None:
        return (Statement("", Verdict.UNTESTED, "Not measured in this run: it trains no model without co-occurrence."),)
    last = at_the_end(dose).filter(direction=FORWARD)
    most = last.filter(arm=Arm.COOCCURRING.value).sort("arch", "share_removed").group_by("arch").tail(1).sort("arch")
    if most.is_empty():
        return (Statement("", Verdict.UNTESTED, "No model was trained with those chunks removed, only other arms."),)
    asked = {"claim": LEFT, "arm": Arm.COOCCURRING.value, "direction": FORWARD}
    left = {} if tested is None else {row["arch"]: row for row in tested.filter(**asked).to_dicts()}
    return tuple(
        _left(left.get(row["arch"]), row, last.filter(arch=row["arch"]), negligible) for row in most.to_dicts()
    )


def _left(found: dict | None, most: dict, doses: pl.DataFrame, negligible: float) -> Statement:
    """What the test ``found``, beside G at the last checkpoint of each dose; ``most`` is the largest of them."""
    arch = str(most["arch"])
    if found is None:
        removed = f"At most {percent(most['share_removed'], 0)} of the co-occurring chunks were removed."
        unknown = "Table dose_conclusions, which would hold its test, is missing or lacks it."
        return Statement(arch, Verdict.UNTESTED, removed if most["share_removed"] < 1 else unknown)
    others = [
        f"{nats(beside['gain_nats'][0])} with {words}"
        for words, beside in (
            ("scene words exchanged in them", doses.filter(arm=Arm.SEPARATED.value, share_removed=1.0)),
            ("as much text of all kinds removed", doses.filter(arm=Arm.RANDOM.value, share_removed=1.0)),
            ("as much other text removed", doses.filter(arm=Arm.CONTROL.value, share_removed=1.0)),
            ("nothing removed", doses.filter(arm=Arm.COOCCURRING.value, share_removed=0.0)),
        )
        if beside.height
    ]
    against = f", against {listing(others)}" if others else ""
    estimate = (found["estimate_nats"], found["ci_low"], found["ci_high"])
    gain = f"G is {nats_within(*estimate)} without any co-occurring chunk{against}"
    support = f"{counted(found['n_seeds'], 'seed')}, {counted(found['n_words'], 'word')}; {holm_p(found['p_holm'])}"
    sentence = f"At step {whole(most['step'])} {gain} ({support})."
    fails = Verdict.UNCLEAR if found["estimate_nats"] > 0 else Verdict.FAILS
    signs = f"G {decimal(found['estimate_nats'], digits_for(*estimate))}"
    statement = Statement(arch, Verdict.HOLDS if found["holds"] else fails, sentence, signs)
    return sized(statement, estimate[1:], negligible, "G")


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
