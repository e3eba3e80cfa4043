"""One figure per claim, each a function of a run; None where the run has not measured what it shows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from groundscope.errors import StudyError, did_you_mean
from groundscope.files import atomic_file
from groundscope.mechanism.causal_table import CAUSAL
from groundscope.mechanism.head_tables import SALIENCY_LAYERS
from groundscope.mechanism.lens_table import LENS
from groundscope.report.findings import FORWARD
from groundscope.report.numbers import compact
from groundscope.report.paper.canvas import (
    MARKERS,
    PaperFigure,
    curve,
    end_labels,
    legend_below,
    name_heights,
    panels,
    paper_style,
    step_scale,
)
from groundscope.report.run import Run
from groundscope.report.seeds import at_the_end, different_courses
from groundscope.report.style import COLOURS, GREY, StepAxis, step_axis, thinned
from groundscope.report.table_text import stars

DASHES = (0, (4, 2))
INK = "#1c1e21"
FORMATS = ("pdf", "svg", "png")
NO_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Metadata without the moment of drawing, which would differ each time."""


class Claim(NamedTuple):
    """A figure's file name, what it is to show, and how it is drawn."""

    name: str
    title: str
    draw: Callable[[Run], PaperFigure | None]


def surprisal(run: Run) -> PaperFigure | None:
    """Surprisal of the word with the matching scene (solid) and with another (dashed), a panel per model."""
    rows = _forward(run)
    if rows is None:
        return None
    with paper_style():
        archs = _measured(rows)
        figure, places = panels(archs, 2.2)
        for arch, axes in places.items():
            line, mark = rows.filter(arch=arch), run.marks[arch]
            for name, dash in (("mismatch", DASHES), ("match", "solid")):
                reach = {"low": f"{name}_nats_seed_low", "high": f"{name}_nats_seed_high"}
                curve(axes, line, f"{name}_nats", run.axis, mark, linestyle=dash, label=name, **reach)
            step_scale(axes, run.axis)
        first = next(iter(places.values()))
        name_heights(places, "surprisal of the word (nats)")
        first.legend(handlelength=2.4)
        return figure


def gain(run: Run) -> PaperFigure | None:
    """Grounding information gain of each model; filled marks are significant in every seed."""
    rows = _forward(run)
    if rows is None:
        return None
    with paper_style():
        figure, places = panels(["gain"], 2.7)
        axes = places["gain"]
        axes.axhline(0, color=GREY, linewidth=0.8)
        ends, alone = [], []
        for arch in _measured(rows):
            line, mark = rows.filter(arch=arch), run.marks[arch]
            curve(axes, line, "gain_nats", run.axis, mark, low="gain_low", high="gain_high")
            for filled in (False, True):
                chosen = line.filter((pl.col("n_significant") == pl.col("n_seeds")) == filled)
                axes.plot(
                    [run.axis.position(step) for step in chosen["step"]], chosen["gain_nats"], MARKERS[mark.symbol],
                    color=mark.colour, markerfacecolor=mark.colour if filled else "white", clip_on=False,
                )  # fmt: skip
            ends.append(_end(line, "gain_nats", run.axis, arch, mark.colour))
        for counted in different_courses(rows, "counted_gain_nats"):
            x = [run.axis.position(step) for step in counted["step"]]
            axes.plot(x, counted["counted_gain_nats"], color=GREY, linestyle=DASHES, linewidth=1)
            alone.append(_end(counted, "counted_gain_nats", run.axis, "counting alone", "#6b6b6b"))
        ends += [max(alone)] if alone else []  # one name for all of them, at the longest
        step_scale(axes, run.axis)
        axes.set_ylabel("grounding gain $G$ (nats)")
        end_labels(axes, ends)
        return figure


