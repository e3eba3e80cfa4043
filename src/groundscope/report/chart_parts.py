"""What figures over training steps are made of: an axis, lines, bands, and names at the ends of lines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, Protocol, runtime_checkable

import plotly.graph_objects as go
import polars as pl

from groundscope.report.numbers import FIXED, compact, interval, nats, rounded
from groundscope.report.style import GREY, Mark, StepAxis

LABEL_HEIGHT = 15  # pixels that a name at the end of a line needs
RULE = {"width": 1, "color": GREY}  # a line that is no measurement: zero, a threshold
DOTTED = {**RULE, "dash": "dot"}
GAIN_TITLE = "grounding gain G (nats)"
GAIN_BOUNDS = ("gain_low", "gain_high")


@runtime_checkable
class Positions(Protocol):
    """Where a value of the x axis is drawn."""

    def position(self, step: int) -> float:
        """Where ``step`` stands."""
        ...


def plain(text: str) -> str:
    """Text that Plotly shows as it is: its labels understand a subset of HTML."""
    return escape(text, quote=False)


def gain_text(row: Mapping[str, Any]) -> str:
    """Write the G of a row with its interval: ``G 1.84 nats [1.60, 2.10]``."""
    return f"G {nats(row['gain_nats'])} {interval(row['gain_low'], row['gain_high'])}"


def bare_figure(
    height: int, margin: Mapping[str, int], *, xaxis: Mapping[str, Any], yaxis: Mapping[str, Any], **layout: Any
) -> go.Figure:
    """A figure without template and legend: colours are the page's, and names stand at the ends of lines."""
    return go.Figure(
        layout={
            "template": "none",
            "showlegend": False,
            "hovermode": "closest",
            "height": height,
            "margin": margin,
            "xaxis": {**xaxis, "zeroline": False},
            "yaxis": {**yaxis, "zeroline": False},
            **layout,
        }
    )


def step_figure(axis: StepAxis, y_title: str, tokens: bool = True) -> go.Figure:
    """A figure with steps below and, if asked for and the same for all models, tokens above.

    Ticks of both scales, log and linear, wait in ``layout.meta``.
    """
    scales = {scale: axis.layout(scale) for scale in ("log", "linear")}
    chosen = scales["log"]
    common = {"tickvals": chosen["tickvals"], "range": chosen["range"], "tickangle": 0}
    figure = bare_figure(
        380,
        {"l": 56, "r": 112, "t": 44, "b": 48},
        xaxis={**common, "ticktext": chosen["steps"], "title": {"text": "training step", "standoff": 8}},
        yaxis={"title": {"text": y_title, "standoff": 10}},
        hoverdistance=30,
        meta=scales,
    )
    if tokens and axis.tokens_at(0) is not None:
        figure.update_layout(
            xaxis2={
                **common,
                "ticktext": chosen["tokens"],
                "title": {"text": "tokens seen", "standoff": 4},
                "overlaying": "x",
                "matches": "x",
                "side": "top",
                "showgrid": False,
                "zeroline": False,
            }
        )
        figure.add_trace(go.Scatter(x=[0], y=[None], xaxis="x2", hoverinfo="skip", meta={}))
    return figure


