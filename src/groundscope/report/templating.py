"""The templates that pages are made of, and the other files beside them."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str, filters: dict[str, Callable[..., Any]]) -> Template:
    """Return a template that escapes what it is given, refuses what it is not given, and may use ``filters``."""
    environment = Environment(
        loader=PackageLoader("groundscope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def asset(name: str) -> str:
    """Return a script or a style sheet."""
    return (files("groundscope.report") / "templates" / name).read_text(encoding="utf-8")
