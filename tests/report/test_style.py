import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundscope.report.style import COLOURS, marks, step_axis

PAPERS = ("#fdfdfb", "#15171a")  # --paper of page.css, light and dark


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_stands_out_on_both_papers(colour: str, paper: str) -> None:
    brighter, darker = sorted((luminance(colour), luminance(paper)), reverse=True)
    assert (brighter + 0.05) / (darker + 0.05) >= 3


def test_many_models_keep_marks_of_their_own() -> None:
    found = marks(f"model-{index}" for index in range(20)).values()
    assert len({(mark.colour, mark.symbol) for mark in found}) == 20
    assert all(mark.outline.startswith("M") for mark in found)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True))
def test_the_axis_keeps_order_and_its_ticks_apart(steps: list[int]) -> None:
    axis = step_axis(steps, [step * 8 for step in steps])
    positions = [axis.position(step) for step in sorted(steps)]
    assert positions == sorted(positions)
    for scale in ("log", "linear"):
        ticks = axis.layout(scale)
        assert len(ticks["tickvals"]) == len(set(ticks["tickvals"])) == len(ticks["steps"])
        assert ticks["range"][0] < 0 <= max(ticks["tickvals"]) <= ticks["range"][1]
    apart = [b - a for a, b in zip(axis.layout("log")["tickvals"], axis.layout("log")["tickvals"][1:], strict=False)]
    assert all(gap >= axis.position(max(steps)) / 8 - 1e-3 for gap in apart)


def test_positions_are_near_a_plain_logarithm_beyond_the_first_checkpoint() -> None:
    axis = step_axis([0, 150, 300, 20_000], [0, 1, 2, 3])
    assert axis.position(0) == 0
    assert axis.position(20_000) - axis.position(2_000) == pytest.approx(math.log10(10), abs=0.04)


def test_tokens_are_shown_only_where_all_models_saw_as_many() -> None:
    assert step_axis([0, 100], [0, 1000]).tokens_at(50) == 500
    assert step_axis([0, 100, 100], [0, 1000, 2000]).tokens_at(50) is None
