"""What all figures for print share: the style, the step axis, lines with bands, names at their ends."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from io import BytesIO

import matplotlib
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from groundscope.report.style import Mark, StepAxis, thinned

COLUMN, PAGE = 3.35, 6.9
"""Widths in inches: one column of a paper, and both."""

MOST_PANELS_A_ROW = 3
MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "pentagon": "p",
    "hexagon": "h",
}  # fmt: skip
"""The page's symbols as matplotlib calls them."""


class PaperFigure(Figure):
    """A matplotlib Figure that belongs to no global state and shows itself in a notebook."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=200)
        return stream.getvalue()


@contextmanager
def paper_style() -> Iterator[None]:
    """Set matplotlib's parameters to the style of print, and put them back afterwards."""
    with as_file(files("groundscope.report.paper") / "paper.mplstyle") as path:
        style = matplotlib.rc_params_from_file(path, use_default_template=True)
    with matplotlib.rc_context(dict(style)):
        yield


def panels(names: Sequence[str], height: float, *, same_y: bool = True) -> tuple[PaperFigure, dict[str, Axes]]:
    """Return a figure with one panel per name, in even rows of at most three, and the panels by name."""
    rows = -(-len(names) // MOST_PANELS_A_ROW)
    columns = -(-len(names) // rows)
    width = COLUMN * 1.25 if columns == 1 else PAGE
    figure = PaperFigure(figsize=(width, height * rows))
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=same_y)
    for spare in grid.flat[len(names) :]:
        spare.set_visible(False)
    places = dict(zip(names, grid.flat, strict=False))
    for name, axes in places.items():
        if len(names) > 1:
            axes.set_title(name)
    return figure, places


def name_heights(places: Mapping[str, Axes], label: str) -> None:
    """Write what all panels' heights are beside the first panel of each row."""
    for axes in places.values():
        place = axes.get_subplotspec()
        if place is None or place.is_first_col():
            axes.set_ylabel(label)


def step_scale(axes: Axes, axis: StepAxis) -> None:
    """Scale the x axis by steps, logarithmically with room for step 0."""
    scale = axis.layout("log")
    most = {1: 7, 2: 5}.get(_columns(axes), 4)  # narrow panels have room for fewer numbers
    keep = thinned(len(scale["tickvals"]), most)
    axes.set_xticks([scale["tickvals"][at] for at in keep], [scale["steps"][at] for at in keep])
    axes.set_xlim(*scale["range"])
    axes.set_xlabel("training step")


def curve(
    axes: Axes, rows: pl.DataFrame, column: str, axis: StepAxis, mark: Mark, *, low: str = "", high: str = "", **look
) -> None:
    """Draw one column over steps, with the band between two others."""
    known = rows.drop_nulls(column)
    x = [axis.position(step) for step in known["step"]]
    axes.plot(x, known[column].to_list(), color=mark.colour, clip_on=False, **look)
    if low:
        axes.fill_between(
            x, known[low].to_list(), known[high].to_list(), color=mark.colour, alpha=0.16, linewidth=0, clip_on=True
        )


def end_labels(axes: Axes, labels: Sequence[tuple[float, float, str, str]], size: float = 7.5) -> None:
    """Write the names of lines that end at (x, y), in their colours, moved apart where they would touch.

    All stand right of the longest line: a name behind a shorter one would stand on the others.
    """
    low, high = axes.get_ylim()
    box = axes.get_window_extent().height / axes.figure.dpi * 72 or 100.0
    least = (high - low) * size * 1.15 / box
    end = max((x for x, *_ in labels), default=0.0)
    placed = -float("inf")
    for _, y, name, colour in sorted(labels, key=lambda label: label[1]):
        placed = max(y, placed + least)
        axes.annotate(
            name, (end, placed), xytext=(6.5, 0), textcoords="offset points", va="center", color=colour, fontsize=size,
            annotation_clip=False,
        )  # fmt: skip


def legend_below(figure: Figure, handles: Sequence[Artist], names: Sequence[str], most: int) -> None:
    """Put a legend below all panels, in as many columns, up to ``most``, as the figure is wide enough for."""
    for columns in range(min(most, len(names)), 0, -1):
        legend = figure.legend(handles, names, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _columns(axes: Axes) -> int:
    place = axes.get_subplotspec()
    return place.get_gridspec().ncols if place else 1