def r_squared(run: Run) -> PaperFigure | None:
    """Share of the variance of G over words that co-occurrence explains."""
    rows = _forward(run)
    if rows is None or rows["r2_log"].drop_nulls().is_empty():
        return None
    with paper_style():
        figure, places = panels(["r2"], 2.7)
        axes = places["r2"]
        ends = []
        for arch in _measured(rows):
            line, mark = rows.filter(arch=arch), run.marks[arch]
            look = {"marker": MARKERS[mark.symbol], "low": "r2_log_low", "high": "r2_log_high"}
            curve(axes, line, "r2_log", run.axis, mark, **look)
            ends.append(_end(line, "r2_log", run.axis, arch, mark.colour))
        step_scale(axes, run.axis)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("$R^2$ of $G$ on log co-occurrence")
        end_labels(axes, ends)
        return figure


def saliency(run: Run) -> PaperFigure | None:
    """Saliency from the scene's word into the prediction: layers down, checkpoints right, one scale per model."""
    table = run.read(SALIENCY_LAYERS)
    if table.is_empty():
        return None
    with paper_style():
        archs = [arch for arch in run.archs if arch in set(table["arch"])]
        figure, places = panels(archs, 2.1, same_y=False)
        for arch, axes in places.items():
            rows = (
                table.filter(arch=arch).group_by("layer", "step", maintain_order=True).agg(pl.col("flow_nats").mean())
            )
            _heat(figure, axes, rows, "flow_nats", "saliency (nats)")
            axes.set_ylabel("layer (from 1)")
        return figure


