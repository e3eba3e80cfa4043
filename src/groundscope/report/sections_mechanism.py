"""The page's sections on mechanism: where the scene's word flows, which heads carry it, whether they are the cause.

Tables are joined over seeds before anything is embedded: means, and the widest reach of the seeds; the maps of single
heads are those of one seed (`head_maps`).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import polars as pl

from groundscope.mechanism.causal import CONTROLS
from groundscope.mechanism.causal_table import CAUSAL
from groundscope.mechanism.conclusions import LENS_CONCLUSIONS, MECHANISM_CONCLUSIONS
from groundscope.mechanism.criteria import CriterionOptions, Role
from groundscope.mechanism.head_tables import (
    HEAD_AGREEMENT,
    HEAD_ROLES,
    HEAD_SHARES,
    SALIENCY_HEADS,
    SALIENCY_LAYERS,
    SALIENCY_MAPS,
)
from groundscope.mechanism.keep import KEEP
from groundscope.mechanism.lens_table import LENS, LENS_FIT
from groundscope.mechanism.study_prompts import MECHANISM_PROMPTS
from groundscope.report.content import Content, Section
from groundscope.report.findings import Claim
from groundscope.report.findings_mechanism import mechanism_claims
from groundscope.report.head_maps import head_maps
from groundscope.report.mechanism_figures import effect_figure, layer_map, share_figure, sweep_figure
from groundscope.report.run import Run
from groundscope.report.seeds import at_the_end
from groundscope.statistics.corrections import LEVEL
from groundscope.tables import TableSchema
from groundscope.trajectory.at import evenly

TOP_HEADS = 12
TABLE_STEPS = 6
_ID = ("arch", "step")


class Measured:
    """The tables of mechanism and lenses of one run, joined over seeds, with models in the page's order."""

    def __init__(self, run: Run):
        self.run = run

    def table(self, schema: TableSchema) -> pl.DataFrame:
        """Read a table; empty where the run does not have it."""
        table = self.run.read(schema)
        if "arch" not in table.columns:
            return table
        place = {arch: at for at, arch in enumerate(self.run.archs)}
        order = pl.col("arch").replace_strict(place, default=len(place))
        return table.sort(order, maintain_order=True)

    @cached_property
    def causal(self) -> pl.DataFrame:
        """Table `CAUSAL`."""
        return self.table(CAUSAL)

    @property
    def headless(self) -> list[str]:
        """The models that have no heads."""
        return _archs(self.causal.filter(mixers="none"))

    @property
    def beside(self) -> list[str]:
        """The models in which some paths pass beside the mixing matrix."""
        return _archs(self.causal.filter(pl.col("mixers").str.contains("mamba2")))

    @property
    def threshold(self) -> float:
        """The criterion's threshold; a study of pictures has a criterion of its own."""
        rooms = (self.run.resolved.get(room) or {} for room in ("corpus", "mechanism"))
        asked = next((room["criterion"] for room in rooms if "criterion" in room), {})
        return float(asked.get("threshold", CriterionOptions().threshold))


def claims_on_mechanism(run: Run) -> list[Claim]:
    """The paper's claims on mechanism, judged by this run's tables."""
    measured = Measured(run)
    heads, layers = measured.table(MECHANISM_CONCLUSIONS), measured.table(LENS_CONCLUSIONS)
    return mechanism_claims(heads, layers, run.negligible)


def saliency_content(run: Run) -> Content | None:
    """Layers by steps, and the final model's heads over time; None where nothing was measured."""
    measured = Measured(run)
    if measured.causal.is_empty():
        return None
    layers = _over_seeds(measured.table(SALIENCY_LAYERS), (*_ID, "layer"), ("flow_nats",))
    archs = _archs(layers)
    figures = {}
    for at, arch in enumerate(archs):
        rows = layers.filter(arch=arch)
        names = [f"L{layer}" for layer in range(rows["layer"].max() + 1)]  # type: ignore[operator]
        figures[f"saliency-{at}"] = layer_map(rows, "flow_nats", run.marks[arch], names, _reach(rows, "flow_nats", 0.0))
    shares = _over_seeds(
        measured.table(HEAD_SHARES), (*_ID, "role", "tokens_seen"), ("share", "mean_count"), reach=("share",)
    )
    if len(shares.filter(pl.col("mean_count") > 0)):
        figures["head-shares"] = share_figure(shares.filter(pl.col("mean_count") > 0), run.marks, run.axis)
    peaks = [_peak(at_the_end(layers).filter(arch=arch)) for arch in archs]
    return Content({"archs": archs, "peaks": peaks, "shares": "head-shares" in figures, **_who(measured)}, figures)


