"""Paths in a study: what a person wrote stays in what is kept, and is looked up where it is used.

``${GROUNDSCOPE_DATA}/childes.tar.xz`` is kept as it stands, so that a run's settings are the same on every machine.
Small files that a study names (its contexts) are copied into the run, and what is kept names the copy. Other paths are
kept relative to the run, or from ``${HOME}`` on: a run tells nobody's name, and moves together with what it reads.
"""

import os
import re
from pathlib import Path

from groundscope.errors import StudyError

GIVEN = "given"
"""The folder of a run that holds copies of the small files that its study names."""
_HOME = "HOME"
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def anchored(path: Path, folder: Path) -> Path:
    """Return ``path`` relative to the study file's ``folder``, unless it is absolute or begins with a variable.

    ``~/talk`` is ``${HOME}/talk``. Raises StudyError for ``$NAME/talk``, which only a shell knows.
    """
    first, *rest = path.parts or ("",)
    if first == "~":
        return Path(f"${{{_HOME}}}", *rest)
    if re.fullmatch(r"\$\w+", first):
        braced = Path(f"${{{first[1:]}}}", *rest)
        raise StudyError(f'The study\'s path {path} begins with a variable as shells have it. Write "{braced}".')
    return path if _VARIABLE.match(str(path)) else folder / path


def located(path: Path) -> Path:
    """Put the environment's values in; raises StudyError for a variable that is not set."""
    return Path(_VARIABLE.sub(_environment, str(path)))


def kept(path: Path, run: Path) -> Path:
    """Return ``path`` as the study file in the folder ``run`` says it; one that begins with a variable as it is.

    Relative where both lie below some folder that is neither a home nor above one, else as `from_home` has it.
    """
    if _VARIABLE.match(str(path)):
        return path
    place, folder, home = Path(os.path.abspath(path)), run.resolve(), _home()
    if Path(os.path.commonpath([place, folder])) in (home, *home.parents):
        return from_home(place)
    return Path(os.path.relpath(place, folder))


def from_home(path: Path) -> Path:
    """Return an absolute ``path`` from ``${HOME}`` on where it is below that; others as they are."""
    home = _home()
    is_below = home != Path("/") and path.is_relative_to(home)
    return Path(f"${{{_HOME}}}") / path.relative_to(home) if is_below else path


def given_copy(option: str, path: Path) -> str:
    """Return where a run keeps its copy of the small file that an option names: ``given/contexts.yaml``."""
    return f"{GIVEN}/{option}{path.suffix}"


def same_place(before: str, now: str) -> bool:
    """Whether two settings name the same file, or one whose content is compared by itself (`given_copy`).

    ``${HOME}/vit`` is where ``/home/me/vit`` is while that is so; ``given/contexts.yaml`` stands for wherever the
    contexts lay that it is a copy of.
    """
    if now.startswith(f"{GIVEN}/"):
        return Path(before).suffix == Path(now).suffix
    if not (variables_in(before) or variables_in(now)):
        return False
    try:
        return located(Path(before)) == located(Path(now))
    except StudyError:
        return False


def variables_in(text: str) -> list[str]:
    """Return the names that ``text`` writes as ``${NAME}``."""
    return _VARIABLE.findall(text)


def _home() -> Path:
    return Path(os.environ.get(_HOME, "/"))


def _environment(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if not value:
        raise StudyError(f"The study uses ${{{match[1]}}}, which is not set. Set it: export {match[1]}=/path/to/data.")
    return value
