"""What a measured number says about a published one. The rules stand in `RULES`, which the page prints."""

from collections.abc import Sequence
from enum import StrEnum

from groundscope.reproduction.measured import Answer
from groundscope.reproduction.published import Direction, Grade, Point, Quantity
from groundscope.reproduction.results import Measured

TOLERANCE = {Grade.AUTHORS: 0.10, Grade.SUMMARY: 0.10, Grade.FIGURE: 0.25}
"""How far from the published number, as a share of it, ours may lie and count as the same size."""


class Verdict(StrEnum):
    """What became of a published number."""

    SIZE = "agrees in size"
    DIRECTION = "agrees in direction"
    UNCLEAR = "unclear"
    DIFFERS = "differs"
    NOT_RUN = "not run"


RULES = {
    Verdict.SIZE: (
        "the direction agrees, the run has the paper’s steps, width and depth, and the published number lies in our "
        "interval, or ours within 10 % of it (25 % where it was read off a figure)"
    ),
    Verdict.DIRECTION: (
        "what the paper says of the series holds here: an interval above zero, intervals at both ends that do not "
        "overlap, or the test named. A run at reduced size is never said to agree in size"
    ),
    Verdict.UNCLEAR: "the interval allows both, or the test does not decide",
    Verdict.DIFFERS: "the interval, or the test, speaks against what the paper says",
    Verdict.NOT_RUN: "no run has come to this point",
}


def verdicts(quantity: Quantity, answer: Answer, *, paper_size: bool) -> list[Verdict]:
    """Return a verdict for each published point of a quantity."""
    direction = _direction(quantity, answer)
    found = []
    for point, measured in zip(quantity.points, answer.points, strict=True):
        if measured is None:
            found.append(Verdict.NOT_RUN)
        elif direction is Verdict.DIRECTION and paper_size and same_size(point, measured, quantity.grade):
            found.append(Verdict.SIZE)
        else:
            found.append(direction)
    return found


def same_size(point: Point, measured: Measured, grade: Grade) -> bool:
    """Whether a measured number is as large as the published one, which may be a range."""
    if point.value is None:
        return False
    least, most = point.value, point.value if point.high is None else point.high
    low, high = measured.reach
    room = TOLERANCE[grade] * max(abs(least), abs(most))
    return (low <= most and high >= least) or least - room <= measured.value <= most + room


def _direction(quantity: Quantity, answer: Answer) -> Verdict:
    known = [measured for measured in answer.points if measured]
    if not known:
        return Verdict.NOT_RUN
    match quantity.direction:
        case Direction.RISES_THEN_FALLS | Direction.NONE:
            return _verdict(answer.tested)
        case Direction.POSITIVE:
            return _sign(*known[-1].reach)
        case Direction.WITHIN:
            return _within(known[-1], quantity)
        case Direction.RISES:
            return _change(known, 1)
        case Direction.FALLS:
            return _change(known, -1)


def _verdict(agrees: bool | None) -> Verdict:
    return {True: Verdict.DIRECTION, False: Verdict.DIFFERS, None: Verdict.UNCLEAR}[agrees]


def _sign(low: float, high: float) -> Verdict:
    return _verdict(True if low > 0 else False if high < 0 else None)


def _change(known: Sequence[Measured], sign: int) -> Verdict:
    """Whether the last value lies beyond the first; undecided where the intervals overlap or there is one value."""
    if len(known) < 2:
        return Verdict.UNCLEAR
    (first_low, first_high), (last_low, last_high) = known[0].reach, known[-1].reach
    rise = (last_low - first_high, last_high - first_low)
    return _sign(*rise) if sign > 0 else _sign(-rise[1], -rise[0])


def _within(measured: Measured, quantity: Quantity) -> Verdict:
    assert quantity.low is not None
    assert quantity.high is not None
    low, high = measured.reach
    if high < quantity.low or low > quantity.high:
        return Verdict.DIFFERS
    return _verdict(True if low >= quantity.low and high <= quantity.high else None)
