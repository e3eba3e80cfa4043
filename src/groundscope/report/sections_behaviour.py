"""Sections of the page on what else could make the gain: controls, and frames that favour words."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from groundscope.behaviour.options import Control
from groundscope.report.content import Content, Section
from groundscope.report.figures_behaviour import Linear, forest_figure, lines_figure
from groundscope.report.findings import FORWARD
from groundscope.report.forest import FINAL_GAIN, forest_rows, height_of
from groundscope.report.numbers import decimal, interval, listing, nats
from groundscope.report.run import Run, World
from groundscope.report.seeds import at_the_end, evidence_over_seeds
from groundscope.report.style import thinned

MEASURED, UNTRAINED, COUNTED = "as measured", "before any training", "a predictor that only counts"
RETRIEVED = "trained with one form for both"
VANISHES, STAYS, COMPARES = "Where the scene cannot help", "The same question, asked otherwise", "For comparison"
CONTROL_NAMES = {
    Control.SHUFFLED: "another word’s scene as the match",
    Control.SINGLE_WORD: "the scene word alone",
    Control.FILLER_FIRST: "an empty remark first",
    Control.DISTANT: "empty remarks between scene and word",
    Control.HELD_OUT: "frames unlikely in any corpus",
    Control.MISMATCH_SAMPLE: "against a sample of other words",
    Control.MISMATCH_SAME_CATEGORY: "against words of the same category",
    Control.MISMATCH_OTHER_CATEGORY: "against words of other categories",
    Control.MISMATCH_FREQUENCY: "against words of like frequency",
    Control.ONE_VOCABULARY: "one vocabulary: plain repetition",
}
CONTROL_LINES = (
    MEASURED,
    *(VANISHES, UNTRAINED, CONTROL_NAMES[Control.SHUFFLED]),
    STAYS,
    *(name for control, name in CONTROL_NAMES.items() if control not in (Control.SHUFFLED, Control.ONE_VOCABULARY)),
    *(COMPARES, COUNTED, RETRIEVED, CONTROL_NAMES[Control.ONE_VOCABULARY]),
)


def _controls(run: Run) -> Content | None:
    controls, evidence = run.table("control_evidence"), run.evidence
    if controls is None or evidence is None:
        return None
    measured = _control_rows(controls)
    main = evidence.filter(direction=FORWARD)
    last = at_the_end(main)
    parts = [
        forest_rows(last, pl.lit(MEASURED)),
        forest_rows(main.filter(step=0), pl.lit(UNTRAINED)),
        forest_rows(at_the_end(measured), pl.col("line")),
        forest_rows(_only_estimate(last, "counted_gain_nats"), pl.lit(COUNTED)),
    ]
    one_form = run.table("one_form")
    if one_form is not None:
        parts.append(forest_rows(at_the_end(one_form), pl.lit(RETRIEVED)))
    rows = pl.concat(parts)
    found = set(rows["line"])
    lines = _without_empty([line for line in CONTROL_LINES if line in found or line in (VANISHES, STAYS, COMPARES)])
    figure = forest_figure(lines, (VANISHES, STAYS, COMPARES), rows, run.marks, FINAL_GAIN)
    return Content(
        {
            "reading": _reading_of_controls(rows),
            "steps": _by_arch(measured, ("line", "step")),
            "n_words": max(last["n_words"]),
            "one_form": one_form is not None,
            "height": height_of(figure),
        },
        {"controls": figure},
    )


def _control_rows(controls: pl.DataFrame) -> pl.DataFrame:
    """The controls over seeds, with the line that each has in the figure."""
    parts = [
        evidence_over_seeds(rows.drop("control")).with_columns(pl.lit(CONTROL_NAMES[Control(str(name))]).alias("line"))
        for (name,), rows in controls.group_by("control", maintain_order=True)
    ]
    return pl.concat(parts)


def _reading_of_controls(rows: pl.DataFrame) -> str:
    """What is left of G where each word's scene is another word's, next to G itself."""
    said = []
    for (arch,), own in rows.group_by("arch", maintain_order=True):
        found = {row["line"]: row for row in own.iter_rows(named=True)}
        shuffled, main = found.get(CONTROL_NAMES[Control.SHUFFLED]), found.get(MEASURED)
        if shuffled and main:
            said.append(
                f"from {nats(main['value'])} to {decimal(shuffled['value'], 3)} "
                f"{interval(shuffled['low'], shuffled['high'], 3)} in {arch}"
            )
    return f"With another word’s scene in the match’s place, G goes {listing(said)}." if said else ""


def _frames(run: Run) -> Content | None:
    audit = run.table("audit")
    if audit is None:
        return None
    audit = audit.filter(pl.col("kind") == run.kind)
    last = at_the_end(audit, ("arch", "seed"))
    preference = pl.col("preference_nats")
    rows = last.group_by("arch", "context", "frame").agg(
        preference.mean().alias("value"), preference.min().alias("low"), preference.max().alias("high")
    )
    order = rows.group_by("context", "frame").agg(pl.col("value").mean()).sort("value", "context")
    line = pl.format("{} _", "frame")
    twice = order.filter(pl.col("frame").is_duplicated())["frame"]
    named = pl.when(pl.col("frame").is_in(twice.implode())).then(pl.format("{} ({})", line, "context")).otherwise(line)
    rows = rows.sort("arch", "context", "frame").select(
        "arch",
        "value",
        "low",
        "high",
        named.alias("line"),
        pl.lit(True).alias("filled"),
        pl.col("value").map_elements(nats, return_dtype=pl.String).alias("text"),
    )
    lines = order.select(named.alias("line"))["line"].to_list()
    frames = forest_figure(lines, (), rows, run.marks, "own preference (nats)")
    height = max(height_of(frames), 340)
    figures = {"frames": frames.update_layout(height=height)}
    neutral = run.table("neutral_frames")
    neutral = None if neutral is None else neutral.filter(pl.col("kind") == run.kind)
    if neutral is not None and neutral.height:
        numbers = neutral["n_contexts"].unique().sort().to_list()
        text = pl.format("the {} most neutral frames", "n_contexts").alias("text")
        axis = Linear("most neutral frames kept", tuple(numbers[at] for at in thinned(len(numbers), 8)))
        curve = lines_figure(neutral.with_columns(text), "n_contexts", axis, run.marks)
        figures["neutral"] = curve.update_layout(height=height)
    return Content(
        {
            "contexts": _contexts(run),
            "reading": _reading_of_frames(neutral),
            "neutral": "neutral" in figures,
            "height": height,
            "within": run.resolved.get("behaviour", {}).get("neutral_within"),
        },
        figures,
    )


def _reading_of_frames(neutral: pl.DataFrame | None) -> str:
    if neutral is None or neutral.is_empty():
        return ""
    said = []
    for (arch,), rows in (
        neutral.filter(direction=FORWARD).sort("arch", "n_contexts").group_by("arch", maintain_order=True)
    ):
        half, every = rows.row((rows.height - 1) // 2, named=True), rows.row(-1, named=True)
        said.append(f"{decimal(half['gain_nats'])} against {nats(every['gain_nats'])} in {arch}")
    return f"In the more neutral half of the frames alone, G is {listing(said)}." if said else ""


def _contexts(run: Run) -> list[dict[str, Any]]:
    """The contexts of the conclusions' kind, in the plain shape and in the question's own direction."""
    contexts = run.table("contexts")
    if contexts is None:
        return []
    mine = contexts.filter((pl.col("kind") == run.kind) & (pl.col("shape") == "plain"))
    return mine.filter(direction=FORWARD).to_dicts()


def _only_estimate(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    nothing = pl.lit(None, dtype=pl.Float64)
    return rows.with_columns(
        pl.col(column).alias("gain_nats"), nothing.alias("gain_low"), nothing.alias("gain_high")
    ).filter(pl.col("gain_nats").is_not_null())


def _without_empty(lines: list[str]) -> list[str]:
    """Leave out headings that no line follows."""
    headings = (VANISHES, STAYS, COMPARES)
    following = [*lines[1:], COMPARES]
    return [line for line, after in zip(lines, following, strict=True) if line not in headings or after not in headings]


def _by_arch(rows: pl.DataFrame, order: tuple[str, ...]) -> Mapping[str, list[dict[str, Any]]]:
    groups = rows.sort("arch", *order).group_by("arch", maintain_order=True)
    return {str(arch): own.to_dicts() for (arch,), own in groups}


CONTROLS = Section("controls", "Controls", "table control_evidence", _controls, World.TEXT)
FRAMES = Section("frames", "Are the contexts neutral?", "table audit", _frames, World.TEXT)
