"""The version of the code that does a cell's work: a hash of the modules it stands on, found by following imports."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
WITHOUT_EFFECT = ("errors", "progress")
"""Modules that say things and compute nothing: a better message makes no result stale."""


@cache
def code_version(parts: tuple[str, ...]) -> str:
    """Hash the modules ``parts`` (``training.loop``) and all of this package that they import, directly or not.

    Comments, docstrings and layout do not count. A part with a slash is a data file or a folder of them
    (``data/words.yaml``). Modules of ``study`` bind the rooms together: they count where they are named, and what they
    import does not.
    """
    digest = hashlib.sha256()
    for path in _all_files(parts):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(_content(path))
    return digest.hexdigest()


@cache
def code_files(parts: tuple[str, ...]) -> dict[str, str]:
    """Return the start of a hash of each file that counts for `code_version`: enough to say which of them changed."""
    return {path.relative_to(PACKAGE).as_posix(): _short_hash(path) for path in _all_files(parts)}


def modules_behind(part: str) -> frozenset[str]:
    """Return the dotted names, relative to the package, of a module and of all that it imports from the package."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        name = waiting.pop()
        if name in found or name in WITHOUT_EFFECT:
            continue
        found.add(name)
        waiting += [] if name.startswith("study.") else _imported(name)
    return frozenset(found)


def code_only(source: str) -> bytes:
    """Return Python source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).encode()


def _all_files(parts: tuple[str, ...]) -> list[Path]:
    return sorted({path for part in parts for path in _files(part)})


@cache
def _content(path: Path) -> bytes:
    return code_only(path.read_text(encoding="utf-8")) if path.suffix == ".py" else path.read_bytes()


@cache
def _short_hash(path: Path) -> str:
    return hashlib.sha256(_content(path)).hexdigest()[:8]


def _files(part: str) -> Iterator[Path]:
    if "/" in part:
        place = PACKAGE / part
        yield from (place.rglob("*.*") if place.is_dir() else [place])
        return
    for name in modules_behind(part):
        yield _source(name)
        yield from (init for init in _packages(name) if init.is_file())


def _source(name: str) -> Path:
    path = PACKAGE / name.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        raise AssertionError(f"a cell names the module '{name}', which does not exist")
    return file


def _packages(name: str) -> list[Path]:
    """The ``__init__.py`` of the packages that importing a module runs; that of the whole holds its version alone."""
    parts = name.split(".")[:-1]
    return [PACKAGE.joinpath(*parts[: depth + 1], "__init__.py") for depth in range(len(parts))]


@cache
def _imported(name: str) -> list[str]:
    tree = ast.parse(_source(name).read_text(encoding="utf-8"))
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    ours = (module.removeprefix("groundscope.") for module in modules if module.startswith("groundscope."))
    return [module for module in dict.fromkeys(ours) if _exists(module)]


def _exists(name: str) -> bool:
    path = PACKAGE / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()
