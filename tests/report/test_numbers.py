import math

import pytest

from groundscope.progress import counted
from groundscope.report import numbers


@pytest.mark.parametrize(
    ("value", "written"),
    [(1.836, "1.84"), (-0.5, "−0.50"), (-0.001, "0.00"), (None, "–"), (math.nan, "–"), (12345.678, "12,345.68")],
)
def test_decimals_have_a_true_minus_and_no_negative_zero(value: float | None, written: str) -> None:
    assert numbers.decimal(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(0.26, ".26"), (1.0, "1.00"), (-0.05, "−.05"), (0.0, ".00"), (10.5, "10.50")]
)
def test_shares_lose_only_their_own_zero(value: float, written: str) -> None:
    assert numbers.share(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (150, "150"),
        (999, "999"),
        (999.6, "1k"),
        (1500, "1.5k"),
        (999_960, "1M"),
        (12_288_000, "12.3M"),
        (2e9, "2B"),
    ],
)
def test_compact_numbers_round_into_the_next_unit(value: float, written: str) -> None:
    assert numbers.compact(value) == written


def test_p_values_never_claim_to_be_zero() -> None:
    space = numbers.FIXED
    assert numbers.p_value(1e-9) == f"p{space}<{space}.001"
    assert numbers.p_value(0.0312) == f"p{space}={space}.031"
    assert [numbers.p_level(p) for p in (None, math.nan, 1.0, 0.5)] == ["–", "–", "> .999", ".500"]


def test_lists_and_counts_read_as_sentences() -> None:
    assert [numbers.listing(list(names)) for names in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert (counted(1, "seed"), counted(2_000, "seed")) == ("1 seed", "2,000 seeds")


def test_rounding_for_embedding_leaves_no_number_that_json_lacks() -> None:
    assert numbers.rounded([1.23456, math.nan, math.inf, None], 2) == [1.23, None, None, None]


def test_an_interval_without_bounds_is_a_dash() -> None:
    assert numbers.interval(None, None) == "–"
    assert numbers.share_interval(0.1, 0.25) == f"[.10,{numbers.FIXED}.25]"
    assert numbers.interval(-0.1, None) == f"[−0.10,{numbers.FIXED}–]"


@pytest.mark.parametrize(("values", "digits"), [((1.8, 0.001), 2), ((0.02, -0.01), 3), ((0.0004, None), 4), ((), 2)])
def test_tiny_numbers_get_the_decimals_they_need(values: tuple, digits: int) -> None:
    assert numbers.digits_for(*values) == digits
