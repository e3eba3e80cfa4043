"""Section of the page on models trained again without co-occurrence: G against what was done to the corpus."""

from typing import NamedTuple

import polars as pl

from groundscope.corpus.arms import Arm
from groundscope.report.content import Content, Section
from groundscope.report.figures_behaviour import Linear, lines_figure
from groundscope.report.findings import FORWARD
from groundscope.report.numbers import interval, listing, nats, percent, whole
from groundscope.report.run import Run, World
from groundscope.report.seeds import at_the_end


class _Line(NamedTuple):
    """How an arm is drawn and spoken of."""

    dash: str
    look: str
    cell: str
    """What the table says was done."""
    left: str
    """What a sentence says after G of this arm."""
    caption: str


ARMS = {
    Arm.COOCCURRING: _Line(
        "solid", "Solid", "cooccurring: removed", "", "that share of the co-occurring chunks was removed."
    ),
    Arm.SEPARATED: _Line(
        "dashdot",
        "Dash-dotted",
        "separated: exchanged",
        "where they stayed with their scene’s words exchanged",
        "the same chunks stayed, with their scene’s words exchanged among them, so that no text is lost and no word "
        "becomes rarer; scenes then stand beside talk of other things, which can teach that what is shown is not said.",
    ),
    Arm.RANDOM: _Line(
        "dash",
        "Dashed",
        "random: as many of all",
        "where as many of all chunks were removed",
        "as many chunks were removed, drawn from all, so that co-occurring ones stay the same part of what is read.",
    ),
    Arm.CONTROL: _Line(
        "dot",
        "Dotted",
        "control: as many others",
        "where as many others were removed",
        "as many of the other chunks were removed. The co-occurring ones become a larger part of what is read there, "
        "which can lift that line above where nothing was removed.",
    ),
}
"""The arms in the order in which the section tells of them."""


def _dose(run: Run) -> Content | None:
    dose = run.table("dose")
    if dose is None:
        return None
    last = at_the_end(dose)
    lines = {arm.value: line for arm, line in ARMS.items() if arm.value in last["arm"]}
    done = pl.col("arm").replace_strict({arm: line.cell for arm, line in lines.items()}, return_dtype=pl.String)
    place = pl.col("arm").replace_strict({arm: n for n, arm in enumerate(lines)}, return_dtype=pl.Int64)
    percents = (pl.col("share_removed") * 100).round().cast(pl.Int64)
    rows = last.with_columns(
        percents.alias("percent"),
        pl.col("arm").alias("kind"),
        pl.when(percents == 0).then(pl.lit("nothing")).otherwise(done).alias("done"),
    )
    rows = rows.with_columns(pl.Series("text", [_hover(row) for row in rows.iter_rows(named=True)], pl.String))
    axis = Linear("dose (% of the co-occurring chunks)", tuple(rows["percent"].unique().sort()))
    told = rows.filter(direction=FORWARD).sort("arch", place, "percent")
    return Content(
        {
            "reading": _reading(last, lines),
            "rows": told.filter((pl.col("percent") > 0) | (pl.col("arm") == pl.first("arm").over("arch"))).to_dicts(),
            "lines": list(lines.items()),
        },
        {"dose": lines_figure(rows, "percent", axis, run.marks, {arm: line.dash for arm, line in lines.items()})},
    )


def _hover(row: dict) -> str:
    """What was done to get a point of the figure, and what text that left."""
    dose = f"{row['done']}, {row['percent']} %" if row["percent"] else row["done"]
    return f"{dose}<br>{whole(row['chunks_left'])} chunks, {whole(row['cooccurring_left'])} of them co-occurring"


def _reading(last: pl.DataFrame, lines: dict[str, _Line]) -> str:
    """What is left of G at the largest dose, next to what the same dose of the other arms leaves."""
    said = []
    for (arch,), rows in last.filter(direction=FORWARD).sort("arch").group_by("arch", maintain_order=True):
        most = rows.filter(pl.col("arm") == Arm.COOCCURRING.value).sort("share_removed").tail(1).to_dicts()
        for row in most:
            same = dict(rows.filter(share_removed=row["share_removed"]).select("arm", "gain_nats").iter_rows())
            others = [f"{nats(same[arm])} {line.left}" for arm, line in lines.items() if line.left and arm in same]
            said.append(
                f"{nats(row['gain_nats'])} {interval(row['gain_low'], row['gain_high'])} in {arch} with "
                f"{percent(row['share_removed'], 0)} of the co-occurring chunks removed"
                + (f", and {listing(others)}" if others else "")
            )
    return f"G is {'; '.join(said)}." if said else ""


DOSE = Section("dose", "Co-occurrence removed", "section ablation in the study file", _dose, World.TEXT)
