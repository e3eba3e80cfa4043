"""The paper's claims on mechanism as tested statements, over words and seeds at the last checkpoint.

"Gather heads do not matter" is a claim of *no* effect. Not finding one does not show it, so it is tested for
equivalence: two one-sided tests (Schuirmann 1987) against a change that counts as negligible.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.stats import t as student

from groundscope.mechanism.causal import CONTROLS
from groundscope.mechanism.criteria import Role
from groundscope.statistics.average import average
from groundscope.statistics.corrections import LEVEL, holm_within
from groundscope.statistics.crossed import crossed_mean
from groundscope.tables import Column, TableSchema

MIDDLE = (0.25, 0.75)
"""Layers whose centre lies within this part of the depth are the middle ones: 4 to 9 of 12, as the paper counts."""

_COLUMNS = (
    Column("arch", pl.String(), "name of the model in the study file"),
    Column("claim", pl.String(), "what is claimed"),
    Column("against", pl.String(), "kind of control heads, or of lens"),
    Column("unit", pl.String(), "of estimate and interval"),
    Column("step", pl.Int64(), "checkpoint that the claim is about"),
    Column("estimate", pl.Float64(), "mean over words and seeds; null: not to be had, see note"),
    Column("ci_low", pl.Float64(), "lower end of its interval"),
    Column("ci_high", pl.Float64(), "upper end of its interval"),
    Column("mean_count", pl.Float64(), "heads found per prompt; null where the claim is not about heads"),
    Column("n_seeds", pl.Int64(), "seeds"),
    Column("n_words", pl.Int64(), "words"),
    Column("test", pl.String(), "test behind p; null where the claim is a description"),
    Column("p", pl.Float64(), "p value"),
    Column("p_holm", pl.Float64(), "p after Holm's correction over architectures and controls"),
    Column("holds", pl.Boolean(), "whether p_holm is below .05 and the estimate has the claimed sign"),
    Column("note", pl.String(), "what stands in the way, in words; empty: nothing"),
)
MECHANISM_CONCLUSIONS = TableSchema("mechanism_conclusions", "one claim about the heads of one architecture", _COLUMNS)
LENS_CONCLUSIONS = TableSchema("lens_conclusions", "one claim about the layers of one architecture", _COLUMNS)

WHERE_FOUND = "difference_where_found_nats"
"""Column of the mean difference over the prompts that have heads of the role."""

_NO_ROW = dict.fromkeys((column.name for column in _COLUMNS), None)


def mechanism_conclusions(
    causal: pl.DataFrame,
    causal_words: pl.DataFrame,
    *,
    negligible_nats: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Return table `MECHANISM_CONCLUSIONS` from tables ``causal`` and ``causal_words``.

    Per architecture and kind of control, at the last checkpoint that all seeds have:

    - ``aggregate_heads_matter``, ``gather_heads_matter``: without the heads found the target is less likely than
      without control heads; estimate in nats, two-sided test.
    - ``aggregate_heads_carry_grounding``: G falls more without them than without control heads.
    - ``gather_heads_do_not_matter``: the change is smaller than ``negligible_nats`` either way.

    What is said of gather heads is about the prompts that have some: averaged over all prompts, as the paper's columns
    are, heads that are rare enough would never matter. A model without heads, or in which too few were found, gets rows
    without an estimate and a note that says so.
    """
    where_found = pl.col("difference_nats") * pl.col("n_prompts") / pl.col("n_with_heads")
    causal_words = causal_words.with_columns(pl.when(pl.col("n_with_heads") > 0).then(where_found).alias(WHERE_FOUND))
    rows = []
    for (arch,), of_arch in causal.group_by("arch", maintain_order=True):
        step = _last_common_step(of_arch)
        for role in Role:
            effects = of_arch.filter(pl.col("step") == step, pl.col("role") == role.value)
            for control in CONTROLS:
                who = {"arch": str(arch), "against": control, "unit": "nats", "step": step}
                here = causal_words.filter(
                    pl.col("arch") == arch,
                    pl.col("step") == step,
                    pl.col("role") == role.value,
                    pl.col("control") == control,
                )
                note = "" if here["mean_count"].sum() else str(effects["effect"][0])
                rows += _claims_of(role, here, note, who, negligible_nats, confidence, seed)
    return _judged(rows, MECHANISM_CONCLUSIONS)


