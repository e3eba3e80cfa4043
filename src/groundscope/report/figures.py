"""Tables to Plotly figures: surprisal, grounding gain, R-squared and training loss over steps.

Each function takes a frame of `seeds` and returns a `plotly.graph_objects.Figure` that stands alone in a notebook. On
the page the same figures are wired to the controls: a trace's ``meta`` says which model, direction and measure it
shows, and the step behind each point travels in ``customdata``, so that the page can change scales without new data.
"""

from collections.abc import Iterable, Mapping
from html import escape

import plotly.graph_objects as go
import polars as pl

from groundscope.report.numbers import FIXED, compact, decimal, interval, nats, p_value, rounded, share, share_interval
from groundscope.report.style import GREY, Mark, StepAxis

LABEL_HEIGHT = 15  # pixels that a name at the end of a line needs
COUNTED = Mark(GREY, "circle")  # the predictor that only counts
R2_MEASURES = {
    "log": "log count",
    "raw": "raw count",
    "partial": "log count, frequency held",
    "counted": "counted gain",
}


def gain_figure(evidence: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """Grounding information gain G over steps, one line per model; filled marks are significant in every seed."""
    figure = _empty(axis, "grounding gain G (nats)")
    figure.add_hline(y=0, line={"width": 1, "color": GREY})
    for direction, rows in _by(evidence, "direction"):
        labels = _Labels(figure, _span(rows, "gain_low", "gain_high", "counted_gain_nats", floor=0.0))
        for arch, line in _by(rows, "arch"):
            mark, meta = marks[arch], {"arch": arch, "direction": direction}
            figure.add_trace(_band(line, "gain_low", "gain_high", mark, axis, meta))
            filled = line["n_significant"] == line["n_seeds"]
            figure.add_trace(
                _line(
                    line,
                    "gain_nats",
                    axis,
                    meta,
                    name=arch,
                    mode="lines+markers",
                    line={"color": mark.colour, "width": 2},
                    marker={
                        "symbol": [mark.symbol if significant else f"{mark.symbol}-open" for significant in filled],
                        "size": 6,
                        "color": mark.colour,
                    },
                    text=[_gain_hover(row) for row in line.iter_rows(named=True)],
                )
            )
            labels.add(line, "gain_nats", arch, mark, meta)
        for line in _distinct(rows, "counted_gain_nats"):
            figure.add_trace(_counted(line, axis, {"direction": direction}))
            labels.add(line, "counted_gain_nats", "counting alone", COUNTED, {"direction": direction})
        figure.add_traces(labels.traces(axis))
    return _first_choice(figure, {"direction": _first(evidence, "direction")})


def surprisal_figure(
    evidence: pl.DataFrame,
    arch: str,
    mark: Mark,
    axis: StepAxis,
    reach: tuple[float, float],
    uniform: float | None = None,
) -> go.Figure:
    """Surprisal of the word with the matching and with another scene, for one model.

    ``reach`` is the y axis; ``uniform`` is the surprisal of a guess among all of the vocabulary.
    """
    figure = _empty(axis, "", tokens=False)
    figure.update_yaxes(range=list(reach))
    figure.update_layout(height=260, margin={"l": 34, "r": 72, "t": 12, "b": 44})
    if uniform is not None:
        figure.add_hline(y=uniform, line={"width": 1, "color": GREY, "dash": "dot"})
    for direction, line in _by(evidence.filter(pl.col("arch") == arch), "direction"):
        meta = {"direction": direction}
        labels = _Labels(figure, reach[1] - reach[0])
        for column, name, dash in (("mismatch_nats", "mismatch", "dash"), ("match_nats", "match", "solid")):
            figure.add_trace(_band(line, f"{column}_seed_low", f"{column}_seed_high", mark, axis, meta))
            figure.add_trace(
                _line(
                    line,
                    column,
                    axis,
                    meta,
                    name=name,
                    mode="lines",
                    line={"color": mark.colour, "width": 2, "dash": dash},
                    text=[
                        f"{name} {nats(row[column])}<br>seeds "
                        f"{decimal(row[f'{column}_seed_low'])} to {decimal(row[f'{column}_seed_high'])}"
                        for row in line.iter_rows(named=True)
                    ],
                )
            )
            labels.add(line, column, name, mark, meta)
        figure.add_traces(labels.traces(axis))
    return _first_choice(figure, {"direction": _first(evidence, "direction")})


def r_squared_figure(evidence: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """R-squared of G on co-occurrence over words, for each way to count."""
    figure = _empty(axis, "R² over words")
    figure.update_yaxes(rangemode="tozero", tickformat=".2~f")
    chance = _chance(evidence)
    if chance is not None:
        figure.add_hline(y=chance, line={"width": 1, "color": GREY, "dash": "dot"})
    for measure in R2_MEASURES:
        value, low, high = f"r2_{measure}", f"r2_{measure}_low", f"r2_{measure}_high"
        for direction, rows in _by(evidence.drop_nulls(value), "direction"):
            labels = _Labels(figure, _span(rows, low, high, floor=0.0))
            for arch, line in _by(rows, "arch"):
                mark, meta = marks[arch], {"arch": arch, "direction": direction, "measure": measure}
                figure.add_trace(_band(line, low, high, mark, axis, meta))
                figure.add_trace(
                    _line(
                        line,
                        value,
                        axis,
                        meta,
                        name=arch,
                        mode="lines+markers",
                        line={"color": mark.colour, "width": 2},
                        marker={"symbol": mark.symbol, "size": 6, "color": mark.colour},
                        text=[
                            f"R² {share(row[value])} {share_interval(row[low], row[high])}<br>{R2_MEASURES[measure]}"
                            for row in line.iter_rows(named=True)
                        ],
                    )
                )
                labels.add(line, value, arch, mark, meta)
            figure.add_traces(labels.traces(axis))
    return _first_choice(figure, {"direction": _first(evidence, "direction"), "measure": "log"})


def loss_figure(loss: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """Training loss over steps."""
    figure = _empty(axis, "training loss (nats per token)")
    labels = _Labels(figure, _span(loss, "loss_low", "loss_high"))
    for arch, line in _by(loss, "arch"):
        mark, meta = marks[arch], {"arch": arch}
        figure.add_trace(_band(line, "loss_low", "loss_high", mark, axis, meta))
        figure.add_trace(
            _line(
                line,
                "loss_nats",
                axis,
                meta,
                name=arch,
                mode="lines",
                line={"color": mark.colour, "width": 1.75},
                text=[f"loss {nats(value)}" for value in line["loss_nats"]],
            )
        )
        labels.add(line, "loss_nats", arch, mark, meta)
    figure.add_traces(labels.traces(axis))
    return figure


def plain(text: str) -> str:
    """Text that Plotly shows as it is: its labels understand a subset of HTML."""
    return escape(text, quote=False)


def _empty(axis: StepAxis, y_title: str, tokens: bool = True) -> go.Figure:
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


def _line(
    rows: pl.DataFrame, column: str, axis: StepAxis, meta: dict, *, name: str, text: list[str], **look
) -> go.Scatter:
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


def _band(line: pl.DataFrame, low: str, high: str, mark: Mark, axis: StepAxis, meta: dict) -> go.Scatter:
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


class _Labels:
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

    def traces(self, axis: StepAxis) -> list[go.Scatter]:
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


def _span(rows: pl.DataFrame, *columns: str, floor: float | None = None) -> float:
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


def _distinct(rows: pl.DataFrame, column: str) -> list[pl.DataFrame]:
    """One model's rows for each different course of ``column``: models that saw the same data share one."""
    lines = {tuple(line[column].round(4)): line for _, line in reversed(list(_by(rows.drop_nulls(column), "arch")))}
    return list(lines.values())[::-1]


def _counted(line: pl.DataFrame, axis: StepAxis, meta: dict) -> go.Scatter:
    return _line(
        line,
        "counted_gain_nats",
        axis,
        meta,
        name="counting alone",
        mode="lines",
        line={"color": COUNTED.colour, "width": 1.5, "dash": "dash"},
        text=[f"G {nats(value)}" for value in line["counted_gain_nats"]],
    )


def _gain_hover(row: dict) -> str:
    estimate = f"G {nats(row['gain_nats'])} {interval(row['gain_low'], row['gain_high'])}"
    if row["n_seeds"] == 1:
        return f"{estimate}<br>{plain(p_value(row['p_holm']))}"
    return f"{estimate}<br>significant in {row['n_significant']} of {row['n_seeds']} seeds"


def _chance(evidence: pl.DataFrame) -> float | None:
    """What R-squared is on average for counts that have nothing to do with G: 1 / (words - 1)."""
    words = evidence["n_words"].max()
    return 1 / (int(words) - 1) if isinstance(words, int) and words > 1 else None


def _by(frame: pl.DataFrame, column: str) -> Iterable[tuple[str, pl.DataFrame]]:
    for (value,), rows in frame.group_by(column, maintain_order=True):
        yield str(value), rows


def _first(frame: pl.DataFrame, column: str) -> str:
    return str(frame[column][0])


def _first_choice(figure: go.Figure, choice: Mapping[str, str]) -> go.Figure:
    """Show only the traces of one direction and measure, so that the figure makes sense without the page."""

    def show(trace: go.Scatter) -> None:
        meta = trace.to_plotly_json().get("meta", {})
        trace.visible = all(meta.get(key, wanted) == wanted for key, wanted in choice.items())

    return figure.for_each_trace(show)
