"""The one manner of what is read from study files and cards."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Record(BaseModel):
    """Named fields that never change once they are read: no field is unknown, every number is finite.

    Building one raises pydantic's ValidationError, which names each field that is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, given: Any) -> Any:
        """Refuse what pydantic would take for 1 or 0: YAML reads yes, no, on and off as truth values."""
        for name, value in given.items() if isinstance(given, dict) else ():
            parts = value if isinstance(value, list | tuple) else (value,)
            if name in cls.model_fields and any(isinstance(part, bool) for part in parts):
                taken = _types_in(cls.model_fields[name].annotation)
                if taken & {int, float} and not taken & {bool, Any}:
                    raise ValueError(f"{name} takes a number, not yes or no (true or false)")
        return given


def _types_in(annotation: Any) -> set[Any]:
    """Every type that an annotation is made of; of a literal's values, their types."""
    inside = get_args(annotation)
    if not inside:
        return {annotation if annotation is Any or isinstance(annotation, type) else type(annotation)}
    return set[Any]().union(*map(_types_in, inside))
