"""What a run found: each claim of the paper as sentences with estimate, interval and verdict.

A verdict is reached from the tables alone, by a rule that stands beside the claim for the reader to judge. Whatever the
tables do not decide is "unclear"; whatever they do not hold is "not tested".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from groundscope.behaviour.prompts import Direction
from groundscope.report.numbers import (
    FIXED,
    compact,
    decimal,
    interval,
    listing,
    nats,
    p_value,
    plural,
    share,
    share_interval,
    whole,
)

FORWARD, REVERSE = Direction.ENV2LAN.value, Direction.LAN2ENV.value
FEWEST_WORDS = 10  # a regression over fewer words says nothing


class Verdict(StrEnum):
    """What the tables say about a claim."""

    HOLDS = "holds"
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


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper, the rule that decides it, and what was found."""

    title: str
    rule: str
    statements: tuple[Statement, ...]

    def of(self, arch: str) -> Statement | None:
        """The statement about one model."""
        return next((statement for statement in self.statements if statement.arch == arch), None)


def claims(evidence: pl.DataFrame | None, recurrent: Sequence[str] = ()) -> list[Claim]:
    """Every claim of the paper on behaviour, in its order; ``evidence`` as `seeds.evidence_over_seeds` returns it.

    ``recurrent`` names the models that are the paper's recurrent control.
    """
    return [
        Claim(
            "The scene helps to predict the word",
            "Holds when, at the last checkpoint, the match advantage G is positive and significant (paired test over "
            "words, Holm-corrected over checkpoints, p < .05) in every seed.",
            _each(evidence, FORWARD, _advantage),
        ),
        Claim(
            "The advantage emerges in training",
            "Holds when G is not significantly positive in any seed before training (step 0) and is in every seed at "
            "the last checkpoint.",
            _each(evidence, FORWARD, _emergence),
        ),
        Claim(
            "Co-occurrence alone does not explain it: R² rises, then falls, while G keeps growing",
            "Holds when R² peaks between the first and the last checkpoint, its interval at the peak lies wholly above "
            "that at the end, and the interval of G at the end lies wholly above that at the peak of R². The paper "
            "finds this for Transformer and Mamba-2; for the LSTM it finds an R² that only rises. A peak is the "
            "largest of many noisy values, so it lies somewhat too high.",
            _each(evidence, FORWARD, _cooccurrence),
        ),
        Claim(
            "The recurrent control gains less",
            "Holds when the interval of G at the last checkpoint of a recurrent model lies wholly below that of each "
            "other model.",
            _recurrent(evidence, recurrent),
        ),
        Claim(
            "In reverse, speech helps to predict the scene’s word",
            "Holds when, with speech as context and the scene’s word predicted, G is positive and significant at the "
            "last checkpoint in every seed.",
            _each(evidence, REVERSE, _reverse),
        ),
    ]


def untested() -> tuple[str, ...]:
    """The paper's further claims, on which the tables of behaviour are silent."""
    return (
        "a gap is left when all co-occurring chunks are removed from training",
        "grounding concentrates in the middle layers",
        "single attention heads carry the scene’s word to the prediction, and removing them removes the advantage",
    )


Judge = Callable[[pl.DataFrame], tuple[Verdict, str, str]]


def _each(evidence: pl.DataFrame | None, direction: str, judge: Judge) -> tuple[Statement, ...]:
    """Let ``judge`` decide for each model; one statement "not tested" where no model was measured."""
    statements = []
    if evidence is not None:
        measured = evidence.filter(direction=direction)
        for (arch,), rows in measured.group_by("arch", maintain_order=True):
            statements.append(Statement(str(arch), *judge(rows)))
    return tuple(statements) or (Statement("", Verdict.UNTESTED, "Not measured in this run."),)


def _advantage(rows: pl.DataFrame) -> tuple[Verdict, str, str]:
    end = _row(rows, -1)
    found = f"At step {whole(end['step'])} {_effect(end, 'scene', 'word')} ({_support(end)})."
    return _significance(end), found, f"G {decimal(end['gain_nats'])}"


