"""What a run found: each claim of the paper as a sentence per model, with estimate, interval and verdict.

The tests are those of table ``conclusions``; a verdict follows from them by a rule that stands beside the claim. What
points the claimed way without being significant is "unclear"; what is smaller than anything that matters, significant
or not, is "negligible"; what the tables do not hold is "not tested".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import polars as pl

from groundscope.behaviour.prompts import Direction
from groundscope.progress import counted
from groundscope.report.numbers import (
    FIXED,
    MISSING,
    compact,
    decimal,
    digits_for,
    holm_p,
    interval,
    listing,
    nats,
    nats_within,
    share,
    share_interval,
    whole,
)
from groundscope.statistics.corrections import LEVEL

NEGLIGIBLE_NATS = 0.05
"""The smallest effect that matters, unless a study says otherwise: a word that becomes 5 % more likely."""
FORWARD, REVERSE = Direction.ENV2LAN.value, Direction.LAN2ENV.value


class Verdict(StrEnum):
    """What the tables say about a claim."""

    HOLDS = "holds"
    NEGLIGIBLE = "negligible"
    FAILS = "does not hold"
    UNCLEAR = "unclear"
    UNTESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Statement:
    """What was found for one model, in a sentence and in a few signs; ``arch`` is empty where nothing was tested."""

    arch: str
    verdict: Verdict
    sentence: str
    signs: str = ""


Reach = tuple[float | None, float | None]
"""An interval in nats, from its lower to its upper end."""


def sized(statement: Statement, reach: Reach, negligible: float, of: str) -> Statement:
    """Return a statement as negligible where it holds but its effect's interval ends below that, in nats.

    With enough words and seeds any difference is significant; whether it matters is another question. Nor is it
    unclear whether there is an effect that matters where the interval leaves no room for one on either side of zero.
    """
    low, high = reach
    if high is None or high >= negligible:
        return statement
    if statement.verdict is Verdict.HOLDS:
        where = f"lies below {nats(negligible)}"
    elif statement.verdict is Verdict.UNCLEAR and low is not None and low > -negligible:
        where = f"lies within {nats(negligible)} of zero"
    else:
        return statement
    sentence = f"{statement.sentence} Negligible: the whole interval of {of} {where}."
    return replace(statement, verdict=Verdict.NEGLIGIBLE, sentence=sentence)


def size_rule(negligible: float, of: str = "") -> str:
    """Say when an effect is negligible."""
    interval = f"the whole interval {of}".rstrip()
    return (
        f"Negligible when it holds, but {interval} lies below {nats(negligible)}, or when the whole interval "
        "lies that near to zero."
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper, the rule that decides it, and what was found."""

    title: str
    rule: str
    statements: tuple[Statement, ...]

    def of(self, arch: str) -> Statement | None:
        """The statement about one model."""
        return next((statement for statement in self.statements if statement.arch == arch), None)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is known about one model in one direction: its conclusions by name, its checkpoints by rising step."""

    arch: str
    conclusions: Mapping[str, dict]
    checkpoints: list[dict]
    negligible: float

    @property
    def first(self) -> dict:
        """The first checkpoint."""
        return self.checkpoints[0]

    @property
    def last(self) -> dict:
        """The last checkpoint."""
        return self.checkpoints[-1]


def claims(
    conclusions: pl.DataFrame | None,
    evidence: pl.DataFrame | None,
    recurrent: Sequence[str] = (),
    negligible: float = NEGLIGIBLE_NATS,
    contrasts: pl.DataFrame | None = None,
) -> list[Claim]:
    """Every claim of the paper on behaviour, in its order.

    ``conclusions`` is that table, ``evidence`` is joined by `seeds.evidence_over_seeds`; ``recurrent`` names the models
    that are the paper's recurrent control; an effect below ``negligible`` nats does not matter; ``contrasts`` is table
    ``contrasts``, without which no two models are compared.
    """
    forward, reverse = (_findings(conclusions, evidence, direction, negligible) for direction in (FORWARD, REVERSE))
    size = size_rule(negligible)
    return [
        Claim(
            "The scene helps to predict the word",
            "Holds when the mean match advantage G at the last checkpoint is above zero: words and seeds both count as "
            f"samples, p is corrected over models and directions (Holm) and below .05. {size}",
            _each(forward, _advantage),
        ),
        Claim(
            "The advantage emerges in training",
            "Holds when the interval of G contains zero before training and stays above it from some checkpoint on, "
            f"and when other samples of words and seeds reach such a checkpoint within training, too. {size}",
            _each(forward, _emergence),
        ),
        Claim(
            "Co-occurrence alone does not explain it: R² rises, then falls, while G keeps growing",
            "Holds when one test of rise, fall and growth, which pays for having searched all checkpoints for the "
            "peak, has p below .05 after correction over models and directions (Holm). R² is adjusted for the number "
            f"of words. {size} The paper finds this for Transformer and Mamba-2; for the LSTM it finds an R² that only "
            "rises.",
            _each(forward, _cooccurrence),
        ),
        Claim(
            "The recurrent control gains less",
            "Holds when G at the last checkpoint of each other model is above that of the recurrent one: on the same "
            "words and seeds, both samples, with p below .05 after correction over pairs of models (Holm). "
            f"{size_rule(negligible, 'of a difference')}",
            _recurrent(forward, recurrent, contrasts, negligible),
        ),
        Claim(
            "In reverse, speech helps to predict the scene’s word",
            "Holds when, with speech as context and the scene’s word predicted, G is above zero as in the first claim. "
            f"{size}",
            _each(reverse, _reverse),
        ),
    ]


def _findings(
    conclusions: pl.DataFrame | None, evidence: pl.DataFrame | None, direction: str, negligible: float
) -> list[Findings]:
    if conclusions is None or evidence is None:
        return []
    concluded = conclusions.filter(direction=direction).partition_by("arch", as_dict=True)
    return [
        Findings(
            str(arch),
            {row["claim"]: row for row in concluded[(arch,)].iter_rows(named=True)},
            rows.to_dicts(),
            negligible,
        )
        for (arch,), rows in evidence.filter(direction=direction).group_by("arch", maintain_order=True)
        if (arch,) in concluded
    ]


def _each(findings: list[Findings], judge: Callable[[Findings], Statement]) -> tuple[Statement, ...]:
    """Let ``judge`` decide for each model; one statement "not tested" where no model was measured."""
    return tuple(map(judge, findings)) or (Statement("", Verdict.UNTESTED, "Not measured in this run."),)


def _advantage(found: Findings) -> Statement:
    return _gained(found, "scene", "word")


def _reverse(found: Findings) -> Statement:
    statement = _gained(found, "speech", "scene’s word")
    first = found.first
    before = f"{decimal(first['mismatch_nats'])} and {decimal(first['match_nats'])}"
    sentence = f"{statement.sentence} At step {whole(first['step'])} they were {before}."
    return Statement(found.arch, statement.verdict, sentence, statement.signs)


def _gained(found: Findings, cause: str, target: str) -> Statement:
    final, last = found.conclusions["final_gain"], found.last
    gain = final["estimate"]
    if gain is None:
        return Statement(found.arch, Verdict.UNTESTED, f"{counted(final['n_words'], 'word')} are too few.")
    digits, reach = _digits(final), _reach(final)
    change = f"lowers the {target}’s surprisal by {nats(gain, digits)} {reach}"
    if gain < 0:
        change = f"raises the {target}’s surprisal by {nats(-gain, digits)} (G = {decimal(gain, digits)} {reach})"
    course = f"from {decimal(last['mismatch_nats'])} to {decimal(last['match_nats'])}"
    support = f"{counted(final['n_seeds'], 'seed')}, {counted(final['n_words'], 'word')}; {holm_p(final['p_holm'])}"
    verdict = Verdict.HOLDS if final["holds"] else Verdict.UNCLEAR if gain > 0 else Verdict.FAILS
    sentence = f"At step {whole(final['step'])} the matching {cause} {change}, {course} ({support})."
    statement = Statement(found.arch, verdict, sentence, f"G {decimal(gain, digits)}")
    return sized(statement, _ends(final), found.negligible, "G")


def _emergence(found: Findings) -> Statement:
    onset, first = found.conclusions["emergence_step"], found.first
    at_the_end = _ends(found.conclusions["final_gain"]), found.negligible, "G at the last checkpoint"
    step, low, high = onset["estimate"], onset["ci_low"], onset["ci_high"]
    before = f"At step {whole(first['step'])} G is {nats(first['gain_nats'])}"
    if step is None:
        verdict = Verdict.UNCLEAR if (found.last["gain_nats"] or 0) > 0 else Verdict.FAILS
        sentence = f"{before}; its interval is not above zero at the last checkpoint."
        return sized(Statement(found.arch, verdict, sentence, "not yet"), *at_the_end)
    if step == first["step"]:
        verdict = Verdict.FAILS if step == 0 else Verdict.UNTESTED
        sentence = f"{before}, and its interval lies above zero at every checkpoint from this first one on."
        return Statement(found.arch, verdict, sentence, f"step {compact(step)}")
    tokens = next(row["tokens_seen"] for row in found.checkpoints if row["step"] == step)
    reach = f"[{MISSING if low is None else whole(low)},{FIXED}{'beyond training' if high is None else whole(high)}]"
    sentence = f"{before}; it stays above zero from step {whole(step)} {reach} on ({compact(tokens)} tokens)."
    verdict = Verdict.UNCLEAR if high is None else Verdict.HOLDS
    statement = Statement(found.arch, verdict, sentence, f"step {compact(step)}")
    return sized(statement, *at_the_end)


def _cooccurrence(found: Findings) -> Statement:
    names = ("rises_then_falls_while_gain_grows", "r2_rise", "r2_fall", "gain_growth")
    whole_claim, rise, fall, growth = (found.conclusions[name] for name in names)
    if whole_claim["p"] is None:
        sentence = "A rise and a fall need words that differ in co-occurrence at three checkpoints or more."
        return Statement(found.arch, Verdict.UNTESTED, sentence)
    known = [row for row in found.checkpoints if row["r2_log"] is not None]
    highest, last = max(known, key=lambda row: row["r2_log"]), known[-1]
    signs = f"R² {share(highest['r2_log'])} → {share(last['r2_log'])}"
    peak = f"R² (log count) is highest at step {whole(highest['step'])}, {_r2(highest)}"
    if highest is last:
        return Statement(found.arch, Verdict.FAILS, f"{peak}, the last checkpoint: it has not fallen.", signs)
    course = f"Up to step {whole(whole_claim['step'])} it {_moved(rise, 'rises')}; after it, it {_moved(fall, 'falls')}"
    test = f"while G {_moved(growth, 'grows')} ({holm_p(whole_claim['p_holm'])})"
    sentence = f"{peak}, and {_r2(last)} at the end. {course} {test}."
    verdict = Verdict.HOLDS if whole_claim["holds"] else Verdict.UNCLEAR
    return sized(Statement(found.arch, verdict, sentence, signs), _ends(growth), found.negligible, "that growth")


def _recurrent(
    findings: list[Findings], recurrent: Sequence[str], contrasts: pl.DataFrame | None, negligible: float
) -> tuple[Statement, ...]:
    measured = [found for found in findings if found.conclusions["final_gain"]["estimate"] is not None]
    controls = [found for found in measured if found.arch in recurrent]
    others = [found for found in measured if found.arch not in recurrent]
    if not controls or not others:
        missing = "recurrent model" if not controls else "model that is not recurrent"
        return (Statement("", Verdict.UNTESTED, f"This run measured no {missing}."),)
    return tuple(_less(control, others, contrasts, negligible) for control in controls)


def _less(control: Findings, others: list[Findings], contrasts: pl.DataFrame | None, negligible: float) -> Statement:
    own = control.conclusions["final_gain"]
    signs = f"G {decimal(own['estimate'], _digits(own))}"
    pairs = [_more(contrasts, other.arch, control.arch) for other in others]
    compared = [pair for pair in pairs if pair is not None]
    gains = listing([f"{_final(other.conclusions['final_gain'])} in {other.arch}" for other in others])
    sentence = f"G at the last checkpoint is {_final(own)}, against {gains}."
    if len(compared) < len(others):
        alone = listing([other.arch for other, pair in zip(others, pairs, strict=True) if pair is None])
        return Statement(control.arch, Verdict.UNTESTED, f"{sentence} No common seed and words with {alone}.", signs)
    tests = listing(
        [
            f"{nats_within(more.estimate, more.low, more.high)} more in {other.arch} ({holm_p(more.p)})"
            for other, more in zip(others, compared, strict=True)
        ]
    )
    if all(more.estimate > 0 and more.p is not None and more.p < LEVEL for more in compared):
        verdict = Verdict.HOLDS
    else:
        verdict = Verdict.FAILS if any(more.estimate <= 0 for more in compared) else Verdict.UNCLEAR
    statement = Statement(control.arch, verdict, f"{sentence} Word by word and seed by seed it is {tests}.", signs)
    least = min(compared, key=lambda more: more.high)
    return sized(statement, (least.low, least.high), negligible, "a difference")


class _More(NamedTuple):
    """How much more one model gains than another, in nats, with interval and corrected p."""

    estimate: float
    low: float
    high: float
    p: float | None


def _more(contrasts: pl.DataFrame | None, arch: str, than: str) -> _More | None:
    """How much more ``arch`` gains than ``than``; the table has each pair once, in either order."""
    if contrasts is None:
        return None
    for row in contrasts.filter(direction=FORWARD).iter_rows(named=True):
        estimate, low, high = (row[f"difference_{part}"] for part in ("nats", "low", "high"))
        if (row["arch"], row["other"]) == (arch, than):
            return _More(estimate, low, high, row["p_holm"])
        if (row["arch"], row["other"]) == (than, arch):
            return _More(-estimate, -high, -low, row["p_holm"])
    return None


def _moved(change: dict, verb: str) -> str:
    if change["unit"] != "nats":
        return f"{verb} by {share(change['estimate'])} {share_interval(change['ci_low'], change['ci_high'])}"
    return f"{verb} by {nats_within(change['estimate'], change['ci_low'], change['ci_high'])}"


def _final(row: dict) -> str:
    return f"{decimal(row['estimate'], _digits(row))} {_reach(row)}"


def _ends(row: dict) -> Reach:
    return row["ci_low"], row["ci_high"]


def _reach(row: dict) -> str:
    return interval(row["ci_low"], row["ci_high"], _digits(row))


def _digits(row: dict) -> int:
    return digits_for(row["estimate"], row["ci_low"], row["ci_high"])


def _r2(row: dict) -> str:
    return f"{share(row['r2_log'])} {share_interval(row['r2_log_low'], row['r2_log_high'])}"
