"""What pydantic found wrong with settings, in one line for people."""

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from groundscope.errors import did_you_mean


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn pydantic's findings into one line: where, what was found, what is allowed."""
    findings = []
    for finding in error.errors():
        where = ".".join(str(part) for part in finding["loc"])
        if finding["type"] == "extra_forbidden":
            *parents, name = finding["loc"]
            known = _keys_at(model, parents)
            findings.append(f"unknown key '{where}'.{did_you_mean(str(name), known)} Known: {', '.join(sorted(known))}")
        else:
            message = finding["msg"].removeprefix("Value error, ")
            given = "" if finding["type"] in ("missing", "value_error") else f" (given: {finding['input']!r:.60})"
            findings.append(f"{where or 'study'}: {message[0].lower()}{message[1:]}{given}")
    return "; ".join(findings)


def _keys_at(model: type[BaseModel], parents: Iterable[str | int]) -> list[str]:
    """The field names of the section that ``parents`` leads to; a union's tag in the path selects its member."""
    sections: list[type[BaseModel]] = [model]
    for part in parents:
        below = [
            member
            for section in sections
            if part in section.model_fields
            for member in _models_in(section.model_fields[str(part)].annotation)
        ]
        tagged = [section for section in sections if part in _tags(section)]
        sections = below or tagged or sections
    return [name for section in sections for name in section.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["source"].annotation) if "source" in model.model_fields else ()
