"""Tables to Plotly figures: surprisal, grounding gain, R-squared and training loss over steps.

Each function takes a frame of `seeds` and returns a `plotly.graph_objects.Figure` that stands alone in a notebook. On
the page the same figures are wired to the controls: a trace's ``meta`` says which model, direction and measure it
shows, and the step behind each point travels in ``customdata``, so that the page can change scales without new data.
"""

from collections.abc import Mapping
from functools import partial

import plotly.graph_objects as go
import polars as pl

from groundscope.report.chart_parts import (
    DOTTED,
    GAIN_BOUNDS,
    GAIN_TITLE,
    RULE,
    Lines,
    by,
    first,
    first_choice,
    gain_text,
    plain,
    span,
    step_figure,
)
from groundscope.report.numbers import decimal, nats, p_value, share, share_interval
from groundscope.report.seeds import different_courses
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
    figure = step_figure(axis, GAIN_TITLE)
    figure.add_hline(y=0, line=RULE)
    for direction, rows in by(evidence, "direction"):
        lines = Lines(figure, axis, span(rows, *GAIN_BOUNDS, "counted_gain_nats", floor=0.0))
        for arch, line in by(rows, "arch"):
            meta, significant = {"arch": arch, "direction": direction}, line["n_significant"] == line["n_seeds"]
            lines.add(line, "gain_nats", arch, marks[arch], meta, _gain_tested, band=GAIN_BOUNDS, filled=significant)
        for line in different_courses(rows, "counted_gain_nats"):
            lines.add(
                line,
                "counted_gain_nats",
                "counting alone",
                COUNTED,
                {"direction": direction},
                lambda row: f"G {nats(row['counted_gain_nats'])}",
                marks=False,
                width=1.5,
                dash="dash",
            )
        lines.name_ends()
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
        figure.add_hline(y=uniform, line=DOTTED)
    for direction, line in by(evidence.filter(pl.col("arch") == arch), "direction"):
        lines = Lines(figure, axis, reach[1] - reach[0])
        for name, dash in (("mismatch", "dash"), ("match", "solid")):
            column = f"{name}_nats"
            bounds, say = (f"{column}_seed_low", f"{column}_seed_high"), partial(_surprisal_hover, name)
            lines.add(line, column, name, mark, {"direction": direction}, say, band=bounds, marks=False, dash=dash)
        lines.name_ends()
    return first_choice(figure, {"direction": first(evidence, "direction")})


def r_squared_figure(evidence: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """R-squared of G on co-occurrence over words, for each way to count."""
    figure = step_figure(axis, "R² over words")
    figure.update_yaxes(rangemode="tozero", tickformat=".2~f")
    chance = _chance(evidence)
    if chance is not None:
        figure.add_hline(y=chance, line=DOTTED)
    for measure in R2_MEASURES:
        value, low, high = f"r2_{measure}", f"r2_{measure}_low", f"r2_{measure}_high"
        for direction, rows in by(evidence.drop_nulls(value), "direction"):
            lines = Lines(figure, axis, span(rows, low, high, floor=0.0))
            for arch, line in by(rows, "arch"):
                meta = {"arch": arch, "direction": direction, "measure": measure}
                lines.add(line, value, arch, marks[arch], meta, partial(_r_squared_hover, measure), band=(low, high))
            lines.name_ends()
    return first_choice(figure, {"direction": first(evidence, "direction"), "measure": "log"})


def loss_figure(loss: pl.DataFrame, marks: Mapping[str, Mark], axis: StepAxis) -> go.Figure:
    """Training loss over steps."""
    figure = step_figure(axis, "training loss (nats per token)")
    lines = Lines(figure, axis, span(loss, "loss_low", "loss_high"))
    for arch, line in by(loss, "arch"):
        lines.add(
            line,
            "loss_nats",
            arch,
            marks[arch],
            {"arch": arch},
            lambda row: f"loss {nats(row['loss_nats'])}",
            band=("loss_low", "loss_high"),
            marks=False,
            width=1.75,
        )
    lines.name_ends()
    return figure


def _gain_tested(row: dict) -> str:
    if row["n_seeds"] == 1:
        return f"{gain_text(row)}<br>{plain(p_value(row['p_holm']))}"
    return f"{gain_text(row)}<br>significant in {row['n_significant']} of {row['n_seeds']} seeds"


def _surprisal_hover(name: str, row: dict) -> str:
    low, high = (decimal(row[f"{name}_nats_seed_{end}"]) for end in ("low", "high"))
    return f"{name} {nats(row[f'{name}_nats'])}<br>seeds {low} to {high}"


def _r_squared_hover(measure: str, row: dict) -> str:
    value, low, high = (row[f"r2_{measure}{end}"] for end in ("", "_low", "_high"))
    return f"R² {share(value)} {share_interval(low, high)}<br>{R2_MEASURES[measure]}"


def _chance(evidence: pl.DataFrame) -> float | None:
    """What R-squared is on average for counts that have nothing to do with G: 1 / (words - 1)."""
    words = evidence["n_words"].max()
    return 1 / (int(words) - 1) if isinstance(words, int) and words > 1 else None