def _emergence(rows: pl.DataFrame) -> tuple[Verdict, str, str]:
    first, end = _row(rows, 0), _row(rows, -1)
    if first["step"] != 0:
        return Verdict.UNTESTED, f"The first checkpoint is step {whole(first['step'])}; training began before it.", ""
    if rows.height == 1:
        return Verdict.UNTESTED, "Step 0 is the only checkpoint.", ""
    start = f"Before training G is {nats(first['gain_nats'])} {interval(first['gain_low'], first['gain_high'])}"
    if first["n_significant"]:
        return Verdict.UNCLEAR, f"{start}, already significant{_in_seeds(first)}.", "at step 0"
    everywhere = rows["n_significant"] == rows["n_seeds"]
    if not everywhere.any():
        return _significance(end), f"{start}; at no checkpoint is it significant in every seed.", "never"
    onset = rows.filter(everywhere).row(0, named=True)
    lasting = rows.filter(everywhere.reverse().cum_min().reverse())
    at_onset = f"at step {whole(onset['step'])} ({compact(onset['tokens_seen'])} tokens)"
    found = f"{start}; it is first significant{_in_seeds(onset)} {at_onset}"
    signs = f"step {compact(onset['step'])}"
    if lasting.is_empty():
        return _significance(end), f"{found}, but at the end{_in_seeds(end, 'only ')}.", signs
    if lasting["step"][0] == onset["step"]:
        return Verdict.HOLDS, f"{found} and stays so.", signs
    return Verdict.HOLDS, f"{found}, and lastingly from step {whole(lasting['step'][0])}.", signs


def _cooccurrence(rows: pl.DataFrame) -> tuple[Verdict, str, str]:
    known = rows.drop_nulls("r2_log")
    if known.height < 3:
        return Verdict.UNTESTED, "A rise and a fall need at least three checkpoints with counts.", ""
    peak, end = known.row(known["r2_log"].arg_max() or 0, named=True), _row(known, -1)
    if end["n_words"] < FEWEST_WORDS:
        return Verdict.UNTESTED, f"{plural(end['n_words'], 'word')} are too few for a regression over words.", ""
    signs = f"R² {share(peak['r2_log'])} → {share(end['r2_log'])}"
    at_peak = f"R² (log count) is highest at step {whole(peak['step'])}, {_r2(peak)}"
    growth = f"G goes from {_gain(peak)} there to {_gain(end)} at the end"
    if peak["step"] == end["step"]:
        return Verdict.FAILS, f"{at_peak}, the last checkpoint: it has not fallen. G there is {_gain(end)}.", signs
    if peak["step"] == known["step"][0]:
        found = f"{at_peak}, the first checkpoint with counts: it has not risen. At the end it is {_r2(end)}; {growth}."
        return Verdict.FAILS, found, signs
    found = f"{at_peak}, and {_r2(end)} at step {whole(end['step'])}; {growth}"
    falls = _apart(end["r2_log_high"], peak["r2_log_low"])
    grows = _apart(peak["gain_high"], end["gain_low"])
    if falls and grows:
        return Verdict.HOLDS, f"{found}.", signs
    if _apart(end["gain_high"], peak["gain_low"]):
        return Verdict.FAILS, f"{found}: G falls too.", signs
    doubts = listing(
        [what for known_so, what in ((falls, "the fall of R²"), (grows, "the growth of G")) if not known_so]
    )
    return Verdict.UNCLEAR, f"{found}. Intervals overlap, which leaves {doubts} open.", signs


