"""Verdicts on planted numbers: intervals, paired changes and sizes."""

from groundscope.reproduction.measured import Answer
from groundscope.reproduction.published import Direction, Quantity, paper
from groundscope.reproduction.results import Measured
from groundscope.reproduction.verdicts import Verdict, same_size, verdicts

QUANTITIES = {quantity.key: quantity for quantity in paper().quantities}


def number(value: float, low: float | None, high: float | None) -> Measured:
    return Measured(float(value), None if low is None else float(low), None if high is None else float(high), 1, 2)


def judged(direction: Direction, *ours: tuple | None, tested=None, change=None, **changes) -> list[Verdict]:
    base = QUANTITIES["causal-original"]  # 6.38, 5.30, 4.77, grade B
    quantity: Quantity = base.model_copy(update={"direction": direction, **changes})
    points = [None if one is None else number(*one) for one in ours]
    return verdicts(quantity, Answer(points, tested, change), paper_size=True)


def test_verdicts_follow_from_intervals():
    near, far = [(6.4, 6.3, 6.5), (5.3, 5.2, 5.4), (4.8, 4.7, 4.9)], [(8.0, 7.9, 8.1), (7.5, 7.4, 7.6), (7.0, 6.9, 7.1)]
    assert judged(Direction.FALLS, *near) == [Verdict.SIZE] * 3
    assert judged(Direction.FALLS, *far) == [Verdict.DIRECTION] * 3
    assert judged(Direction.RISES, *near) == [Verdict.DIFFERS] * 3
    assert judged(Direction.FALLS, near[0], near[1], None) == [Verdict.UNCLEAR, Verdict.UNCLEAR, Verdict.NOT_RUN]
    assert judged(Direction.FALLS, near[0], None, near[2]) == [Verdict.SIZE, Verdict.NOT_RUN, Verdict.SIZE]
    assert judged(Direction.FALLS, near[0], None, None)[0] is Verdict.UNCLEAR  # one value does not fall
    overlapping = [(6.4, 5.0, 7.8), (5.3, 4, 6), (4.8, 4.0, 5.6)]
    assert judged(Direction.FALLS, *overlapping) == [Verdict.UNCLEAR] * 3
    assert judged(Direction.POSITIVE, *overlapping) == [Verdict.SIZE] * 3
    assert judged(Direction.POSITIVE, (0, 0, 0), (0, 0, 0), (0.1, -0.1, 0.3)) == [Verdict.UNCLEAR] * 3
    assert judged(Direction.WITHIN, *near, low=4, high=7) == [Verdict.SIZE] * 3
    for tested, verdict in ((True, Verdict.SIZE), (False, Verdict.DIFFERS), (None, Verdict.UNCLEAR)):
        assert judged(Direction.NONE, *near, tested=tested) == [verdict] * 3


def test_each_number_is_judged_by_itself_where_the_paper_says_something_of_each():
    below, none, above = (-0.2, -0.3, -0.1), (0.1, -0.1, 0.3), (9.0, 8.0, 10.0)
    assert judged(Direction.POSITIVE, below, none, above) == [Verdict.DIFFERS, Verdict.UNCLEAR, Verdict.DIRECTION]
    outside, across, inside = (6.4, 6.3, 6.5), (5.3, 4.9, 5.5), (4.0, 3.9, 4.1)
    found = judged(Direction.WITHIN, outside, across, inside, low=3, high=5)
    assert found == [Verdict.DIFFERS, Verdict.UNCLEAR, Verdict.DIRECTION]


def test_a_number_without_an_interval_decides_nothing():
    """One seed has no interval over seeds; that 4.76 is less than 6.38 is then no test."""
    alone = [(6.38, None, None), (5.3, None, None), (4.77, None, None)]
    for direction in (Direction.FALLS, Direction.RISES, Direction.POSITIVE):
        assert judged(direction, *alone) == [Verdict.UNCLEAR] * 3
    assert judged(Direction.WITHIN, *alone, low=0, high=10) == [Verdict.UNCLEAR] * 3


def test_a_change_is_judged_as_paired():
    overlapping = [(6.4, 5.0, 7.8), (5.3, 4, 6), (4.8, 4.0, 5.6)]
    falls = Measured(-1.6, -1.8, -1.4, None, 2)
    assert judged(Direction.FALLS, *overlapping, change=falls) == [Verdict.SIZE] * 3
    assert judged(Direction.RISES, *overlapping, change=falls) == [Verdict.DIFFERS] * 3


def test_the_same_size_is_near_and_not_merely_within_a_wide_interval():
    point, quantity = QUANTITIES["transformer-gain"].points[0], QUANTITIES["transformer-gain"]  # 2.5, margin .5
    sizes = {2.1: True, 1.9: False, 3.4: False}
    assert {value: same_size(point, Measured(value, None, None, 1, 1), quantity) for value in sizes} == sizes
    wide = {1.6: True, 1.4: False, 3.4: True, 3.6: False}
    assert {value: same_size(point, Measured(value, 0.1, 6.0, 1, 2), quantity) for value in wide} == wide
    lens = QUANTITIES["lens-20000"]
    assert not same_size(
        lens.points[-1], Measured(5.2, 5.1, 5.3, 1, 5), lens
    )  # 9 % off, and more than any step between


def test_only_rising_and_small_are_judged_as_such():
    """The LSTM's R² falls nowhere, and its G is small: neither is met by a Transformer's course."""
    course = [number(0.05, 0.0, 0.1), number(0.5, 0.4, 0.6)]
    only_rises = QUANTITIES["lstm-r2"]
    assert verdicts(only_rises, Answer([*course], None), paper_size=False) == [Verdict.DIRECTION] * 2
    assert verdicts(only_rises, Answer([*course], tested=True), paper_size=False) == [Verdict.DIFFERS] * 2
    ours = {3.0: Verdict.DIFFERS, 1.0: Verdict.DIRECTION, 0.01: Verdict.UNCLEAR}
    for value, verdict in ours.items():
        found = Answer([number(value, value - 0.02, value + 0.02)])
        assert verdicts(QUANTITIES["lstm-gain"], found, paper_size=False) == [verdict]
