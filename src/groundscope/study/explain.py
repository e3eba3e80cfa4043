"""What pydantic found wrong with settings, in one line for people."""

import re
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from groundscope.errors import did_you_mean

Place = tuple[str | int, ...]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn pydantic's findings into one line: where, what was found, what is allowed.

    A setting that may have several forms is one finding, whatever pydantic says against each of the forms.
    """
    findings: dict[Place, str] = {}
    for finding in _of_what_was_given(error.errors()):
        choice = _choice(model, finding["loc"])
        if choice is None:
            findings[finding["loc"]] = _told(finding, model)
        else:
            depth, field = choice
            where = finding["loc"][:depth]
            forms = f"{_dotted(where, model)}: give one of: {field.description or 'the forms that it has'}"
            if len(finding["loc"]) == depth + 1:  # then what was found is all that was given, and no part of it
                findings[where] = f"{forms} (given: {finding['input']!r:.60})"
            findings.setdefault(where, forms)
    return "; ".join(findings.values())


def _of_what_was_given(findings: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short where it is so because its entries were refused, which is said already."""
    inside = {finding["loc"][:-1] for finding in findings}
    return [finding for finding in findings if finding["type"] != "too_short" or finding["loc"] not in inside]


def _told(finding: ErrorDetails, model: type[BaseModel]) -> str:
    where, found, context = _dotted(finding["loc"], model), finding["input"], finding.get("ctx", {})
    hint = ""
    match finding["type"]:
        case "extra_forbidden":
            *parents, name = finding["loc"]
            known = [key for section in _sections_at(model, parents) for key in section.model_fields]
            return f"unknown key '{where}'.{did_you_mean(str(name), known)} Known: {', '.join(sorted(known))}"
        case "model_type" | "model_attributes_type" | "dict_type":
            may_lack = any(NoneType in get_args(field.annotation) for field in _fields_at(model, finding["loc"]))
            message = f"give its settings, as key: value{', or null to leave it out' if may_lack else ''}"
        case "tuple_type":
            message = f"write a list: [{found}]" if isinstance(found, str | int | float) else "write a list"
        case "too_short":
            message = f"give at least {context.get('min_length', 1)}"
        case "union_tag_not_found":
            message = f"give its {context['discriminator']}"
        case "union_tag_invalid":
            found, expected = context["tag"], context["expected_tags"]
            message, hint = f"its {context['discriminator']} should be one of {expected}", _nearest(found, expected)
        case "literal_error" | "enum":
            message, hint = finding["msg"], _nearest(found, context["expected"])
        case _:
            message = finding["msg"].removeprefix("Value error, ")
    given = "" if finding["type"] in ("missing", "value_error") else f" (given: {found!r:.60})"
    return f"{where or 'study'}: {message[0].lower()}{message[1:]}{given}{hint}"


def _nearest(given: Any, expected: str) -> str:
    """Ask whether one of the values was meant that pydantic lists as ``'a', 'b' or 'c'``."""
    asked = did_you_mean(given, re.findall(r"'([^']*)'", expected)) if isinstance(given, str) else ""
    return f".{asked}" if asked else ""


def _dotted(path: Place, model: type[BaseModel]) -> str:
    """Write a place as people do: pydantic's path also holds which member of a tagged union it went into."""
    return ".".join(str(part) for depth, part in enumerate(path) if not _is_tagged(model, path[:depth]))


def _is_tagged(model: type[BaseModel], path: Place) -> bool:
    """Whether a path ends at a union that a tag decides, so that its next part is the tag."""
    return any(field.discriminator is not None for field in _fields_at(model, path))


def _choice(model: type[BaseModel], path: Place) -> tuple[int, FieldInfo] | None:
    """How long the path to a setting of several forms is, and the setting, where ``path`` leads into one of them."""
    for depth in range(1, len(path)):
        for field in _fields_at(model, path[:depth]):
            if _has_forms(field):
                return depth, field
    return None


def _has_forms(field: FieldInfo) -> bool:
    """Whether a setting is a union that no tag decides; None beside one form leaves that the only one."""
    union = get_origin(field.annotation) in (Union, UnionType)
    return union and field.discriminator is None and len(set(get_args(field.annotation)) - {NoneType}) > 1


def _fields_at(model: type[BaseModel], path: Place) -> list[FieldInfo]:
    """The setting that a path ends at, in each section that it may stand in."""
    *parents, name = path or ("",)
    return [field for section in _sections_at(model, parents) if (field := section.model_fields.get(str(name)))]


def _sections_at(model: type[BaseModel], parents: Sequence[str | int]) -> list[type[BaseModel]]:
    """The sections that ``parents`` leads to; a union's tag in the path selects its member."""
    sections: list[type[BaseModel]] = [model]
    tag_is_next = False
    for part in parents:
        if tag_is_next:
            sections, tag_is_next = [section for section in sections if part in _tags(section)] or sections, False
            continue
        fields = [section.model_fields[str(part)] for section in sections if part in section.model_fields]
        tag_is_next = any(field.discriminator is not None for field in fields)
        sections = [member for field in fields for member in _models_in(field.annotation)] or sections
    return sections


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["source"].annotation) if "source" in model.model_fields else ()
