"""Tables for papers."""

import json

import polars as pl
import pytest

from groundscope.errors import TableError
from groundscope.report.table_text import TextFormat, selected, table_text

FRAME = pl.DataFrame(
    {
        "arch": ["a_b|c", "100 %"],
        "estimate": [-0.12345, None],
        "p_holm": [0.0004, 0.2],
        "holds": [True, None],
        "weight_hash": ["x", "y"],
    }
)


def test_markdown_is_a_table() -> None:
    text = table_text(selected(FRAME, "any", (), (), False), TextFormat.MARKDOWN)
    head, rule, first, second = text.splitlines()
    assert head.split() == ["|", "arch", "|", "estimate", "|", "p_holm", "|", "holds", "|"]
    assert rule == "| ------ | -------: | --------: | ----- |"
    assert first == "| a_b\\|c |   −0.123 | < .001*** | yes   |"
    assert second == "| 100 %  |        – |      .200 | –     |"


def test_latex_is_escaped_and_aligned() -> None:
    text = table_text(selected(FRAME, "any", ("arch", "estimate", "p_holm"), (), False), TextFormat.LATEX)
    assert "\\begin{tabular}{lrr}" in text
    assert "a\\_b|c & $-$0.123 & $<$ .001*** \\\\" in text
    assert "100 \\% & -- & .200 \\\\" in text


def test_csv_keeps_every_digit_and_column() -> None:
    text = table_text(selected(FRAME, "any", (), (), True), TextFormat.CSV)
    assert text.splitlines()[0] == "arch,estimate,p_holm,holds,weight_hash"
    assert "-0.12345" in text


def test_csv_holds_lists_as_json() -> None:
    frame = pl.DataFrame({"map": [[0.1, None], None, []], "words": [["a,b", '"'], [], ["c"]], "n": [1, 2, 3]})
    read = pl.read_csv(table_text(frame, TextFormat.CSV).encode())
    maps, words = ([None if text is None else json.loads(text) for text in read[name]] for name in ("map", "words"))
    assert (maps, words) == (frame["map"].to_list(), frame["words"].to_list())
    assert read["n"].to_list() == [1, 2, 3]


def test_rows_and_columns_are_chosen_by_name() -> None:
    assert selected(FRAME, "any", ("p_holm",), ("arch=100 %",), False).to_dicts() == [{"p_holm": 0.2}]
    with pytest.raises(TableError, match="Did you mean 'estimate'"):
        selected(FRAME, "any", ("estimat",), (), False)
    with pytest.raises(TableError, match="COLUMN=VALUE"):
        selected(FRAME, "any", (), ("arch",), False)
    with pytest.raises(
        TableError, match=r"No row of 'any' has arch=a_b; there is a_b\|c, 100 %\. Did you mean 'a_b\|c'"
    ):
        selected(FRAME, "any", (), ("arch=a_b",), False)
    with pytest.raises(TableError, match=r"has arch=a_b\|c; there is 100 %\.$"):
        selected(FRAME, "any", (), ("p_holm=0.2", "arch=a_b|c"), False)
    with pytest.raises(TableError, match="there is no value"):
        selected(FRAME.clear(), "any", (), ("arch=a_b",), False)
    with pytest.raises(TableError, match="Column 'box' of table 'any' holds lists"):
        selected(pl.DataFrame({"box": [[1.0, 2.0]]}), "any", (), ("box=1",), False)