def step_line(
    rows: pl.DataFrame, column: str, axis: StepAxis, meta: dict, *, name: str, text: list[str], **look
) -> go.Scatter:
    """One line over steps; ``text`` is what each point says, below its model and step, when pointed at."""
    return go.Scatter(
        x=[axis.position(step) for step in rows["step"]],
        y=rounded(rows[column].to_list(), 4),
        customdata=rows["step"].to_list(),
        text=[
            f"<b>{plain(meta.get('arch', name))}</b>, step {step:,} ({compact(tokens)} tokens)<br>{content}"
            for step, tokens, content in zip(rows["step"], rows["tokens_seen"], text, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        name=plain(name),
        meta=meta,
        **look,
    )


def step_band(line: pl.DataFrame, low: str, high: str, mark: Mark, axis: StepAxis, meta: dict) -> go.Scatter:
    """The area between two columns over steps."""
    known = line.drop_nulls([low, high])
    steps = known["step"].to_list()
    there_and_back = steps + steps[::-1]
    return go.Scatter(
        x=[axis.position(step) for step in there_and_back],
        y=rounded(known[high].to_list() + known[low].to_list()[::-1], 4),
        customdata=there_and_back,
        fill="toself",
        fillcolor=mark.veil(0.16),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        meta=meta,
    )


class Labels:
    """Names at the ends of lines, moved apart where they would stand on each other."""

    def __init__(self, figure: go.Figure, span: float):
        layout = figure.to_plotly_json()["layout"]
        drawn = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
        self._gap = LABEL_HEIGHT / drawn * span
        self._labels: list[dict] = []

    def add(self, line: pl.DataFrame, column: str, name: str, mark: Mark, meta: dict) -> None:
        """Put ``name`` at the last known point of a line."""
        known = line.drop_nulls(column)
        if known.height:
            step, value = known.select("step", column).row(-1)
            self._labels.append({"step": step, "y": value, "name": name, "mark": mark, "meta": meta})

    def traces(self, axis: Positions) -> list[go.Scatter]:
        """One text trace per label, so that it comes and goes with its line.

        All stand where the longest line ends: a name behind a shorter line would stand on the others.
        """
        self._labels.sort(key=lambda label: label["y"])
        end = max((label["step"] for label in self._labels), default=0)
        heights = spread([label["y"] for label in self._labels], self._gap)
        return [
            go.Scatter(
                x=[axis.position(end)],
                y=[round(height, 4)],
                customdata=[end],
                text=[3 * FIXED + plain(shortened(label["name"]))],
                mode="text",
                textposition="middle right",
                textfont={"color": label["mark"].colour},
                cliponaxis=False,
                hoverinfo="skip",
                meta={**label["meta"], "label": True},
            )
            for label, height in zip(self._labels, heights, strict=True)
        ]


class Lines:
    """Lines over steps in one figure: each with the band around it, a mark per checkpoint and its name at its end."""

    def __init__(self, figure: go.Figure, axis: StepAxis, reach: float):
        """``reach`` is how far the y axis goes: names are moved apart by their height on it."""
        self._figure, self._axis = figure, axis
        self._labels = Labels(figure, reach)

    def add(
        self,
        rows: pl.DataFrame,
        column: str,
        name: str,
        mark: Mark,
        meta: dict,
        say: Callable[[dict[str, Any]], str],
        *,
        band: tuple[str, str] | None = None,
        above_band: Sequence[go.Scatter] = (),
        marks: bool = True,
        filled: Iterable[bool] | None = None,
        width: float = 2,
        **line: str,
    ) -> None:
        """Draw ``column`` of ``rows``, one per step; ``say`` tells what a row's point says when pointed at.

        ``band`` names the columns below and above; ``filled`` tells which marks are, by default all.
        """
        if band is not None:
            self._figure.add_trace(step_band(rows, *band, mark, self._axis, meta))
        self._figure.add_traces(list(above_band))
        symbol = mark.symbol if filled is None else [mark.symbol if full else f"{mark.symbol}-open" for full in filled]
        marker = {"marker": {"symbol": symbol, "size": 6, "color": mark.colour}} if marks else {}
        self._figure.add_trace(
            step_line(
                rows,
                column,
                self._axis,
                meta,
                name=name,
                text=[say(row) for row in rows.iter_rows(named=True)],
                mode="lines+markers" if marks else "lines",
                line={"color": mark.colour, "width": width, **line},
                **marker,
            )
        )
        self._labels.add(rows, column, name, mark, meta)

    def name_ends(self) -> None:
        """Write the names of all lines that were added."""
        self._figure.add_traces(self._labels.traces(self._axis))


def span(rows: pl.DataFrame, *columns: str, floor: float | None = None) -> float:
    """How far the y axis reaches over these columns, ``floor`` included."""
    values = [value for column in columns for value in rows[column].drop_nulls()] + ([] if floor is None else [floor])
    return (max(values) - min(values) if values else 0.0) or 1.0


def spread(heights: list[float], gap: float) -> list[float]:
    """Move ascending heights apart until each stands ``gap`` above the one before, keeping their middle."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    shift = (sum(placed) - sum(heights)) / len(placed) if placed else 0.0
    return [height - shift for height in placed]


def shortened(name: str, most: int = 16) -> str:
    """Cut a long name with an ellipsis."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def by(frame: pl.DataFrame, column: str) -> Iterable[tuple[str, pl.DataFrame]]:
    """Yield each value of a column with its rows, in the order in which they come."""
    for (value,), rows in frame.group_by(column, maintain_order=True):
        yield str(value), rows


def first(frame: pl.DataFrame, column: str) -> str:
    """The first value of a column."""
    return str(frame[column][0])


def first_choice(figure: go.Figure, choice: Mapping[str, str]) -> go.Figure:
    """Show only the traces of one direction and measure, so that the figure makes sense without the page."""

    def show(trace: go.Scatter) -> None:
        meta = trace.to_plotly_json().get("meta", {})
        trace.visible = all(meta.get(key, wanted) == wanted for key, wanted in choice.items())

    return figure.for_each_trace(show)
