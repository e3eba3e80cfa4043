"""Tables of mechanism and lenses to Plotly figures: layers by steps, shares and effects over steps, thresholds."""

from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go
import polars as pl

from groundscope.mechanism.criteria import Role
from groundscope.report.chart_parts import DOTTED, RULE, Lines, bare_figure, by, plain, span, step_figure
from groundscope.report.numbers import decimal, interval, nats, p_value, percent, rounded
from groundscope.report.style import Mark, StepAxis
from groundscope.trajectory.at import evenly

DASHES = {Role.AGGREGATE.value: "solid", Role.GATHER.value: "dash"}
_ROW = 26  # pixels of one layer in a map
_MARGIN = {"l": 78, "r": 8, "t": 8, "b": 44}


def layer_map(
    table: pl.DataFrame, column: str, mark: Mark, names: Sequence[str], reach: tuple[float, float]
) -> go.Figure:
    """Layers downward, checkpoints rightward (evenly spaced), a cell's strength the value; for one model.

    ``table`` holds layer, step and ``column``; ``names`` are the layers' from the first on; ``reach`` is the scale, in
    nats.
    """
    steps = table["step"].unique().sort().to_list()
    cells = dict(zip(table.select("layer", "step").iter_rows(), table[column].to_list(), strict=True))
    layers = sorted(table["layer"].unique())
    values = [rounded([cells.get((layer, step)) for step in steps], 4) for layer in layers]
    low, high = reach
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[f"{step:,}" for step in steps],
            y=[names[layer] for layer in layers],
            zmin=low,
            zmax=high if high > low else low + 1,
            colorscale=[[0, mark.veil(0.02)], [0.5, mark.veil(0.5)], [1, mark.colour]],
            colorbar={"thickness": 10, "len": 1.0, "outlinewidth": 0, "title": {"text": "nats", "side": "right"}},
            hovertemplate="%{y}, step %{x}<br>%{z:.3~f} nats<extra></extra>",
            xgap=1,
            ygap=1,
            meta={},
        )
    )
    return figure.update_layout(
        template="none",
        height=_ROW * len(layers) + _MARGIN["t"] + _MARGIN["b"],
        margin=_MARGIN,
        xaxis={
            "type": "category",
            "title": {"text": "training step", "standoff": 8},
            "tickangle": 0,
            "tickvals": [f"{step:,}" for step in evenly(steps, 10)],
            "showgrid": False,
        },
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
    )


def share_figure(shares: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """Share of all |saliency| that the final model's heads hold, over steps; ``shares`` is joined over seeds."""
    return _role_lines(
        shares,
        ("share", "share_low", "share_high"),
        marks,
        axis,
        "share of all saliency",
        lambda row: (
            f"{row['role']} heads hold {percent(row['share'])}<br>{decimal(row['mean_count'])} heads per prompt"
        ),
        tickformat=".0%",
    )


def effect_figure(effects: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """What removing heads costs beyond removing random ones, over steps; filled: significant in every seed."""
    figure = _role_lines(
        effects,
        ("difference_nats", "ci_low_nats", "ci_high_nats"),
        marks,
        axis,
        "surprisal, intervention − control (nats)",
        lambda row: (
            f"without {row['role']} heads {nats(row['difference_nats'], 3)} more than without random ones<br>"
            f"{interval(row['ci_low_nats'], row['ci_high_nats'])}, {p_value(row['p_holm'])}"
        ),
        filled="significant",
    )
    return figure.add_hline(y=0, line=RULE)


def sweep_figure(sweep: pl.DataFrame, marks: Mapping[str, Mark], threshold: float) -> go.Figure:
    """How many heads of each role a prompt has, by threshold, at the final checkpoint."""
    figure = bare_figure(
        300,
        {"l": 56, "r": 112, "t": 12, "b": 48},
        xaxis={"title": {"text": "threshold: least share of a head’s saliency", "standoff": 8}},
        yaxis={"title": {"text": "heads per prompt", "standoff": 10}, "rangemode": "tozero"},
    )
    figure.add_vline(x=threshold, line=DOTTED)
    for arch, rows in by(sweep, "arch"):
        for role, line in by(rows.sort("threshold"), "role"):
            figure.add_trace(
                go.Scatter(
                    x=line["threshold"].to_list(),
                    y=rounded(line["heads"].to_list(), 3),
                    text=[
                        f"<b>{plain(arch)}</b>, threshold {decimal(row['threshold'])}<br>"
                        f"{decimal(row['heads'])} {role} heads per prompt"
                        for row in line.iter_rows(named=True)
                    ],
                    hovertemplate="%{text}<extra></extra>",
                    mode="lines+markers",
                    line={"color": marks[arch].colour, "width": 2, "dash": DASHES[role]},
                    marker={"color": marks[arch].colour, "symbol": marks[arch].symbol, "size": 6},
                    meta={"arch": arch},
                )
            )
    return figure


def _role_lines(
    rows: pl.DataFrame,
    columns: tuple[str, str, str],
    marks: Mapping[str, Mark],
    axis: StepAxis,
    title: str,
    say: Callable[[dict], str],
    *,
    filled: str | None = None,
    tickformat: str | None = None,
) -> go.Figure:
    """One line per model and role with its band (``columns``: value, low, high); a role shows in the dash."""
    value, low, high = columns
    figure = step_figure(axis, title)
    figure.update_yaxes(tickformat=tickformat)
    lines = Lines(figure, axis, span(rows, low, high, floor=0.0))
    for arch, of_arch in by(rows, "arch"):
        for role, line in by(of_arch, "role"):
            known = line.sort("step").drop_nulls(value)
            if known.is_empty():
                continue
            marked = known[filled] if filled else None
            look = {"band": (low, high), "filled": marked, "dash": DASHES[role]}
            lines.add(known, value, role, marks[arch], {"arch": arch}, say, **look)
    lines.name_ends()
    return figure
