"""Names of published checkpoints: read, ordered, and refused where they are not one series."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundscope.errors import ModelError
from groundscope.trajectory.revisions import (
    Revision,
    list_revisions,
    order_revisions,
    parse_revision,
    split_revisions,
)


@pytest.mark.parametrize(
    ("name", "revision"),
    [
        ("step0", Revision("step0", step=0)),
        ("step143000", Revision("step143000", step=143_000)),
        ("step1000-tokens4B", Revision("step1000-tokens4B", step=1000, tokens=4 * 10**9)),
        (
            "stage1-step101000-tokens424B",
            Revision("stage1-step101000-tokens424B", step=101_000, tokens=424 * 10**9, stage=1),
        ),
        (
            "stage2-ingredient3-step9000-tokens38B",
            Revision("stage2-ingredient3-step9000-tokens38B", step=9000, tokens=38 * 10**9, stage=2, ingredient=3),
        ),
        ("checkpoint-400000", Revision("checkpoint-400000", step=400_000)),
        ("chck_100M", Revision("chck_100M", words=10**8)),
    ],
)
def test_every_grammar_is_read(name, revision):
    assert parse_revision(name) == revision


@pytest.mark.parametrize("name", ["main", "step", "step-1", "step1000-tokensB", "stage1", "chck_M", "xstep1", "step1 "])
def test_names_without_a_place_are_refused(name):
    with pytest.raises(ModelError, match="does not say where in training"):
        parse_revision(name)


@given(
    st.lists(st.integers(0, 10**6), unique=True, min_size=1), st.sampled_from(["step{}", "checkpoint-{}", "chck_{}M"])
)
def test_order_is_of_numbers_not_of_letters(numbers, grammar):
    ordered = order_revisions(grammar.format(number) for number in numbers)
    assert [revision.name for revision in ordered] == [grammar.format(number) for number in sorted(numbers)]


def test_stages_follow_each_other_though_their_steps_begin_again():
    names = ["stage2-ingredient1-step1000-tokens5B", "stage1-step9000-tokens38B", "stage1-step200-tokens1B"]
    assert [revision.name for revision in order_revisions(names)] == names[::-1]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["step1", "chck_1M"], "not of one series"),
        (["stage2-ingredient1-step1-tokens1B", "stage2-ingredient2-step1-tokens1B"], "Ingredients \\[1, 2\\]"),
        (["step1000", "checkpoint-1000"], "same place"),
        (["step1", "main"], "'main' does not say"),
    ],
)
def test_what_is_not_one_line_is_refused(names, says):
    with pytest.raises(ModelError, match=says):
        order_revisions(names)


def test_a_hub_listing_is_split_into_places_and_the_rest():
    placed, other = split_revisions(["main", "step1", "step0", "float16"])
    assert [revision.step for revision in placed] == [1, 0]
    assert other == ("main", "float16")


def test_listing_offline_says_what_to_do():
    with pytest.raises(ModelError, match="Name them yourself"):
        list_revisions("EleutherAI/pythia-14m")