def lens(run: Run) -> PaperFigure | None:
    """What each layer already predicts at the last checkpoint: surprisal by depth, match and mismatch, per lens."""
    table = run.read(LENS)
    if table.is_empty():
        return None
    means = (
        at_the_end(table)
        .group_by("arch", "lens", "condition", "layer", "seed", maintain_order=True)
        .agg(pl.col("surprisal_nats").mean())
    )
    means = means.group_by("arch", "lens", "condition", "layer", maintain_order=True).agg(
        pl.col("surprisal_nats").mean(),
        pl.col("surprisal_nats").min().alias("low"),
        pl.col("surprisal_nats").max().alias("high"),
    )
    with paper_style():
        archs = [arch for arch in run.archs if arch in set(table["arch"])]
        shades: dict[str, str] = dict(zip(("logit", "tuned", "linear"), (GREY, *COLOURS), strict=False))
        figure, places = panels(archs, 2.2 if len(archs) > 1 else 2.9)
        for arch, axes in places.items():
            for (kind, condition), line in (
                means.filter(arch=arch).sort("layer").group_by("lens", "condition", maintain_order=True)
            ):
                dash = "solid" if condition == "match" else DASHES
                colour = shades[str(kind)]
                axes.plot(line["layer"], line["surprisal_nats"], color=colour, linestyle=dash,
                          label=f"{kind} lens, {condition}")  # fmt: skip
                axes.fill_between(line["layer"], line["low"], line["high"], color=colour, alpha=0.16, linewidth=0)
            axes.set_xlabel("layers passed (0: embedding)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        first = next(iter(places.values()))
        name_heights(places, "surprisal (nats)")  # beside a legend there is no room for more
        first.set_ylim(*_readable(means))
        handles, names = first.get_legend_handles_labels()
        order = sorted(range(len(names)), key=lambda at: names[at])
        legend_below(figure, [handles[at] for at in order], [names[at] for at in order], most=4)
        return figure


def causal(run: Run) -> PaperFigure | None:
    """Surprisal without the aggregate heads and without as many others; stars where they differ."""
    rows = run.read(CAUSAL).filter(role="aggregate", control="layer-matched").drop_nulls("intervention_nats")
    if rows.is_empty():
        return None
    means = rows.group_by("arch", "step", maintain_order=True).agg(
        pl.col("tokens_seen").max(),
        pl.col("original_nats", "intervention_nats", "control_nats").mean(),
        pl.col("p_holm").max(),
    ).sort("arch", "step")  # fmt: skip
    axis = step_axis(means["step"], means["tokens_seen"])
    with paper_style():
        archs = [arch for arch in run.archs if arch in set(means["arch"])]
        figure, places = panels(archs, 2.3)
        for arch, axes in places.items():
            line = means.filter(arch=arch)
            x = [axis.position(step) for step in line["step"]]
            axes.plot(x, line["original_nats"], color=INK, linewidth=1.1, label="nothing removed")
            axes.plot(x, line["control_nats"], color=GREY, linestyle=DASHES, label="as many other heads removed")
            axes.plot(x, line["intervention_nats"], color=COLOURS[1], marker="o", label="aggregate heads removed")
            for at, value, p in zip(x, line["intervention_nats"], line["p_holm"], strict=True):
                axes.annotate(stars(p), (at, value), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7)
            step_scale(axes, axis)
        first = next(iter(places.values()))
        name_heights(places, "surprisal (nats)")
        handles, names = first.get_legend_handles_labels()
        legend_below(figure, handles, names, most=3)
        return figure


CLAIMS = (
    Claim("surprisal", "The matching scene lowers the word's surprisal", surprisal),
    Claim("gain", "The gain emerges in training", gain),
    Claim("r2", "Co-occurrence alone does not explain it", r_squared),
    Claim("saliency", "Grounding concentrates in the middle layers", saliency),
    Claim("lens", "The scene is read out before the last layer", lens),
    Claim("causal", "Aggregate heads are the cause", causal),
)


def write_figures(run: Run, out: Path, formats: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Draw every claim's figure into ``out`` in each format; return the files, and the claims that were not measured.

    The same tables give the same bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    written, missing = [], []
    for claim in CLAIMS:
        figure = claim.draw(run)
        if figure is None:
            missing.append(claim.name)
            continue
        for suffix in formats:
            with atomic_file(out / f"{claim.name}.{suffix}") as path, paper_style():
                figure.savefig(path, format=suffix, metadata=NO_DATE.get(suffix))
            written.append(out / f"{claim.name}.{suffix}")
    return written, missing


def parse_formats(text: str) -> tuple[str, ...]:
    """Read ``pdf,svg``; raises StudyError for a format that figures are not drawn in."""
    wanted = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for suffix in wanted:
        if suffix not in FORMATS:
            known = ", ".join(FORMATS)
            raise StudyError(f"--format is any of {known}; given: '{suffix}'.{did_you_mean(suffix, FORMATS)}")
    return wanted or ("pdf",)


def _forward(run: Run) -> pl.DataFrame | None:
    """The evidence in the paper's direction, else in the first that was measured."""
    if run.evidence is None:
        return None
    forward = run.evidence.filter(direction=FORWARD)
    return forward if forward.height else run.evidence.filter(direction=run.evidence["direction"][0])


def _measured(rows: pl.DataFrame) -> list[str]:
    return [str(arch) for arch in rows["arch"].unique(maintain_order=True).sort()]


def _readable(means: pl.DataFrame) -> tuple[float, float]:
    """Between what heights lenses are drawn: early layers' logit lens guesses so badly that all would lie flat."""
    fitted = means.filter(pl.col("lens") != "logit")
    shown = means if fitted.is_empty() else fitted
    low, high = min(means["low"].to_list()), max(shown["high"].to_list())
    room = 0.05 * (high - low)
    return low - room, high + room + (0.0 if fitted.is_empty() else 0.3 * (high - low))


def _end(rows: pl.DataFrame, column: str, axis: StepAxis, name: str, colour: str) -> tuple[float, float, str, str]:
    step, value = rows.drop_nulls(column).select("step", column).row(-1)
    return axis.position(step), value, name, colour


def _heat(figure: PaperFigure, axes: Axes, rows: pl.DataFrame, column: str, label: str) -> None:
    """Draw layers (down) by checkpoints (right); each checkpoint is as wide as the next."""
    steps, layers = rows["step"].unique().sort().to_list(), rows["layer"].unique().sort().to_list()
    values = np.full((len(layers), len(steps)), np.nan)
    for layer, step, value in rows.select("layer", "step", column).iter_rows():
        values[layers.index(layer), steps.index(step)] = value
    image = axes.imshow(values, aspect="auto", interpolation="nearest", vmin=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    shown = thinned(len(steps), 5)
    axes.set_xticks(shown, [compact(steps[at]) for at in shown])
    shown = thinned(len(layers), 6)
    axes.set_yticks(shown, [str(layers[at] + 1) for at in shown])
    axes.set_xlabel("training step (checkpoints)")
    figure.colorbar(image, ax=axes, label=label, pad=0.02)