def heads_content(run: Run) -> Content | None:
    """Head grids, the foremost heads, thresholds and criteria compared; None where no model has heads."""
    measured = Measured(run)
    roles = at_the_end(measured.table(HEAD_ROLES))
    if roles.is_empty():
        return None
    sweep = (
        roles.filter(pl.col("criterion").is_in([role.value for role in Role]))
        .group_by("arch", "seed", "criterion", "threshold", maintain_order=True)
        .agg(pl.col("frequency").sum().alias("heads"))
        .group_by("arch", "criterion", "threshold", maintain_order=True)
        .agg(pl.col("heads").mean())
        .rename({"criterion": "role"})
    )
    agreement = _over_seeds(
        at_the_end(measured.table(HEAD_AGREEMENT)), ("arch", "first", "second"), ("jaccard", "correlation")
    ).filter(pl.col("first").is_in([role.value for role in Role]))
    archs = _archs(roles)
    variables = {
        "archs": archs,
        "threshold": measured.threshold,
        "top": {arch: _foremost(measured, roles, arch) for arch in archs},
        "agreement": {arch: agreement.filter(arch=arch).to_dicts() for arch in archs},
        **_who(measured),
    }
    figures = {"sweep": sweep_figure(sweep, run.marks, measured.threshold)}
    tokens = dict(measured.table(MECHANISM_PROMPTS).select("prompt", "tokens").iter_rows())
    return Content(variables, figures, {"headMaps": head_maps(measured.table(SALIENCY_MAPS), tokens)})


def cause_content(run: Run) -> Content | None:
    """The causal table over seeds, and what the heads of a layer alone can do; None where nothing was tested."""
    measured = Measured(run)
    if measured.causal.is_empty():
        return None
    tested = ("difference_nats", "effect_size_dz", "mean_count", "mean_layer", "control_count", "control_elsewhere")
    nats = [
        name
        for name in CAUSAL.dtypes
        if name.startswith(("original", "intervention", "control_nats", "gain_", "text_"))
    ]
    joined = _over_seeds(
        measured.causal,
        (*_ID, "tokens_seen", "role", "control"),
        (*tested, *nats),
        low=("ci_low_nats",),
        high=("ci_high_nats", "p_holm"),
    ).join(
        measured.causal.group_by("arch", "step", "role", "control").agg(
            ((pl.col("p_holm") < LEVEL) & (pl.col("difference_nats") > 0)).all().fill_null(False).alias("significant")
        ),
        on=["arch", "step", "role", "control"],
        maintain_order="left",
    )
    effects = joined.filter(pl.col("control") == CONTROLS[0]).drop_nulls("difference_nats")
    figures = {"effect": effect_figure(effects, run.marks, run.axis)} if len(effects) else {}
    with_heads = [arch for arch in _archs(joined) if arch not in measured.headless]
    keep = at_the_end(measured.table(KEEP))
    kept = _over_seeds(
        keep,
        ("arch", "layer"),
        ("n_prompts", "kept_count", "original_nats", "kept_nats", "random_kept_nats", "none_kept_nats"),
        high=("p_holm",),
    )
    variables = {
        "tables": {arch: _paired_rows(joined.filter(arch=arch)) for arch in with_heads},
        "keep": {arch: kept.filter(arch=arch).sort("layer").to_dicts() for arch in with_heads},
        "idle": {arch: _idle(measured.causal.filter(arch=arch)) for arch in with_heads},
        "ablation": measured.causal["ablation"][0],
        "roles": [role.value for role in Role],
        **_who(measured),
    }
    return Content(variables, figures)


def lens_content(run: Run) -> Content | None:
    """Surprisal and G as each layer is read, layers by steps; None where no lens was read."""
    measured = Measured(run)
    table = measured.table(LENS)
    if table.is_empty():
        return None
    kinds = table["lens"].unique(maintain_order=True).to_list()
    kind = next(name for name in ("tuned", "linear", "logit") if name in kinds)
    readings = _lens_readings(table.filter(lens=kind))
    archs = _archs(readings)
    figures, tables = {}, {}
    for at, arch in enumerate(archs):
        rows = readings.filter(arch=arch)
        depth = int(rows["layer"].max())  # type: ignore[arg-type]
        names = ["embedding", *(f"after L{layer}" for layer in range(depth - 1)), "output"]
        figures[f"lens-{at}"] = layer_map(rows, "match", run.marks[arch], names, _reach(readings, "match"))
        if rows["gain"].null_count() < len(rows):
            figures[f"lens-gain-{at}"] = layer_map(rows, "gain", run.marks[arch], names, _reach(readings, "gain", 0.0))
        steps = evenly(rows["step"].unique().sort().to_list(), TABLE_STEPS)
        tables[arch] = {
            "names": names,
            "rows": [(step, rows.filter(step=step).sort("layer")["match"].to_list()) for step in steps],
            "logit": _other_lens(table, arch, steps[-1]) if kind != "logit" else [],
        }
    fit = _over_seeds(at_the_end(measured.table(LENS_FIT)).filter(lens=kind), ("arch", "layer"), ("kl_nats",))
    variables = {
        "archs": archs,
        "kind": kind,
        "gain": "lens-gain-0" in figures,
        "tables": tables,
        "fit": {arch: fit.filter(arch=arch).sort("layer")["kl_nats"].to_list() for arch in archs},
    }
    return Content(variables, figures)


