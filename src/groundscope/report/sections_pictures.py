"""The section of pictures: does seeing a thing help to predict its word, in any style, and where do heads look?"""

import plotly.graph_objects as go
import polars as pl

from groundscope.report.chart_parts import RULE, Lines, span, step_figure
from groundscope.report.content import Content, Section
from groundscope.report.numbers import nats
from groundscope.report.picture_viewer import picture_data
from groundscope.report.run import Run, World
from groundscope.report.seeds import at_the_end

TILES = 24
"""The viewer's overlays at a time; templates/looks.js has the same number."""
_LINE = ("arch", "encoder", "projector", "style", "held_out")


def _pictures(run: Run) -> Content | None:
    table = run.table("pictures")
    if table is None:
        return None
    means = over_words(table)
    looks = picture_data(run)
    models = looks.get("models", {}).values()
    corpus = run.resolved.get("corpus") or {}
    scenes = corpus.get("scenes") or {}
    variables = {
        "rows": at_the_end(means, _LINE).to_dicts(),
        "looks": bool(looks),
        "threshold": looks.get("threshold"),
        "seeds": sorted({model["seed"] for model in models}),
        "more": any(len(model["layers"]) > TILES for model in models),
        "emoji": "sprites" in scenes and scenes["sprites"] is None,
        "photographs": "photographs" in corpus,
    }
    return Content(variables, {"pictures": pictures_figure(run, means)}, {"looks": looks} if looks else {})


def over_words(pictures: pl.DataFrame) -> pl.DataFrame:
    """Return the means over words and seeds per model, style and step, and in how many words the gain is positive."""
    return (
        pictures.with_columns(pl.col("arch").cast(pl.String))
        .group_by(*_LINE, "step", maintain_order=True)
        .agg(
            pl.col("tokens_seen").first(),
            pl.col("match_nats", "mismatch_nats", "gain_nats").mean(),
            (pl.col("gain_nats") > 0).mean().alias("positive"),
            pl.col("word").n_unique().alias("n_words"),
        )
        .sort(*_LINE, "step")
    )


def pictures_figure(run: Run, means: pl.DataFrame) -> go.Figure:
    """Gain by repainted pictures over steps, one line per model and style; dashed: never seen in training."""
    figure = step_figure(run.axis, "gain by repainting (nats)")
    figure.add_hline(y=0, line=RULE)
    lines = Lines(figure, run.axis, span(means, "gain_nats", floor=0.0))
    for (arch, style, held_out), line in means.group_by("arch", "style", "held_out", maintain_order=True):
        dash = "dash" if held_out else "solid"
        meta, mark = {"arch": str(arch)}, run.marks[str(arch)]
        lines.add(line, "gain_nats", f"{arch}, {style}", mark, meta, _repainted, dash=dash)
    lines.name_ends()
    return figure


def _repainted(row: dict) -> str:
    return f"{row['style']}: match {nats(row['match_nats'])}, repainted {nats(row['mismatch_nats'])}"


PICTURE_SECTION = Section("pictures", "Pictures", "table pictures", _pictures, World.PICTURES)
