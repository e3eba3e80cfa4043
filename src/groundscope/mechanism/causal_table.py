"""The causal test as a table: the paper's columns, and what a reader needs to believe them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from groundscope.mechanism.causal import CONTROLS, CausalOptions, CausalRuns
from groundscope.mechanism.criteria import Role
from groundscope.models.base import LanguageModel
from groundscope.statistics.corrections import holm
from groundscope.statistics.paired import Alternative, cohens_dz, sign_flip_test
from groundscope.statistics.regression import mean
from groundscope.statistics.resampling import bootstrap, generator
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

TEST_COLUMNS: tuple[Column, ...] = (
    Column("n_units", pl.Int64(), "observations of the test: words, or prompts where so chosen"),
    Column("difference_nats", pl.Float64(), "mean over units of the tested difference"),
    Column("ci_low_nats", pl.Float64(), "lower end of its bootstrap interval"),
    Column("ci_high_nats", pl.Float64(), "upper end of its bootstrap interval"),
    Column("effect_size_dz", pl.Float64(), "its mean over its standard deviation between units (Cohen's d_z)"),
    Column("p", pl.Float64(), "one-sided paired permutation test (sign flips)"),
    Column("p_holm", pl.Float64(), "p, adjusted over checkpoints by Holm; null until all checkpoints are there"),
)
CAUSAL = TableSchema(
    "causal",
    "one role at one checkpoint against one kind of control",
    (
        *CHECKPOINT_COLUMNS,
        Column("mixers", pl.String(), "what mixes positions. In mamba2 the width-4 convolution, the skip D x and the "
               "output gate bypass the matrix, and so the ablation"),
        Column("role", pl.String(), "aggregate or gather: the heads removed, found anew in each prompt"),
        Column("control", pl.String(), "random: as many heads without a role; layer-matched: as many per layer"),
        Column("ablation", pl.String(), "what stood in for the removed heads' outputs: zero, mean or resample"),
        Column("n_prompts", pl.Int64(), "prompts averaged over, with and without heads of the role"),
        Column("mean_count", pl.Float64(), "heads found per prompt"),
        Column("mean_layer", pl.Float64(), "mean layer of the heads found, counted from 0; null when none was"),
        Column("original_nats", pl.Float64(), "surprisal of the target, nothing removed"),
        Column("intervention_nats", pl.Float64(), "surprisal of the target without the heads found"),
        Column("control_nats", pl.Float64(), "surprisal of the target without the control heads, mean over draws"),
        Column("control_sd_nats", pl.Float64(), "standard deviation of the draws' means; null for a single draw"),
        Column("control_count", pl.Float64(), "control heads removed per prompt; fewer than mean_count where the model "
               "has too few heads without a role"),
        Column("control_elsewhere", pl.Float64(), "of these, how many were in other layers than the heads found"),
        *TEST_COLUMNS,
        Column("gain_original_nats", pl.Float64(), "grounding gain G (mismatch - match), nothing removed"),
        Column("gain_intervention_nats", pl.Float64(), "G without the heads found in the match"),
        Column("gain_control_nats", pl.Float64(), "G without the control heads, mean over draws"),
        Column("text_original_nats", pl.Float64(), "loss per token of ordinary text, nothing removed"),
        Column("text_intervention_nats", pl.Float64(), "loss of ordinary text without the heads found in prompts"),
        Column("text_control_nats", pl.Float64(), "loss of ordinary text without control heads"),
        Column("effect", pl.String(), "what the removal did to the logits, in words"),
    ),
)  # fmt: skip

CAUSAL_WORDS = TableSchema(
    "causal_words",
    "one word at one checkpoint: what is lost without a role's heads and without one kind of control",
    (
        *CHECKPOINT_COLUMNS,
        Column("role", pl.String(), "aggregate or gather: the heads removed, found anew in each prompt"),
        Column("control", pl.String(), "random: as many heads without a role; layer-matched: as many per layer"),
        Column("ablation", pl.String(), "what stood in for the removed heads' outputs: zero, mean or resample"),
        Column("word", pl.String(), "the target"),
        Column("n_prompts", pl.Int64(), "prompts averaged over"),
        Column("n_with_heads", pl.Int64(), "of these, prompts with heads of the role; the others' differences are 0"),
        Column("mean_count", pl.Float64(), "heads found per prompt"),
        Column("difference_nats", pl.Float64(), "surprisal without the heads found minus without control heads"),
        Column("gain_difference_nats", pl.Float64(), "G without the heads found minus G without control heads; null "
               "where there are no mismatches"),
    ),
)  # fmt: skip


def causal_table(
    model: LanguageModel,
    runs: CausalRuns,
    options: CausalOptions,
    identity: Mapping[str, Any],
    text: Float[np.ndarray, " set"] | None = None,
) -> pl.DataFrame:
    """Return table `CAUSAL` of one checkpoint; ``identity`` holds a value for each of `CHECKPOINT_COLUMNS`.

    The tested difference is intervention minus the mean of the control's draws, above zero. ``text`` comes from
    `text_losses`. A model without heads gets rows that say so.
    """
    rows = [
        {
            **identity,
            "mixers": mixer_names(model),
            "ablation": options.ablation.value,
            **_row(model, runs, role, control, options, text),
        }
        for role in runs.roles
        for control in CONTROLS
    ]
    return CAUSAL.frame(rows)


def causal_words_table(
    runs: CausalRuns, options: CausalOptions, identity: Mapping[str, Any], words: Mapping[int, str]
) -> pl.DataFrame:
    """Return table `CAUSAL_WORDS` of one checkpoint; ``words`` names the targets. Empty for a model without heads."""
    gain = runs.mismatch - runs.match
    frames = []
    for role in runs.roles:
        found = runs.found(role)
        for control in CONTROLS if len(runs.index) else ():
            drawn = runs.drawn(role, control)
            columns = {
                "word": [words[target] for target in runs.targets.tolist()],
                "n_with_heads": runs.removed[:, found].any(axis=1),
                "mean_count": runs.removed[:, found].sum(axis=1),
                "difference_nats": runs.match[:, found] - runs.match[:, drawn].mean(axis=1),
                "gain_difference_nats": gain[:, found] - gain[:, drawn].mean(axis=1),
            }
            about = {**identity, "role": role.value, "control": control, "ablation": options.ablation.value}
            per_word = (
                pl.DataFrame(columns)
                .group_by("word", maintain_order=True)
                .agg(
                    pl.len().alias("n_prompts"), pl.col("n_with_heads").sum(), pl.exclude("word", "n_with_heads").mean()
                )
            )
            frames.append(
                CAUSAL_WORDS.conform(
                    per_word.with_columns(pl.lit(value).alias(name) for name, value in about.items()).with_columns(
                        pl.col("gain_difference_nats").fill_nan(None)
                    )
                )
            )
    return pl.concat(frames) if frames else CAUSAL_WORDS.frame([])


def paired_test(
    differences: Float[np.ndarray, " prompt"],
    words: Int[np.ndarray, " prompt"],
    options: CausalOptions,
    purpose: str,
    alternative: Alternative = "greater",
) -> dict[str, float | int | None]:
    """Return `TEST_COLUMNS` for one difference per prompt, averaged first over the prompts of each word.

    With fewer than two units there is no spread: interval, effect size and p are None.
    """
    if options.unit == "word":
        _, unit = np.unique(words, return_inverse=True)
        differences = np.bincount(unit, differences) / np.bincount(unit)
    n = len(differences)
    result: dict[str, float | int | None] = dict.fromkeys(column.name for column in TEST_COLUMNS)
    result |= {"n_units": n, "difference_nats": float(differences.mean()) if n else None}
    if n < 2:
        return result
    column = differences[:, None]
    rng = generator(options.seed, purpose)
    interval = bootstrap(mean(column), n, draws=options.resamples, rng=rng, level=options.confidence)
    p = sign_flip_test(column, alternative=alternative, draws=options.permutations, rng=rng)
    result |= {"ci_low_nats": float(interval.low[0]), "ci_high_nats": float(interval.high[0])}
    return result | {"effect_size_dz": known(cohens_dz(column)[0]), "p": float(p[0])}


def adjust_over_checkpoints(frames: Sequence[pl.DataFrame], family: Sequence[str]) -> pl.DataFrame:
    """Join one-checkpoint tables and fill ``p_holm`` within each family: rows that share the columns ``family``.

    For `CAUSAL` that is arch, seed, role, control and ablation: what is left to vary is the checkpoint.
    """
    whole = pl.concat(frames)

    def adjust(group: pl.DataFrame) -> pl.DataFrame:
        p = group["p"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return group.with_columns(pl.Series("p_holm", holm(p), dtype=pl.Float64).fill_nan(None))

    return pl.concat([adjust(group) for group in whole.partition_by(list(family), maintain_order=True)])


CAUSAL_FAMILY = ("arch", "seed", "role", "control", "ablation")


def mixer_names(model: LanguageModel) -> str:
    """Return the kinds of mixers in the order of their first layer, e.g. ``mamba2 + attention``; "none" for an LSTM."""
    names = (type(mixer).__name__.lower().removesuffix("mixer") for mixer in model.mixers)
    return " + ".join(dict.fromkeys(names)) or "none"


def known(value: float) -> float | None:
    """A table's null instead of nan."""
    return None if np.isnan(value) else float(value)


