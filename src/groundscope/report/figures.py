"""Tables to Plotly figures: surprisal, grounding gain, R-squared and training loss over steps.

Each function takes a frame of `seeds` and returns a `plotly.graph_objects.Figure` that stands alone in a notebook. On
the page the same figures are wired to the controls: a trace's ``meta`` says which model, direction and measure it
shows, and the step behind each point travels in ``customdata``, so that the page can change scales without new data.
"""

from collections.abc import Mapping

import plotly.graph_objects as go
import polars as pl

from groundscope.report.chart_parts import (
    Labels,
    by,
    first,
    first_choice,
    plain,
    span,
    step_band,
    step_figure,
    step_line,
)
from groundscope.report.numbers import decimal, interval, nats, p_value, share, share_interval
from groundscope.report.style import GREY, Mark, StepAxis

COUNTED = Mark(GREY, "circle")  # the predictor that only counts
R2_MEASURES = {
    "log": "log count",
    "raw": "raw count",
    "partial": "log count, frequency held",
    "counted": "counted gain",
}


def gain_figure(evidence: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """Grounding information gain G over steps, one line per model; filled marks are significant in every seed."""
    figure = step_figure(axis, "grounding gain G (nats)")
    figure.add_hline(y=0, line={"width": 1, "color": GREY})
    for direction, rows in by(evidence, "direction"):
        labels = Labels(figure, span(rows, "gain_low", "gain_high", "counted_gain_nats", floor=0.0))
        for arch, line in by(rows, "arch"):
            mark, meta = marks[arch], {"arch": arch, "direction": direction}
            figure.add_trace(step_band(line, "gain_low", "gain_high", mark, axis, meta))
            filled = line["n_significant"] == line["n_seeds"]
            figure.add_trace(
                step_line(
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
    return first_choice(figure, {"direction": first(evidence, "direction")})


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
    figure = step_figure(axis, "")
    figure.update_yaxes(range=list(reach))
    figure.update_layout(height=292, margin={"l": 34, "r": 72, "t": 44, "b": 44})
    if uniform is not None:
        figure.add_hline(y=uniform, line={"width": 1, "color": GREY, "dash": "dot"})
    for direction, line in by(evidence.filter(pl.col("arch") == arch), "direction"):
        meta = {"direction": direction}
        labels = Labels(figure, reach[1] - reach[0])
        for column, name, dash in (("mismatch_nats", "mismatch", "dash"), ("match_nats", "match", "solid")):
            figure.add_trace(step_band(line, f"{column}_seed_low", f"{column}_seed_high", mark, axis, meta))
            figure.add_trace(
                step_line(
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
    return first_choice(figure, {"direction": first(evidence, "direction")})


def r_squared_figure(evidence: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """R-squared of G on co-occurrence over words, for each way to count."""
    figure = step_figure(axis, "R² over words")
    figure.update_yaxes(rangemode="tozero", tickformat=".2~f")
    chance = _chance(evidence)
    if chance is not None:
        figure.add_hline(y=chance, line={"width": 1, "color": GREY, "dash": "dot"})
    for measure in R2_MEASURES:
        value, low, high = f"r2_{measure}", f"r2_{measure}_low", f"r2_{measure}_high"
        for direction, rows in by(evidence.drop_nulls(value), "direction"):
            labels = Labels(figure, span(rows, low, high, floor=0.0))
            for arch, line in by(rows, "arch"):
                mark, meta = marks[arch], {"arch": arch, "direction": direction, "measure": measure}
                figure.add_trace(step_band(line, low, high, mark, axis, meta))
                figure.add_trace(
                    step_line(
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
    return first_choice(figure, {"direction": first(evidence, "direction"), "measure": "log"})


def loss_figure(loss: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """Training loss over steps."""
    figure = step_figure(axis, "training loss (nats per token)")
    labels = Labels(figure, span(loss, "loss_low", "loss_high"))
    for arch, line in by(loss, "arch"):
        mark, meta = marks[arch], {"arch": arch}
        figure.add_trace(step_band(line, "loss_low", "loss_high", mark, axis, meta))
        figure.add_trace(
            step_line(
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


def _distinct(rows: pl.DataFrame, column: str) -> list[pl.DataFrame]:
    """One model's rows for each different course of ``column``: models that saw the same data share one."""
    lines = {tuple(line[column].round(4)): line for _, line in reversed(list(by(rows.drop_nulls(column), "arch")))}
    return list(lines.values())[::-1]


def _counted(line: pl.DataFrame, axis: StepAxis, meta: dict) -> go.Scatter:
    return step_line(
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
