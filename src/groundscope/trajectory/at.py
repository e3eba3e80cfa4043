"""At which of a training's checkpoints something dear is measured."""

from collections.abc import Sequence
from typing import Literal

from groundscope.errors import StudyError

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
            places = {round(part * (len(steps) - 1) / (_FEW - 1)) for part in range(_FEW)}
            return tuple(steps[place] for place in sorted(places))
    unknown = sorted(set(at) - set(steps))
    if unknown:
        known = ", ".join(map(str, steps))
        raise StudyError(f"{option} names step {unknown[0]}, which is no checkpoint. There are {known}.")
    return tuple(step for step in steps if step in at or step == steps[-1])
