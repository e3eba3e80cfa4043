"""What figures over training steps are made of: an axis, lines, bands, and names at the ends of lines."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Protocol, runtime_checkable

import plotly.graph_objects as go
import polars as pl

from groundscope.report.numbers import FIXED, compact, rounded
from groundscope.report.style import Mark, StepAxis


@runtime_checkable
class Positions(Protocol):
    """Where a value of the x axis is drawn."""

    def position(self, step: int) -> float:
        """Where ``step`` stands."""
        ...


LABEL_HEIGHT = 15  # pixels that a name at the end of a line needs


def plain(text: str) -> str:
    """Text that Plotly shows as it is: its labels understand a subset of HTML."""
    return escape(text, quote=False)


def step_figure(axis: StepAxis, y_title: str, tokens: bool = True) -> go.Figure:
    """A figure with steps below and, if asked for and the same for all models, tokens above.

    Ticks of both scales, log and linear, wait in ``layout.meta``.
    """
    scales = {scale: axis.layout(scale) for scale in ("log", "linear")}
    chosen = scales["log"]
    common = {"tickvals": chosen["tickvals"], "range": chosen["range"], "zeroline": False, "tickangle": 0}
    figure = go.Figure(
        layout={
            "template": "none",
            "meta": scales,
            "showlegend": False,
            "hovermode": "closest",
            "hoverdistance": 30,
            "height": 380,
            "margin": {"l": 56, "r": 112, "t": 44, "b": 48},
            "xaxis": {**common, "ticktext": chosen["steps"], "title": {"text": "training step", "standoff": 8}},
            "yaxis": {"title": {"text": y_title, "standoff": 10}, "zeroline": False},
        }
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
        """One text trace per label, so that it comes and goes with its line."""
        self._labels.sort(key=lambda label: label["y"])
        heights = spread([label["y"] for label in self._labels], self._gap)
        return [
            go.Scatter(
                x=[axis.position(label["step"])],
                y=[round(height, 4)],
                customdata=[label["step"]],
                text=[2 * FIXED + plain(shortened(label["name"]))],
                mode="text",
                textposition="middle right",
                textfont={"color": label["mark"].colour},
                cliponaxis=False,
                hoverinfo="skip",
                meta={**label["meta"], "label": True},
            )
            for label, height in zip(self._labels, heights, strict=True)
        ]


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
