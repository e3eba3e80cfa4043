import pytest

from groundscope.errors import StudyError
from groundscope.trajectory.at import evenly, steps_at

STEPS = (0, 20, 40, 80, 120, 160, 200, 250, 300)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("all", STEPS),
        ("final", (300,)),
        ("few", (0, 40, 120, 200, 300)),
        ((80, 0), (0, 80, 300)),
        ((), (300,)),
    ],
)
def test_chosen_checkpoints(at, expected):
    assert steps_at(at, STEPS) == expected


def test_a_short_training_has_no_more_than_its_checkpoints():
    assert steps_at("few", (0, 10)) == (0, 10)
    assert steps_at("few", (10,)) == (10,)


def test_a_step_without_a_checkpoint_is_named():
    with pytest.raises(StudyError, match=r"controls\.at names step 30, which is no checkpoint\. There are 0, 20, 40"):
        steps_at((20, 30), STEPS, "controls.at")


def test_an_even_choice_keeps_both_ends_and_takes_ranks():
    pythia = (0, *(2**power for power in range(10)), *range(1000, 143_001, 1000))
    assert evenly(pythia, 5) == (0, 28_000, 66_000, 105_000, 143_000)
    assert evenly(pythia, 1000) == pythia
    assert evenly(pythia, 1) == (143_000,)
    assert evenly([], 3) == ()


def test_as_many_different_ones_are_chosen_as_are_asked_for():
    for size in range(2, 30):
        for count in range(2, size + 3):
            found = evenly(range(size), count)
            assert (found[0], found[-1]) == (0, size - 1)
            assert len(set(found)) == len(found) == min(count, size)
