"""Figures of what stands beside the main effect: controls, frames, kinds of words, seeds, single words, doses.

As in `figures`, a trace's ``meta`` says which model and direction it shows.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go
import polars as pl

from groundscope.report.chart_parts import (
    GAIN_BOUNDS,
    GAIN_TITLE,
    RULE,
    Labels,
    Lines,
    bare_figure,
    by,
    first,
    first_choice,
    gain_text,
    plain,
    span,
    step_figure,
)
from groundscope.report.numbers import percent, rounded
from groundscope.report.style import Mark, StepAxis

ROW_HEIGHT = 27  # pixels of one line of a forest
ALL_SOLID = {"": "solid"}
BESIDE = 0.01  # of the x axis: how far apart kinds of line stand, so that their intervals do not cover each other


class Linear(NamedTuple):
    """An x axis on which values stand where they are."""

    title: str
    values: tuple[int, ...]

    def position(self, step: float) -> float:
        """Where a value stands."""
        return step


def forest_figure(
    lines: Sequence[str], headings: Sequence[str], rows: pl.DataFrame, marks: Mapping[str, Mark], title: str
) -> go.Figure:
    """Estimates with intervals, one line of text each and one mark per model.

    ``lines`` stand from top to bottom; those in ``headings`` hold no estimates. ``rows`` has columns line, arch,
    direction (or none: shown whichever is chosen), value, low, high, filled and text.
    """
    place = {line: len(lines) - number for number, line in enumerate(lines)}
    archs = [arch for arch in marks if arch in set(rows["arch"].cast(pl.String))]
    figure = bare_figure(
        ROW_HEIGHT * len(lines) + 62,
        {"l": 10, "r": 14, "t": 8, "b": 48},
        xaxis={"title": {"text": title, "standoff": 8}},
        yaxis={
            "tickvals": [place[line] for line in lines],
            "ticktext": [f"<b>{plain(line)}</b>" if line in headings else plain(line) for line in lines],
            "range": [0.4, len(lines) + 0.6],
            "automargin": True,
            "showgrid": False,
        },
    )
    figure.add_vline(x=0, line=RULE)
    directions = list(by(rows, "direction")) if "direction" in rows.columns else [("", rows)]
    for direction, shown in directions:
        for number, arch in enumerate(archs):
            own = shown.filter(pl.col("arch") == arch).drop_nulls("value")
            offset = (0.5 * (len(archs) - 1) - number) * 0.62 / len(archs)
            figure.add_trace(_dots(own, offset, place, marks[arch], {"arch": arch, "direction": direction}))
    return first_choice(figure, {"direction": directions[0][0]})


def _dots(
    rows: pl.DataFrame, offset: float, place: Mapping[str, int], mark: Mark, meta: Mapping[str, str]
) -> go.Scatter:
    value, low, high = (rows[name].to_list() for name in ("value", "low", "high"))
    known = [None not in bounds for bounds in zip(low, high, strict=True)]
    return go.Scatter(
        x=rounded(value, 4),
        y=[place[line] + offset for line in rows["line"]],
        error_x={
            "array": [round(h - v, 4) if k else 0 for v, h, k in zip(value, high, known, strict=True)],
            "arrayminus": [round(v - low_, 4) if k else 0 for v, low_, k in zip(value, low, known, strict=True)],
            "color": mark.colour,
            "thickness": 1.4,
            "width": 0,
        },
        mode="markers",
        marker={
            "symbol": [mark.symbol if filled else f"{mark.symbol}-open" for filled in rows["filled"]],
            "size": 7,
            "color": mark.colour,
        },
        text=[
            f"<b>{plain(meta['arch'])}</b>, {plain(line)}<br>{text}"
            for line, text in zip(rows["line"], rows["text"], strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        name=plain(meta["arch"]),
        meta={key: entry for key, entry in meta.items() if entry},
    )


def curves_figure(
    rows: pl.DataFrame,
    marks: Mapping[str, Mark],
    axis: StepAxis,
    *,
    seeds: pl.DataFrame | None = None,
    height: int = 380,
    reach: tuple[float, float] | None = None,
) -> go.Figure:
    """G over steps with its interval; ``seeds`` (arch, direction, seed, step, gain_nats) adds a thin line per seed."""
    figure = step_figure(axis, GAIN_TITLE, tokens=height > 300)
    figure.update_layout(height=height)
    if height <= 300:
        figure.update_layout(margin={"t": 12})
    if reach:
        figure.update_yaxes(range=list(reach))
    figure.add_hline(y=0, line=RULE)
    for direction, shown in by(rows, "direction"):
        lines = Lines(figure, axis, reach[1] - reach[0] if reach else span(shown, *GAIN_BOUNDS, floor=0.0))
        for arch, line in by(shown, "arch"):
            mark, meta = marks[arch], {"arch": arch, "direction": direction}
            thin = [] if seeds is None else _seed_lines(seeds.filter(arch=arch, direction=direction), mark, axis, meta)
            lines.add(line, "gain_nats", arch, mark, meta, _gain_of_samples, band=GAIN_BOUNDS, above_band=thin)
        lines.name_ends()
    return first_choice(figure, {"direction": first(rows, "direction")})


def _seed_lines(rows: pl.DataFrame, mark: Mark, axis: StepAxis, meta: dict) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=[axis.position(step) for step in line["step"]],
            y=rounded(line["gain_nats"].to_list(), 4),
            customdata=line["step"].to_list(),
            mode="lines",
            line={"color": mark.veil(0.55), "width": 1},
            hoverinfo="skip",
            name=f"seed {seed}",
            meta=meta,
        )
        for seed, line in by(rows.sort("seed", "step"), "seed")
    ]


def emergence_figure(grounded: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """Share of words grounded by each step; ``grounded``: arch, direction, step, tokens_seen, share, n_words."""
    figure = step_figure(axis, "words grounded")
    figure.update_yaxes(range=[-0.02, 1.04], tickformat=".0%")
    for direction, shown in by(grounded, "direction"):
        lines = Lines(figure, axis, 1.06)
        for arch, line in by(shown, "arch"):
            meta = {"arch": arch, "direction": direction}
            lines.add(line, "share", arch, marks[arch], meta, _share_hover, shape="hv")
        lines.name_ends()
    return first_choice(figure, {"direction": first(grounded, "direction")})


def lines_figure(
    rows: pl.DataFrame, x: str, axis: Linear, marks: Mapping[str, Mark], kinds: Mapping[str, str] = ALL_SOLID
) -> go.Figure:
    """G with its interval against the column ``x``, a line per model and kind.

    ``rows`` has columns arch, direction, ``x``, gain_nats, gain_low, gain_high and text, and, where ``kinds`` gives
    several kinds of line their dashes, a column kind. The first kind is named after its model, the others by their own
    names. Kinds stand side by side, but for 0 on the axis, where all of them begin.
    """
    reach = rows.select(pl.col(x).max() - pl.col(x).min()).item()
    figure = bare_figure(
        340,
        {"l": 56, "r": 112, "t": 12, "b": 48},
        xaxis={
            "title": {"text": axis.title, "standoff": 8},
            "tickvals": list(axis.values),
            "range": _padded(rows[x].to_list()),
        },
        yaxis={"title": {"text": GAIN_TITLE, "standoff": 10}},
    )
    figure.add_hline(y=0, line=RULE)
    for direction, shown in by(rows, "direction"):
        labels = Labels(figure, span(shown, *GAIN_BOUNDS, floor=0.0))
        for arch, of_arch in by(shown, "arch"):
            mark, meta = marks[arch], {"arch": arch, "direction": direction}
            for number, (kind, dash) in enumerate(kinds.items()):
                aside = BESIDE * reach * (number - (len(kinds) - 1) / 2)
                line = (of_arch.filter(kind=kind) if len(kinds) > 1 else of_arch).sort(x)
                if line.height:
                    places = [round(value + aside, 4) if value else 0.0 for value in line[x]]
                    figure.add_trace(_curve(line, places, mark, meta, dash))
                    named = arch if kind == next(iter(kinds)) else kind
                    labels.add(line.with_columns(pl.Series("step", places)), "gain_nats", named, mark, meta)
        figure.add_traces(labels.traces(axis))
    return first_choice(figure, {"direction": first(rows, "direction")})


def _curve(line: pl.DataFrame, places: list[float], mark: Mark, meta: dict, dash: str) -> go.Scatter:
    above, below = pl.col("gain_high") - pl.col("gain_nats"), pl.col("gain_nats") - pl.col("gain_low")
    return go.Scatter(
        x=places,
        y=rounded(line["gain_nats"].to_list(), 4),
        error_y={
            "array": line.select(above.fill_null(0).round(4)).to_series().to_list(),
            "arrayminus": line.select(below.fill_null(0).round(4)).to_series().to_list(),
            "color": mark.veil(0.6),
            "thickness": 1.2,
            "width": 0,
        },
        mode="lines+markers",
        line={"color": mark.colour, "width": 2, "dash": dash},
        marker={"symbol": mark.symbol if dash == "solid" else f"{mark.symbol}-open", "size": 7, "color": mark.colour},
        text=[f"<b>{plain(meta['arch'])}</b>, {row['text']}<br>{_gain_of_samples(row)}" for row in line.to_dicts()],
        hovertemplate="%{text}<extra></extra>",
        name=plain(meta["arch"]),
        meta=meta,
    )


def ages_figure(words: pl.DataFrame, arch: str, mark: Mark, axis: StepAxis) -> go.Figure:
    """Step at which each word is grounded, against the age at which children say it; open: not within training."""
    figure = bare_figure(
        300,
        {"l": 52, "r": 10, "t": 10, "b": 46},
        xaxis={"title": {"text": "age of acquisition (months)", "standoff": 8}},
        yaxis={
            "title": {"text": "grounded at step", "standoff": 8},
            "tickvals": [*axis.layout("log")["tickvals"], _never(axis)],
            "ticktext": [*axis.layout("log")["steps"], "never"],
        },
    )
    for direction, shown in by(words.filter(pl.col("arch") == arch), "direction"):
        steps = shown["emergence_step"].to_list()
        figure.add_trace(
            go.Scatter(
                x=rounded(shown["age_months"].to_list(), 2),
                y=[_never(axis) if step is None else axis.position(step) for step in steps],
                mode="markers",
                marker={
                    "symbol": [f"{mark.symbol}-open" if step is None else mark.symbol for step in steps],
                    "size": 7,
                    "color": mark.colour,
                },
                text=[plain(word) for word in shown["word"]],
                hovertemplate="<b>%{text}</b>, %{x} months<extra></extra>",
                meta={"direction": direction},
            )
        )
    return first_choice(figure, {"direction": first(words, "direction")})


def _never(axis: StepAxis) -> float:
    """Where words stand that are not grounded within training: beyond the last step."""
    return 1.12 * axis.position(axis.steps[-1])


def _padded(values: Sequence[int]) -> list[float]:
    margin = 0.04 * ((max(values) - min(values)) or 1)
    return [min(values) - margin, max(values) + margin]


def _gain_of_samples(row: dict) -> str:
    seeds = f"<br>{row['n_seeds']} seeds, {row['n_words']} words" if "n_seeds" in row else ""
    return f"{gain_text(row)}{seeds}"


def _share_hover(row: dict) -> str:
    return f"{percent(row['share'], 0)} of {row['n_words']} words"
