"""Rows of a forest: estimates with intervals, one line of text each."""

import plotly.graph_objects as go
import polars as pl

from groundscope.report.chart_parts import gain_text
from groundscope.statistics.corrections import LEVEL

FINAL_GAIN = "grounding gain G at the last checkpoint (nats)"


def forest_rows(rows: pl.DataFrame, line: pl.Expr) -> pl.DataFrame:
    """Rows for `forest_figure` from rows with G and its interval."""
    if "n_significant" in rows.columns:
        filled = pl.col("n_significant") == pl.col("n_seeds")
    else:
        filled = (pl.col("p") < LEVEL) & (pl.col("gain_nats") > 0)
    text = pl.struct("gain_nats", "gain_low", "gain_high").map_elements(gain_text, return_dtype=pl.String)
    directed = [pl.col("direction")] if "category" in rows.columns else []
    return rows.select(
        "arch",
        *directed,
        line.alias("line"),
        pl.col("gain_nats").alias("value"),
        pl.col("gain_low").alias("low"),
        pl.col("gain_high").alias("high"),
        filled.fill_null(False).alias("filled"),
        text.alias("text"),
    )


def height_of(figure: go.Figure) -> int:
    """Pixels that a figure takes, so that its place can be kept before it is drawn."""
    return figure.to_plotly_json()["layout"]["height"]
