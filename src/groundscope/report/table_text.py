"""A table as text for a paper: LaTeX (booktabs) or Markdown with rounded numbers, or CSV with all digits."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum

import polars as pl

from groundscope.errors import TableError, did_you_mean
from groundscope.report.numbers import MISSING, decimal, p_level

PRESENTED: Mapping[str, tuple[str, ...]] = {
    "evidence": ("arch", "seed", "direction", "step", "match_nats", "mismatch_nats", "gain_nats", "gain_low",
                 "gain_high", "r2_log", "p_holm"),
    "conclusions": ("arch", "direction", "claim", "estimate", "ci_low", "ci_high", "unit", "p_holm", "holds"),
    "causal": ("arch", "seed", "step", "role", "control", "mean_count", "mean_layer", "original_nats",
               "intervention_nats", "control_nats", "p_holm"),
    "mechanism_conclusions": ("arch", "claim", "against", "estimate", "ci_low", "ci_high", "unit", "p_holm", "holds"),
    "picture_saliency": ("arch", "seed", "step", "picture", "layer", "head", "box_share", "box_nats", "surprisal_nats"),
    "pictures_shown": ("arch", "picture", "word", "sentence", "style", "held_out", "width", "height"),
    "lens_conclusions": ("arch", "claim", "against", "estimate", "ci_low", "ci_high", "unit", "p_holm", "holds"),
}  # fmt: skip
"""The columns that a reader of a paper wants of the widest tables; of others, all but the weights' hash."""


class TextFormat(StrEnum):
    """How a table is written."""

    LATEX = "latex"
    MARKDOWN = "md"
    CSV = "csv"


_TOLD = 12  # values of a column, where the one asked for is not among them
SUFFIXES = {TextFormat.LATEX: ".tex", TextFormat.MARKDOWN: ".md", TextFormat.CSV: ".csv"}


def selected(
    frame: pl.DataFrame, name: str, columns: Sequence[str], where: Sequence[str], all_columns: bool
) -> pl.DataFrame:
    """Return the rows that satisfy every ``COLUMN=VALUE`` of ``where``; the columns asked for, else those presented.

    Raises TableError for a column that the table does not have, a condition that is not one or is about lists, and one
    that no row meets.
    """
    for condition in where:
        column, equals, value = condition.partition("=")
        if not equals:
            raise TableError(f"--where wants COLUMN=VALUE, such as arch=transformer-4; given: '{condition}'.")
        found = frame[_known(frame, name, column)]
        if found.dtype.is_nested():
            raise TableError(f"Column '{column}' of table '{name}' holds lists: --where compares single values.")
        values = found.cast(pl.String)
        frame = frame.filter(values == value)
        if frame.is_empty():
            there = values.drop_nulls().unique(maintain_order=True).to_list()
            known = ", ".join([*there[:_TOLD], *(["..."] if len(there) > _TOLD else [])]) or "no value"
            raise TableError(f"No row of '{name}' has {condition}; there is {known}.{did_you_mean(value, there)}")
    if columns:
        return frame.select(_known(frame, name, column) for column in columns)
    if all_columns:
        return frame
    presented = PRESENTED.get(name, tuple(column for column in frame.columns if column != "weight_hash"))
    return frame.select(column for column in presented if column in frame.columns)


def table_text(frame: pl.DataFrame, form: TextFormat) -> str:
    """Write ``frame``; p values get their stars (* < .05, ** < .01, *** < .001) in LaTeX and Markdown.

    CSV keeps every digit and holds lists as JSON.
    """
    if form is TextFormat.CSV:
        lists = frame.select(pl.selectors.nested()).get_columns()
        return frame.with_columns(map(_as_json, lists)).write_csv()
    cells = [[_cell(name, value) for name, value in row.items()] for row in frame.iter_rows(named=True)]
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    return (_latex if form is TextFormat.LATEX else _markdown)(frame.columns, cells, numeric)


def _as_json(column: pl.Series) -> pl.Series:
    texts = [None if value is None else json.dumps(value) for value in column.to_list()]
    return pl.Series(column.name, texts, pl.String)


def stars(p: float | None) -> str:
    """Write a p value as stars: * below .05, ** below .01, *** below .001."""
    return "" if p is None else "*" * sum(p < level for level in (0.05, 0.01, 0.001))


def _cell(name: str, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return MISSING if value is None else "yes" if value else "no"
    if name == "p" or name.startswith("p_"):
        return f"{p_level(float(str(value)))}{stars(float(str(value)))}"
    if isinstance(value, float):
        return decimal(value, 3)
    return str(value)


def _markdown(names: Sequence[str], cells: list[list[str]], numeric: Sequence[bool]) -> str:
    safe = [[text.replace("|", "\\|") for text in row] for row in cells]
    widths = [max(3, *(len(row[at]) for row in (list(names), *safe))) for at in range(len(names))]
    rule = [("-" * (width - 1) + ":") if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return "".join(_row(row, widths, numeric) for row in (list(names), rule, *safe))


def _row(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    texts = (
        text.rjust(width) if right else text.ljust(width)
        for text, width, right in zip(row, widths, numeric, strict=True)
    )
    return f"| {' | '.join(texts)} |\n"


def _latex(names: Sequence[str], cells: list[list[str]], numeric: Sequence[bool]) -> str:
    head = " & ".join(_escaped(name.replace("_", " ")) for name in names)
    body = "".join(f"{' & '.join(map(_escaped, row))} \\\\\n" for row in cells)
    columns = "".join("r" if right else "l" for right in numeric)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "−": "$-$", "–": "--",
}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _known(frame: pl.DataFrame, name: str, column: str) -> str:
    if column not in frame.columns:
        known = ", ".join(frame.columns)
        raise TableError(
            f"Table '{name}' has no column '{column}'.{did_you_mean(column, frame.columns)} It has {known}."
        )
    return column