def _row(
    model: LanguageModel,
    runs: CausalRuns,
    role: Role,
    control: str,
    options: CausalOptions,
    text: Float[np.ndarray, " set"] | None,
) -> dict[str, Any]:
    found, drawn = runs.found(role), runs.drawn(role, control)
    heads = runs.removed[:, found]
    where = runs.index.layers[np.nonzero(heads)[1]]
    control_match = runs.match[:, drawn].mean(axis=1)
    gain = runs.mismatch - runs.match
    draws = runs.match[:, drawn].mean(axis=0)
    nothing = not len(runs.index)
    row = {
        "role": role.value,
        "control": control,
        "n_prompts": len(heads),
        "mean_count": heads.sum() / max(1, len(heads)),
        "mean_layer": float(where.mean()) if len(where) else None,
        "original_nats": float(runs.match[:, 0].mean()),
        "intervention_nats": None if nothing else float(runs.match[:, found].mean()),
        "control_nats": None if nothing else float(control_match.mean()),
        "control_sd_nats": None if nothing or len(draws) < 2 else float(draws.std(ddof=1)),
        "control_count": float(runs.removed[:, drawn].sum(axis=2).mean()),
        "control_elsewhere": _elsewhere(runs, role, control),
        "gain_original_nats": known(gain[:, 0].mean()),
        "gain_intervention_nats": None if nothing else known(gain[:, found].mean()),
        "gain_control_nats": None if nothing else known(gain[:, drawn].mean()),
        "text_original_nats": None if text is None else float(text[0]),
        "text_intervention_nats": None if text is None or nothing else float(text[found]),
        "text_control_nats": None if text is None or nothing else float(text[drawn].mean()),
        "effect": _effect(model, runs, found),
    }
    if not heads.any():  # nothing was removed, so nothing is tested
        return row | dict.fromkeys(column.name for column in TEST_COLUMNS)
    return row | paired_test(
        runs.match[:, found] - control_match, runs.targets, options, f"causal test of {role} against {control}"
    )


def _elsewhere(runs: CausalRuns, role: Role, control: str) -> float:
    """Control heads per prompt beyond what each layer lost in the intervention."""
    excess = 0.0
    for layer in runs.index.chosen_layers:
        part = runs.index.of_layer(layer)
        taken = runs.removed[:, runs.drawn(role, control), part].sum(axis=2)
        excess += np.maximum(taken - runs.removed[:, runs.found(role), part].sum(axis=1)[:, None], 0).mean()
    return float(excess)


def _effect(model: LanguageModel, runs: CausalRuns, found: int) -> str:
    if not len(runs.index):
        return f"no heads: a {type(model).__name__} has no mixing matrices"
    with_heads = runs.removed[:, found].any(axis=1)
    if not with_heads.any():
        return "no heads found in any prompt, so nothing was removed"
    changed = int(runs.changed[with_heads, found].sum())
    if not changed:
        return f"no effect: the logits did not change in any of {with_heads.sum()} prompts"
    return f"the logits changed in {changed} of {with_heads.sum()} prompts that lost heads"
