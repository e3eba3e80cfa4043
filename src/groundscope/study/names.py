"""Names and numbers of a study that become folders of its run."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
Seed = Annotated[int, Field(ge=0, lt=2**63)]
T = TypeVar("T")


def _named(parts: dict[str, Any]) -> dict[str, Any]:
    for name in parts:
        if not re.fullmatch(NAME, name):
            raise ValueError(f"'{name}' names a folder: use letters, digits, '-', '_' and '.'")
    return parts


Named = Annotated[dict[str, T], AfterValidator(_named)]
"""Parts of a study by names that become folders."""
