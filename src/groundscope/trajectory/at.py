"""At which of a training's checkpoints something dear is measured."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from groundscope.errors import StudyError

T = TypeVar("T")
At = Literal["all", "few", "final"] | tuple[int, ...]
AT = (
    "at which checkpoints: all, few (five of them, the first and the last included), final, or a list of steps; the "
    "final one is always among them"
)
"""Describes such an option."""

_FEW = 5


def steps_at(at: At, steps: Sequence[int], option: str = "at") -> tuple[int, ...]:
    """Return those of the (ascending) checkpoints ``steps`` that ``at`` asks for; the last is always among them.

    Raises StudyError for a step that is no checkpoint; ``option`` is what the study file calls ``at``.
    """
    match at:
        case "all":
            return tuple(steps)
        case "final":
            return (steps[-1],)
        case "few":
            return evenly(steps, _FEW)
    unknown = sorted(set(at) - set(steps))
    if unknown:
        known = ", ".join(map(str, steps))
        raise StudyError(f"{option} names step {unknown[0]}, which is no checkpoint. There are {known}.")
    return tuple(step for step in steps if step in at or step == steps[-1])


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """Return ``count`` of the (ordered) items, evenly over their ranks, the first and the last among them.

    Ranks, not steps: checkpoints and published series are dense early in training, where emergence is. All items where
    there are no more; of one the last.
    """
    if count >= len(items):
        return tuple(items)
    if count == 1:
        return (items[-1],)
    return tuple(items[round(place * (len(items) - 1) / (count - 1))] for place in range(count))
