"""Read a study file, put ``--set key=value`` on top, and say in one line what is wrong with it."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from groundscope.errors import GroundscopeError, StudyError, did_you_mean
from groundscope.strict import read_yaml
from groundscope.study.config import Study
from groundscope.study.explain import explain
from groundscope.study.paths import anchored

DEFAULT_STUDY = "toyworld.yaml"


def load_study(path: Path | None, overrides: Iterable[str] = ()) -> Study:
    """Load ``path`` (None: the toy world that ships with the package) with overrides such as ``training.steps=300``.

    Relative paths are relative to the study file; ``${NAME}`` in a path is looked up where it is used. Raises
    StudyError, in one line, for a missing file, bad YAML, unknown keys ("did you mean"), bad values or names.
    """
    if path is None:
        text, folder = (files("groundscope.data") / DEFAULT_STUDY).read_text(encoding="utf-8"), Path.cwd()
    else:
        if path.is_dir():
            raise StudyError(f"{path} is a folder. Name the study file in it: {path}/NAME.yaml.")
        if not path.is_file():
            raise StudyError(f"There is no study file {path}.{_neighbours(path)}")
        try:
            text, folder = path.read_text(encoding="utf-8"), path.resolve().parent
        except UnicodeDecodeError:
            raise StudyError(f"{path} is not UTF-8 text. Save it as UTF-8.") from None
    tree = _parse(text, str(path or DEFAULT_STUDY))
    for override in overrides:
        _override(tree, override)
    try:
        study = Study.model_validate(tree)
    except ValidationError as error:
        raise StudyError(f"{path or DEFAULT_STUDY}: {explain(error, Study)}") from None
    except GroundscopeError as error:
        raise StudyError(f"{path or DEFAULT_STUDY}: {error}") from None
    return study.moved(lambda path: anchored(path, folder))


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        tree = read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise StudyError(f"{name} is not valid YAML{place}: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(tree, dict):
        found = "is empty" if tree is None else f"holds {type(tree).__name__}"
        raise StudyError(f"{name} {found} where a study's keys (name, corpus, models, ...) should stand.")
    return tree


def _override(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise StudyError(f"--set wants key=value, such as training.steps=300; given: '{override}'.")
    *parents, last = key.strip().split(".")
    node = tree
    for depth, part in enumerate(parents, 1):
        below = node.setdefault(part, {})
        if not isinstance(below, dict):
            whole = value.strip()
            for name in (last, *reversed(parents[depth:])):
                whole = f"{{{name}: {whole}}}"
            raise StudyError(
                f"--set {override}: '{part}' holds a value, not a section. To replace it: "
                f"--set '{'.'.join(parents[:depth])}={whole}'"
            )
        node = below
    try:
        node[last] = read_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise StudyError(f"--set {override}: the value is not valid YAML.") from None


def _neighbours(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path.cwd()
    return did_you_mean(path.name, [file.name for file in folder.glob("*.y*ml")])