def _who(measured: Measured) -> dict[str, Any]:
    return {"headless": measured.headless, "beside": measured.beside}


def _over_seeds(
    table: pl.DataFrame,
    by: Sequence[str],
    means: Sequence[str],
    *,
    reach: Sequence[str] = (),
    low: Sequence[str] = (),
    high: Sequence[str] = (),
) -> pl.DataFrame:
    """Join seeds: means, the seeds' own reach, the lowest of lower and the highest of upper bounds."""
    return table.group_by(*by, maintain_order=True).agg(
        *(pl.col(name).mean() for name in means),
        *(pl.col(name).min().alias(f"{name}_low") for name in reach),
        *(pl.col(name).max().alias(f"{name}_high") for name in reach),
        *(pl.col(name).min() for name in low),
        *(pl.col(name).max() for name in high),
        pl.len().alias("n_rows"),
    )


def _archs(table: pl.DataFrame) -> list[str]:
    return [str(arch) for arch in table["arch"].unique(maintain_order=True)]


def _reach(table: pl.DataFrame, column: str, low: float | None = None) -> tuple[float, float]:
    """From the least value (or ``low``) to the greatest."""
    values = table[column].drop_nulls().to_list() or [0.0]
    return min(values) if low is None else low, max(values)


def _peak(layers: pl.DataFrame) -> dict[str, Any]:
    """Where the flow is largest at the last checkpoint, and its share of all layers' flow."""
    most = layers.sort("flow_nats", descending=True).row(0, named=True)
    total = float(layers["flow_nats"].sum())
    return {"layer": most["layer"], "step": most["step"], "share": most["flow_nats"] / total if total else None}


def _foremost(measured: Measured, roles: pl.DataFrame, arch: str) -> list[dict[str, Any]]:
    """The heads through which most of the scene's word flows, in the model's first seed, at the last checkpoint."""
    flows = at_the_end(measured.table(SALIENCY_HEADS).filter(arch=arch))
    seed = flows["seed"][0]
    here = roles.filter(
        pl.col("arch") == arch, pl.col("seed") == seed, pl.col("threshold") == measured.threshold
    ).pivot(on="criterion", index="name", values="frequency")
    total = float(flows.filter(seed=seed)["total_nats"].sum())
    return (
        flows.filter(seed=seed)
        .sort("flow_nats", descending=True)
        .head(TOP_HEADS)
        .with_columns(
            (pl.col("flow_nats") / pl.col("total_nats")).alias("own"), (pl.col("flow_nats") / total).alias("all")
        )
        .join(here, on="name", how="left", maintain_order="left")
        .to_dicts()
    )


def _idle(causal: pl.DataFrame) -> list[dict[str, Any]]:
    """The removals at the last checkpoint that did nothing, in the words of the table, once per role and seed."""
    return (
        at_the_end(causal)
        .filter(pl.col("control") == CONTROLS[0], pl.col("effect").str.starts_with("no "))
        .select("role", "seed", "step", "effect")
        .to_dicts()
    )


def _paired_rows(table: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Role -> one row per step, with both controls' values side by side."""
    keys = (
        "control_nats",
        "control_elsewhere",
        "difference_nats",
        "p_holm",
        "gain_control_nats",
        "text_control_nats",
        "significant",
    )
    random, matched = (table.filter(control=control) for control in CONTROLS)
    both = random.join(
        matched.select("step", "role", *(pl.col(key).alias(f"matched_{key}") for key in keys)), on=["step", "role"]
    ).sort("step")
    return {role.value: both.filter(role=role.value).to_dicts() for role in Role}


def _lens_readings(lens: pl.DataFrame) -> pl.DataFrame:
    """Per model, step and layer: the match's surprisal and G, means over words and seeds."""
    means = lens.group_by("arch", "step", "layer", "condition", maintain_order=True).agg(
        pl.col("surprisal_nats").mean()
    )
    wide = means.pivot(on="condition", index=["arch", "step", "layer"], values="surprisal_nats", maintain_order=True)
    gain = pl.col("mismatch") - pl.col("match") if "mismatch" in wide.columns else pl.lit(None, dtype=pl.Float64)
    return wide.with_columns(gain.alias("gain"))


def _other_lens(table: pl.DataFrame, arch: str, step: int) -> list[float]:
    """The logit lens at one step, for comparison; empty where it was not read."""
    rows = table.filter(pl.col("lens") == "logit", pl.col("arch") == arch, pl.col("step") == step)
    return [] if rows.is_empty() else _lens_readings(rows).sort("layer")["match"].to_list()


MECHANISM_SECTIONS = (
    Section("saliency", "Where the scene’s word flows", "table saliency_layers", saliency_content),
    Section("heads", "Which heads carry it", "heads in table head_roles", heads_content),
    Section("cause", "Are they the cause?", "table causal", cause_content),
    Section("lens", "Where in depth the word becomes readable", "table lens", lens_content),
)
