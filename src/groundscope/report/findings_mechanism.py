"""The paper's claims on mechanism: a sentence per model, with estimate, interval and verdict."""

from collections.abc import Callable
from functools import partial

import polars as pl

from groundscope.mechanism.causal import CONTROLS
from groundscope.progress import counted
from groundscope.report.findings import NEGLIGIBLE_NATS, Claim, Reach, Statement, Verdict, size_rule, sized
from groundscope.report.numbers import decimal, digits_for, holm_p, interval, listing, nats, nats_within, whole

Row = dict


def mechanism_claims(
    heads: pl.DataFrame | None, layers: pl.DataFrame | None, negligible: float = NEGLIGIBLE_NATS
) -> list[Claim]:
    """Every claim of the paper on mechanism, from tables ``mechanism_conclusions`` and ``lens_conclusions``.

    An effect of removing heads that is below ``negligible`` nats does not matter.
    """
    size = size_rule(negligible)
    return [
        Claim(
            "Aggregate heads matter: without them the word is lost",
            "Holds when, at the last checkpoint, removing each prompt’s aggregate heads raises the word’s surprisal "
            "more than removing as many random heads without the property, drawn from the whole model and drawn from "
            f"the same layers; p is corrected over models and controls (Holm) and below .05 in both. {size}",
            _each(heads, partial(_aggregates, negligible)),
        ),
        Claim(
            "What is lost with them is grounding",
            "Holds when G itself, and not only the word’s likelihood, falls more without the aggregate heads than "
            f"without either kind of control heads. {size}",
            _each(heads, partial(_grounding, negligible)),
        ),
        Claim(
            "Gather heads do not matter",
            "A claim of no effect, about the prompts that have gather heads: holds when the change is shown to be "
            f"smaller than {nats(negligible)} (two one-sided tests, both controls), fails when surprisal rises "
            "significantly and by more than that, and is unclear otherwise. A model in which hardly a prompt has a "
            "gather head does not test it.",
            _each(heads, partial(_gathers, negligible)),
        ),
        Claim(
            "Grounding concentrates in the middle layers",
            "Holds when, read through a lens at the last checkpoint, a layer in the middle half of the depth adds more "
            "to G than a layer in the quarters before and behind it.",
            _each(layers, _middle),
        ),
    ]


def _each(
    table: pl.DataFrame | None, judge: Callable[[str, dict[tuple[str, str], Row]], Statement]
) -> tuple[Statement, ...]:
    if table is None or table.is_empty():
        return (Statement("", Verdict.UNTESTED, "Not measured in this run."),)
    return tuple(
        judge(str(arch), {(row["claim"], row["against"]): row for row in rows.iter_rows(named=True)})
        for (arch,), rows in table.group_by("arch", maintain_order=True)
    )


def _aggregates(negligible: float, arch: str, rows: dict[tuple[str, str], Row]) -> Statement:
    found = [rows["aggregate_heads_matter", control] for control in CONTROLS]
    if note := _note(found):
        return Statement(arch, Verdict.UNTESTED, note)
    against = listing([f"{_value(row)} than without {_heads(row)}" for row in found])
    at = f"At step {whole(found[0]['step'])}"
    sentence = f"{at}, surprisal is higher without aggregate heads by {against} {_support(found)}."
    statement = Statement(arch, _verdict(found), sentence, f"{_signed(found[0])} nats")
    return sized(statement, _widest(found), negligible, "both")


def _grounding(negligible: float, arch: str, rows: dict[tuple[str, str], Row]) -> Statement:
    found = [rows["aggregate_heads_carry_grounding", control] for control in CONTROLS]
    if note := _note(found):
        return Statement(arch, Verdict.UNTESTED, note)
    against = listing([f"{_value(row)} than without {_heads(row)}" for row in found])
    sentence = f"At step {whole(found[0]['step'])}, G is lower without aggregate heads by {against} {_support(found)}."
    statement = Statement(arch, _verdict(found), sentence, f"G {_signed(found[0], -1)}")
    return sized(statement, _widest(found), negligible, "both")


def _gathers(negligible: float, arch: str, rows: dict[tuple[str, str], Row]) -> Statement:
    found = [rows["gather_heads_do_not_matter", control] for control in CONTROLS]
    rises = [rows["gather_heads_matter", control] for control in CONTROLS]
    if note := _note(found):
        return Statement(arch, Verdict.UNTESTED, note)
    against = listing([f"{_value(row)} against {_heads(row)}" for row in found])
    sentence = (
        f"At step {whole(found[0]['step'])}, in the prompts that have gather heads, removing them changes surprisal by "
        f"{against} {_support(found)}."
    )
    verdict = Verdict.HOLDS if all(row["holds"] for row in found) else Verdict.UNCLEAR
    if all(row["holds"] and row["estimate"] > negligible for row in rises):
        verdict = Verdict.FAILS
    return Statement(arch, verdict, sentence, f"{_signed(found[0])} nats")


def _middle(arch: str, rows: dict[tuple[str, str], Row]) -> Statement:
    kind = next(kind for kind in ("tuned", "linear", "logit") if ("middle_layers_add_most", kind) in rows)
    row, largest = rows["middle_layers_add_most", kind], rows["largest_step", kind]
    most = f"the layer that adds most is L{whole(largest['estimate'])}"
    if row["note"]:
        return Statement(arch, Verdict.UNTESTED, f"{row['note'].capitalize()}; {most}.")
    more, size = ("more" if row["estimate"] >= 0 else "less"), abs(row["estimate"])
    digits = digits_for(row["estimate"], row["ci_low"], row["ci_high"])
    sentence = (
        f"At step {whole(row['step'])}, a middle layer adds {nats(size, digits)} {more} to G than an outer one "
        f"{interval(row['ci_low'], row['ci_high'], digits)} ({holm_p(row['p_holm'])}); {most} ({kind} lens)."
    )
    verdict = Verdict.HOLDS if row["holds"] else Verdict.UNCLEAR if row["estimate"] > 0 else Verdict.FAILS
    return Statement(arch, verdict, sentence, f"most in L{whole(largest['estimate'])}")


def _verdict(found: list[Row]) -> Verdict:
    if all(row["holds"] for row in found):
        return Verdict.HOLDS
    return Verdict.UNCLEAR if any(row["estimate"] > 0 for row in found) else Verdict.FAILS


def _widest(found: list[Row]) -> Reach:
    """From the lowest to the highest end of the intervals; None where there is none."""
    lows, highs = ([row[end] for row in found if row[end] is not None] for end in ("ci_low", "ci_high"))
    return min(lows, default=None), max(highs, default=None)


def _note(found: list[Row]) -> str:
    note = next((row["note"] for row in found if row["note"]), "")
    return f"{note[0].upper()}{note[1:]}." if note else ""


def _value(row: Row) -> str:
    return nats_within(row["estimate"], row["ci_low"], row["ci_high"])


def _signed(row: Row, sign: int = 1) -> str:
    value = sign * row["estimate"]
    return f"{'+' if value > 0 else ''}{decimal(value, digits_for(value))}"


def _heads(row: Row) -> str:
    return "random heads" if row["against"] == CONTROLS[0] else "random heads of the same layers"


def _support(found: list[Row]) -> str:
    p = max((row["p_holm"] for row in found if row["p_holm"] is not None), default=None)
    heads = f"{decimal(found[0]['mean_count'])} such heads per prompt"
    return f"({heads}, {counted(found[0]['n_seeds'], 'seed')}, {counted(found[0]['n_words'], 'word')}; {holm_p(p)})"
