"""Paths in a study: what a person wrote stays in what is kept, and is looked up where it is used.

``${GROUNDSCOPE_DATA}/childes.tar.xz`` is kept as it stands, so that a run's settings are the same on every machine.
"""

import os
import re
from pathlib import Path

from groundscope.errors import StudyError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def anchored(path: Path, folder: Path) -> Path:
    """Return ``path`` relative to the study file's ``folder``, unless it is absolute or begins with a variable."""
    return path if _VARIABLE.match(str(path)) else folder / path


def located(path: Path) -> Path:
    """Put the environment's values in; raises StudyError for a variable that is not set."""
    return Path(_VARIABLE.sub(_environment, str(path)))


def variables_in(text: str) -> list[str]:
    """Return the names that ``text`` writes as ``${NAME}``."""
    return _VARIABLE.findall(text)


def _environment(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if value is None:
        raise StudyError(f"The study uses ${{{match[1]}}}, which is not set. Set it: export {match[1]}=/path/to/data.")
    return value
