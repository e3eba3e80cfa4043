import pytest

from groundscope.errors import StudyError
from groundscope.trajectory.at import steps_at

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
