"""That removing a role's heads has no effect at any checkpoint of a published table: a test at each, one verdict.

At each checkpoint the tests are those of the run's own page (`groundscope.mechanism.conclusions`): whether there is a
change, and whether it is smaller than negligible. A claim about all checkpoints holds where the second is shown at each
(an intersection-union test, Berger 1982, which needs no correction), and is refuted where the first is shown at any
after Holm's correction over checkpoints and kinds of control, unless the change there is shown to be negligible. Where
not all seeds have words with such heads, neither is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from groundscope.mechanism.conclusions import mechanism_conclusions
from groundscope.reproduction.results import Measured
from groundscope.statistics.corrections import LEVEL, holm


@dataclass(frozen=True, slots=True)
class AtCheckpoint:
    """What was tested at one checkpoint; ``change`` is None where that could not be, for the reason ``untested``."""

    change: Measured | None
    untested: str
    negligible: bool
    """Whether the change is shown to be smaller than negligible."""
    significant: bool
    """Whether there is a change, either way, after Holm's correction over all checkpoints and kinds of control."""


def at_checkpoints(
    causal: pl.DataFrame, causal_words: pl.DataFrame, role: str, against: str, steps: Sequence[int], **options: Any
) -> dict[int, AtCheckpoint]:
    """Test the claim at each of ``steps``; ``options`` are those of `mechanism_conclusions`."""
    tables = [
        mechanism_conclusions(causal.filter(step=step), causal_words.filter(step=step), **options)
        for step in dict.fromkeys(steps)
    ]
    if not tables:
        return {}
    whole = pl.concat(tables)
    some, none = (whole.filter(claim=f"{role}_heads_{claim}") for claim in ("matter", "do_not_matter"))
    p = holm(some["p"].fill_null(np.nan).to_numpy())
    some = some.with_columns(pl.Series("p_holm", p)).filter(against=against)
    rows = zip(some.to_dicts(), none.filter(against=against).to_dicts(), strict=True)
    seeds = causal["seed"].n_unique()
    return {row["step"]: _at(row, equal, seeds) for row, equal in rows}


def verdict(tested: Sequence[AtCheckpoint | None]) -> bool | None:
    """True: no effect is shown at all; False: an effect at any; None: neither, or one is lacking."""
    if any(one and one.significant and not one.negligible for one in tested):
        return False
    return True if tested and all(one and one.negligible for one in tested) else None


def _at(some: dict[str, Any], none: dict[str, Any], seeds: int) -> AtCheckpoint:
    if none["estimate"] is None:
        return AtCheckpoint(None, f"step {none['step']}: {none['note']}", negligible=False, significant=False)
    few = none["n_seeds"] < seeds
    negligible, change = f"p = {none['p_holm']:.2g} ({none['test'].split(',')[0]})", f"p = {some['p_holm']:.2g} (Holm)"
    note = f"{none['n_words']} words have any; smaller than negligible: {negligible}; any change: {change}"
    if few:
        note = f"decides nothing: {none['n_seeds']} of {seeds} seeds have any"
    return AtCheckpoint(
        Measured(none["estimate"], none["ci_low"], none["ci_high"], none["step"], none["n_seeds"], note),
        untested="",
        negligible=bool(none["holds"]) and not few,
        significant=some["p_holm"] < LEVEL and not few,
    )