def lens_conclusions(lens: pl.DataFrame, *, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return table `LENS_CONCLUSIONS` from table ``lens``.

    Read through a lens, each layer adds something to G (to the match's likelihood, where there are no mismatches). Per
    architecture and kind of lens, at the last checkpoint that all seeds have:

    - ``middle_layers_add_most``: a middle layer (`MIDDLE`) adds more than one before or behind; nats per layer.
    - ``largest_step``: the layer that adds most, counted from 0. A description.
    """
    rows = []
    for (arch, kind), of_lens in lens.group_by("arch", "lens", maintain_order=True):
        step = _last_common_step(of_lens)
        who = {"arch": str(arch), "against": str(kind), "step": step, "note": ""}
        added, words, seeds = _added_by_layer(of_lens.filter(pl.col("step") == step))
        who |= {"n_words": len(words), "n_seeds": len(seeds)}
        centre = (np.arange(added.shape[-1]) + 0.5) / added.shape[-1]
        middle = (centre > MIDDLE[0]) & (centre < MIDDLE[1])
        mean = added.mean(axis=(0, 1))
        rows.append(_NO_ROW | who | {"claim": "largest_step", "unit": "layer", "estimate": float(mean.argmax())})
        claim = who | {"claim": "middle_layers_add_most", "unit": "nats per layer"}
        if middle.all() or not middle.any():
            rows.append(_NO_ROW | claim | {"note": f"{len(centre)} layers have no middle and ends"})
            continue
        if len(words) < 2:
            rows.append(_NO_ROW | claim | {"note": "one word is too few to be tested"})
            continue
        difference = added[..., middle].mean(axis=-1) - added[..., ~middle].mean(axis=-1)
        rows.append(_NO_ROW | claim | _difference(difference, confidence, seed))
    return _judged(rows, LENS_CONCLUSIONS)


def _claims_of(
    role: Role,
    words: pl.DataFrame,
    note: str,
    who: dict[str, Any],
    negligible: float,
    confidence: float,
    seed: int,
) -> list[dict[str, Any]]:
    change, loss_of_gain = f"{role.value}_heads_matter", f"{role.value}_heads_carry_grounding"
    none = f"{role.value}_heads_do_not_matter"
    changed = "difference_nats" if role is Role.AGGREGATE else WHERE_FOUND
    tests: dict[str, tuple[str, Callable[[np.ndarray], dict[str, Any]]]] = {
        change: (changed, lambda values: _difference(values, confidence, seed)),
        loss_of_gain: ("gain_difference_nats", lambda values: _difference(-values, confidence, seed)),
        none: (WHERE_FOUND, lambda values: _equivalence(values, negligible, confidence)),
    }
    tests.pop(none if role is Role.AGGREGATE else loss_of_gain)
    rows = []
    for claim, (column, test) in tests.items():
        row = _NO_ROW | who | {"claim": claim, "note": note, "mean_count": words["mean_count"].mean()}
        if not note and column == "gain_difference_nats" and words[column].null_count():
            row["note"] = "the prompts have no mismatches (mechanism.prompts.mismatches)"
        if not row["note"]:
            values = _words_by_seeds(words, column)
            if len(values) < 2:
                some, of = words["n_with_heads"].sum(), words["n_prompts"].sum()
                row["note"] = f"{some} of {of} prompts have {role.value} heads, of too few words to be tested"
            else:
                row |= {"n_words": values.shape[0], "n_seeds": values.shape[1]} | test(values)
        rows.append(row)
    return rows


def _difference(values: Float[np.ndarray, "word seed"], confidence: float, seed: int) -> dict[str, Any]:
    """Whether the mean is above zero."""
    found = average(values, confidence, seed)
    estimate, low, high, p = (float(value) for value in (found.estimate, found.low, found.high, found.p))
    return {"estimate": estimate, "ci_low": low, "ci_high": high, "test": found.test, "p": p}


def _equivalence(values: Float[np.ndarray, "word seed"], negligible: float, confidence: float) -> dict[str, Any]:
    """Whether the mean lies between -negligible and negligible."""
    mean, error, degrees, test = _mean(values)
    half = student.ppf((1 + confidence) / 2, degrees) * error
    p = 0.0 if error == 0 and abs(mean) < negligible else 1.0
    if error > 0:
        p = float(
            max(student.sf((negligible - mean) / error, degrees), student.sf((negligible + mean) / error, degrees))
        )
    test = f"two one-sided tests against {negligible:g} nats, {test}"
    return {"estimate": mean, "ci_low": mean - half, "ci_high": mean + half, "test": test, "p": p}


def _mean(values: Float[np.ndarray, "word seed"]) -> tuple[float, float, float, str]:
    """Mean, standard error, degrees of freedom, and what they are made of."""
    n_words, n_seeds = values.shape
    if n_seeds > 1:
        found = crossed_mean(values, 0.95)
        degrees = float(found.degrees)
        error = float(found.high - found.mean) / float(student.ppf(0.975, degrees))
        return float(found.mean), error, degrees, "crossed random effects of words and seeds"
    only = values[:, 0]
    return float(only.mean()), float(only.std(ddof=1) / np.sqrt(n_words)), float(n_words - 1), "t over words"


def _words_by_seeds(table: pl.DataFrame, column: str) -> Float[np.ndarray, "word seed"]:
    """A complete table: words that not every seed with values has are left out."""
    wide = (
        table.drop_nulls(column)
        .pivot(on="seed", index="word", values=column, sort_columns=True)
        .drop_nulls()
        .sort("word")
    )
    return wide.drop("word").to_numpy()


def _added_by_layer(lens: pl.DataFrame) -> tuple[Float[np.ndarray, "word seed layer"], list[str], list[int]]:
    """How many nats each layer adds to G as a lens reads it; a layer's step leads from the state before it."""
    wide = lens.pivot(on="condition", index=["word", "seed", "layer"], values="surprisal_nats").sort(
        "word", "seed", "layer"
    )
    reading = wide["mismatch"] - wide["match"] if "mismatch" in wide.columns else -wide["match"]
    words, seeds = wide["word"].unique().sort().to_list(), wide["seed"].unique().sort().to_list()
    return np.diff(reading.to_numpy().reshape(len(words), len(seeds), -1), axis=-1), words, seeds


def _last_common_step(table: pl.DataFrame) -> int:
    """The last step that every seed has."""
    seeds = table["seed"].n_unique()
    common = table.group_by("step").agg(pl.col("seed").n_unique()).filter(pl.col("seed") == seeds)
    return int(common["step"].max() if len(common) else table["step"].max())  # type: ignore[arg-type]


def _judged(rows: list[dict[str, Any]], schema: TableSchema) -> pl.DataFrame:
    if not rows:
        return schema.frame([])
    table = schema.frame(rows).with_columns(pl.selectors.float().fill_nan(None))
    corrected = holm_within(table["p"].fill_null(np.nan).to_numpy(), table["claim"].to_numpy())
    table = table.with_columns(pl.Series("p_holm", corrected).fill_nan(None))
    sign = pl.col("claim").str.ends_with("do_not_matter") | (pl.col("estimate") > 0)
    supported = (pl.col("p_holm") < LEVEL) & sign
    return table.with_columns(pl.when(pl.col("p_holm").is_not_null()).then(supported).alias("holds"))
