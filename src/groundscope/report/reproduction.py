"""The page that puts every published number of the paper beside ours: what agrees, what differs, what was not run.

It is drawn with the templates and the style of a run's page, needs no script, and is the same for the same tables; only
what pictures cost on the disk depends on whether their encoder is at hand.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from groundscope import __version__
from groundscope.files import atomic_file
from groundscope.progress import counted
from groundscope.report.numbers import FIXED, MISSING, decimal, interval, whole
from groundscope.report.style import COLOURS
from groundscope.report.templating import asset, template
from groundscope.reproduction.comparison import Found, Group, Row, compare
from groundscope.reproduction.experiments import PAPER, run_folder, scales
from groundscope.reproduction.listing import hours, listed
from groundscope.reproduction.origin import Origin, origin
from groundscope.reproduction.published import Paper, Point, Quantity, paper
from groundscope.reproduction.rate import REFERENCE, recorded_rate
from groundscope.reproduction.results import Measured
from groundscope.reproduction.verdicts import RULES, TOLERANCE, Verdict
from groundscope.training.memory import size

GRADES = {"A": "stated by the authors", "B": "stated by a published summary", "C": "read off a figure"}
MARKS = {
    Verdict.SIZE: "holds",
    Verdict.DIRECTION: "holds",
    Verdict.UNCLEAR: "unclear",
    Verdict.DIFFERS: "does not hold",
    Verdict.NOT_RUN: "not tested",
}
"""The verdict on a run's page that has the same colour."""
FILTERS = {
    "hours": hours,
    "has_numbers": lambda tallies: [position for position, tally in enumerate(tallies) if tally],
    "size": size,
    "percent": lambda share: f"{share:.0%}",
    "whole": whole,
}
WIDTH, MARGIN = 130, 7  # pixels of the line on which published and measured numbers stand


def write_reproduction(out: Path, runs: Path, studies: Path) -> Path:
    """Write the page to ``out`` from the runs below ``runs`` and the study files in ``studies``; return ``out``."""
    published, sizes = paper(), scales(studies)
    groups = compare(published, studies, runs, sizes)
    html = template("reproduction.html.j2", FILTERS).render(
        version=__version__,
        style=Markup(asset("page.css")),
        source=published.source,
        scales=["the paper’s size" if scale == PAPER else f"scale {scale}" for scale in sizes],
        colours=COLOURS,
        groups=[(group.title, _tallies(group, sizes), list(_blocks(group))) for group in groups],
        titles=published.experiments,
        lists={scale: listed(published, studies, runs, scale) for scale in sizes},
        rules=RULES,
        marks=MARKS,
        grades=GRADES,
        runs=list(_runs(published, runs, sizes)),
        rate=recorded_rate(runs) or REFERENCE,
        tolerance={grade.value: tolerance for grade, tolerance in TOLERANCE.items()},
    )
    with atomic_file(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return out


def _runs(published: Paper, runs: Path, sizes: Sequence[str]) -> Iterator[tuple[str, str, Origin]]:
    """(experiment, scale, where its numbers come from) of every run that has any."""
    for name in published.experiments:
        for scale in sizes:
            found = origin(run_folder(runs, scale, name))
            if found:
                yield name, scale, found


def _tallies(group: Group, sizes: Sequence[str]) -> list[list[tuple[Verdict, int]]]:
    return [list(group.tally(position).items()) for position in range(len(sizes))]


def _blocks(group: Group) -> Iterator[dict[str, Any]]:
    """One block per quantity and experiment: its rows, ready to be printed."""
    for (_, experiment), rows in groupby(group.rows, key=lambda row: (row.quantity.key, row.experiment)):
        block = list(rows)
        quantity = block[0].quantity
        reach = _reach(block)
        yield {
            "quantity": quantity,
            "experiment": experiment,
            "rows": [
                {
                    "where": _where(row.point, quantity),
                    "published": published(row.point, quantity),
                    "line": _line(row, reach),
                    "ours": [found and _ours(found, quantity) for found in row.ours],
                }
                for row in block
            ],
        }


def published(point: Point, quantity: Quantity) -> str:
    """Write a published number: ``2.28``, ``4.2 to 4.5``, ``7.864 (sd 0.105)``; a dash where none was stated."""
    if point.value is None:
        return MISSING
    text = decimal(point.value, _digits(point, quantity))
    if point.high is not None:
        text = f"{text} to {decimal(point.high, _digits(point, quantity))}"
    return text if point.sd is None else f"{text}{FIXED}(sd {decimal(point.sd, 3)})"


def _digits(point: Point, quantity: Quantity) -> int:
    return 3 if point.sd is not None or quantity.measure.kind == "lens" else quantity.digits


def _where(point: Point, quantity: Quantity) -> str:
    """Say which layer or step a number is of: whichever the series goes along."""
    along = len({each.layer for each in quantity.points}) > 1
    if along or point.step is None:
        return "" if point.layer is None else f"layer {point.layer}"
    return f"step {whole(point.step)}"


def _ours(found: Found, quantity: Quantity) -> dict[str, Any]:
    measured = found.measured
    if measured is None:
        return {"verdict": found.verdict, "number": "", "interval": "", "about": found.problem}
    digits = _digits_of_ours(measured, quantity)
    about = [f"step {whole(measured.step)}"] if measured.step is not None else []
    alone = "over words alone" if measured.n_seeds == 1 and measured.low is not None else ""
    about += [part for part in (counted(measured.n_seeds, "seed"), measured.note, alone) if part]
    bounds = interval(measured.low, measured.high, digits) if measured.low is not None else ""
    return {
        "verdict": found.verdict,
        "number": decimal(measured.value, digits),
        "interval": bounds,
        "about": ", ".join(about),
    }


def _digits_of_ours(measured: Measured, quantity: Quantity) -> int:
    """Two digits at least; three where an end of the interval would read as zero, which it is not."""
    if quantity.unit == "steps" or not quantity.digits:
        return quantity.digits
    digits = max(2, quantity.digits)
    return max(3, digits) if any(bound and not round(bound, digits) for bound in measured.reach) else digits


def _reach(block: Sequence[Row]) -> tuple[float, float] | None:
    """From the lowest to the highest number of a block, published and measured; None without something to compare.

    Steps are not drawn: a step of a shorter training is another part of it.
    """
    if block[0].quantity.unit == "steps":
        return None
    stated = [value for row in block for value in (row.point.value, row.point.high) if value is not None]
    measured = [found.measured for row in block for found in row.ours if found and found.measured]
    values = [*stated, *(bound for one in measured for bound in one.reach)]
    comparable = measured and len(stated) + len(measured) > 1
    return (min(values), max(values)) if comparable and min(values) < max(values) else None


def _line(row: Row, reach: tuple[float, float] | None) -> dict[str, Any] | None:
    """Where the published number and ours stand on the block's line, in pixels."""
    if reach is None:
        return None

    def at(value: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (value - reach[0]) / (reach[1] - reach[0]), 1)

    stated = row.point.value
    ends = None if stated is None else (at(stated), at(row.point.high if row.point.high is not None else stated))
    ours = [
        found and found.measured and (at(found.measured.value), *(at(bound) for bound in found.measured.reach))
        for found in row.ours
    ]
    return {"width": WIDTH, "published": ends, "ours": ours}
