"""What a measured number says about a published one. The rules stand in `RULES`, which the page prints."""

from enum import StrEnum

from groundscope.reproduction.measured import NO_FALL, RESIDUAL, Answer
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
        "the direction agrees, the run has the paper’s corpus options, model, training, words, window of co-occurrence "
        "and criterion of heads (and a vocabulary of CHILDES, by its corpus’ card, within a quarter of the authors’; "
        "of lenses, their kind), and ours lies within 10 % of the published number (25 % where that was read off a "
        "figure; the margin where the heading names one), or within twice as much and the published number in our "
        "interval"
    ),
    Verdict.DIRECTION: (
        "what the paper says holds here: an interval above zero or within the range stated, a change from the first "
        "number to the last, once there are both, whose interval excludes zero (paired by word and seed; of R², "
        "intervals that do not overlap, and no fall after a rise that its test finds), or the test named. That R² "
        "rises, then falls is one test of the run’s own course, wherever its peak lies. No effect is one verdict on "
        "all checkpoints of the table: at each of them the change is shown to be smaller than negligible (all must "
        "be, so that checkpoints need no correction; p is after Holm over the two kinds of control heads). A run at "
        "reduced size is never said to agree in size"
    ),
    Verdict.UNCLEAR: (
        "the interval allows both, there is none (of one seed there is one where words are tested, over words alone), "
        "or the test does not decide or lacks data"
    ),
    Verdict.DIFFERS: (
        "the interval, or the test, speaks against what the paper says; against a fall of R²: the interval of what it "
        f"fell by since its peak ends below {NO_FALL}; against no effect: a change at any of the "
        "checkpoints, after Holm’s correction, that is not shown to be negligible there"
    ),
    Verdict.NOT_RUN: "no run has come to this point, or it did not measure this",
}


def verdicts(quantity: Quantity, answer: Answer, *, paper_size: bool) -> list[Verdict]:
    """Return a verdict for each published point of a quantity."""
    found = []
    for position, (point, measured) in enumerate(zip(quantity.points, answer.points, strict=True)):
        if measured is None:
            found.append(_verdict(answer.tested) if answer.why_untested(position) else Verdict.NOT_RUN)
            continue
        direction = _direction(quantity, answer, measured)
        comparable = paper_size and RESIDUAL not in measured.note
        agrees = direction is Verdict.DIRECTION and comparable and same_size(point, measured, quantity)
        found.append(Verdict.SIZE if agrees else direction)
    return found


def same_size(point: Point, measured: Measured, quantity: Quantity) -> bool:
    """Whether a measured number is as large as the published one, which may be a range.

    A wide interval holds many numbers, so that one alone makes no agreement: the estimate has to be near, too.
    """
    if point.value is None:
        return False
    least, most = point.value, point.value if point.high is None else point.high
    low, high = measured.reach
    share = TOLERANCE[quantity.grade] * max(abs(least), abs(most))
    room = share if quantity.margin is None else quantity.margin
    off = max(least - measured.value, measured.value - most)
    return off <= (2 * room if low <= most and high >= least else room)


def _direction(quantity: Quantity, answer: Answer, measured: Measured) -> Verdict:
    match quantity.direction:
        case Direction.RISES_THEN_FALLS | Direction.NONE:
            return _verdict(answer.tested)
        case Direction.POSITIVE:
            return _sign(measured)
        case Direction.WITHIN:
            return _within(measured, quantity)
        case Direction.RISES:
            return Verdict.DIFFERS if answer.tested else _change(answer, 1)  # tested: whether it falls again
        case Direction.FALLS:
            return _change(answer, -1)


def _verdict(agrees: bool | None) -> Verdict:
    return {True: Verdict.DIRECTION, False: Verdict.DIFFERS, None: Verdict.UNCLEAR}[agrees]


def _sign(measured: Measured, sign: int = 1) -> Verdict:
    """Whether an interval lies above zero (``sign`` -1: below it); undecided where there is none."""
    if measured.low is None or measured.high is None:
        return Verdict.UNCLEAR
    low, high = sorted((sign * measured.low, sign * measured.high))
    return _verdict(True if low > 0 else False if high < 0 else None)


def _change(answer: Answer, sign: int) -> Verdict:
    """Whether the last value lies beyond the first: by their paired change, else by intervals that do not overlap.

    Undecided until both are there: what is said of a whole course waits for its end.
    """
    if answer.change:
        return _sign(answer.change, sign)
    first, last = answer.points[0], answer.points[-1]
    if len(answer.points) < 2 or not (first and last) or first.low is None or last.low is None:
        return Verdict.UNCLEAR
    (first_low, first_high), (last_low, last_high) = first.reach, last.reach
    return _sign(Measured(last.value - first.value, last_low - first_high, last_high - first_low, None, 1), sign)


def _within(measured: Measured, quantity: Quantity) -> Verdict:
    assert quantity.low is not None
    assert quantity.high is not None
    if measured.low is None:
        return Verdict.UNCLEAR
    low, high = measured.reach
    if high < quantity.low or low > quantity.high:
        return Verdict.DIFFERS
    return _verdict(True if low >= quantity.low and high <= quantity.high else None)