def _recurrent(evidence: pl.DataFrame | None, recurrent: Sequence[str]) -> tuple[Statement, ...]:
    ends = [] if evidence is None else list(_ends(evidence.filter(direction=FORWARD)))
    controls = [end for end in ends if end["arch"] in recurrent]
    others = [end for end in ends if end["arch"] not in recurrent]
    if not controls or not others:
        missing = "recurrent model" if not controls else "model that is not recurrent"
        return (Statement("", Verdict.UNTESTED, f"This run measured no {missing}."),)
    return tuple(_less(control, others) for control in controls)


def _less(control: dict, others: list[dict]) -> Statement:
    against = listing([f"{_gain(other)} in {other['arch']}" for other in others])
    if all(_apart(control["gain_high"], other["gain_low"]) for other in others):
        verdict = Verdict.HOLDS
    elif any(_apart(other["gain_high"], control["gain_low"]) for other in others):
        verdict = Verdict.FAILS
    else:
        verdict = Verdict.UNCLEAR
    found = f"G at the last checkpoint is {_gain(control)}, against {against}."
    return Statement(control["arch"], verdict, found, f"G {decimal(control['gain_nats'])}")


def _reverse(rows: pl.DataFrame) -> tuple[Verdict, str, str]:
    first, end = _row(rows, 0), _row(rows, -1)
    found = f"At step {whole(end['step'])} {_effect(end, 'speech', 'scene’s word')} ({_support(end)})."
    if rows.height > 1:
        before = f"{decimal(first['mismatch_nats'])} and {decimal(first['match_nats'])}"
        found += f" At step {whole(first['step'])} they were {before}."
    return _significance(end), found, f"G {decimal(end['gain_nats'])}"


def _effect(end: dict, cause: str, target: str) -> str:
    size, reach = nats(abs(end["gain_nats"])), interval(end["gain_low"], end["gain_high"])
    change = f"lowers the {target}’s surprisal by {size} {reach}"
    if end["gain_nats"] < 0:
        change = f"raises the {target}’s surprisal by {size} (G = {decimal(end['gain_nats'])} {reach})"
    return f"the matching {cause} {change}, from {decimal(end['mismatch_nats'])} to {decimal(end['match_nats'])}"


def _support(end: dict) -> str:
    """How much stands behind an estimate: seeds, words, effect size, test."""
    effect = f"d{FIXED}={FIXED}{decimal(end['effect_size'])}"
    sample = f"{plural(end['n_seeds'], 'seed')}, {plural(end['n_words'], 'word')}; {effect}"
    if end["n_significant"] == end["n_seeds"] or end["n_seeds"] == 1:
        return f"{sample}, {p_value(end['p_holm'])}{_in_seeds(end)}"
    return f"{sample}, significant{_in_seeds(end)}"


def _in_seeds(row: dict, only: str = "") -> str:
    """In which seeds an advantage is significant; nothing to say where there is one seed, and it is."""
    significant, seeds = row["n_significant"], row["n_seeds"]
    if seeds == 1:
        return "" if significant or not only else " not"
    if significant == seeds:
        return " in both seeds" if seeds == 2 else f" in all {seeds} seeds"
    return f" {only}in {significant} of {seeds} seeds" if significant else " in no seed"


def _significance(end: dict) -> Verdict:
    if end["n_significant"] == end["n_seeds"]:
        return Verdict.HOLDS
    return Verdict.UNCLEAR if end["n_significant"] else Verdict.FAILS


def _gain(row: dict) -> str:
    return f"{decimal(row['gain_nats'])} {interval(row['gain_low'], row['gain_high'])}"


def _r2(row: dict) -> str:
    return f"{share(row['r2_log'])} {share_interval(row['r2_log_low'], row['r2_log_high'])}"


def _apart(below: float | None, above: float | None) -> bool:
    """Whether one interval's upper bound lies below another's lower bound; unknown bounds never do."""
    return below is not None and above is not None and below < above


def _row(rows: pl.DataFrame, index: int) -> dict:
    return rows.row(index, named=True)


def _ends(rows: pl.DataFrame) -> Iterator[dict]:
    for _, line in rows.group_by("arch", maintain_order=True):
        yield _row(line, -1)
