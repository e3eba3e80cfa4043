"""What made a run: versions of everything, machine, command. Kept beside the tables, never inside them."""

import functools
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundscope.study.cell import Record

PACKAGES = (
    "groundscope",
    "torch",
    "transformers",
    "lightning-fabric",
    "numpy",
    "polars",
    "scipy",
    "safetensors",
)
CHANGED = ", changed"


def command_line() -> str:
    """The command that this process was started with; a home folder is ``~``, since its name is nobody's business."""
    command, home = shlex.join(["groundscope", *sys.argv[1:]]), os.environ.get("HOME", "").rstrip("/")
    return re.sub(rf"(?<![\w./~-]){re.escape(home)}(?=/)", "~", command) if home else command


def provenance(command: str, catalogue: Mapping[str, Record]) -> dict[str, Any]:
    """Say how a run's cells came to be, as JSON-able values.

    Versions and machine are those that most of the time was spent with. What was computed with others, as by a page
    that is written again elsewhere, is told beside them.
    """
    by_maker: dict[str, list[str]] = {}
    for name, record in catalogue.items():
        by_maker.setdefault(json.dumps(record.made_with or made_with()), []).append(name)
    makers = sorted(by_maker, key=lambda maker: -sum(catalogue[name].seconds for name in by_maker[maker]))
    chief, *others = map(json.loads, makers or [json.dumps(made_with())])
    return {
        "command": command,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **chief,
        **({"elsewhere": _elsewhere([by_maker[maker] for maker in makers[1:]], others)} if others else {}),
        "seconds": {name: record.seconds for name, record in catalogue.items()},
    }


@functools.cache
def made_with() -> dict[str, Any]:
    """Versions and machine of this process, as JSON-able values."""
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        **({"commit": commit} if (commit := _commit(Path(__file__).parents[1])) else {}),
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "accelerator": _accelerator(),
        },
    }


def in_a_line(maker: Mapping[str, Any]) -> str:
    """Name the main packages and the processor or accelerator of `made_with`, as far as it tells them."""
    versions, machine = maker.get("versions", {}), maker.get("machine", {})
    packages = [f"{name} {versions[name]}" for name in ("groundscope", "torch", "transformers") if name in versions]
    if packages and "commit" in maker:
        commit, changed, _ = maker["commit"].partition(CHANGED)
        packages[0] += f" ({commit[:7]}{changed})"
    accelerator = machine.get("accelerator")
    where = machine.get("processor") if accelerator in (None, "none") else accelerator
    return ", ".join([*packages, *([where] if where else [])])


def _elsewhere(cells: Sequence[Sequence[str]], makers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Name the cells of each maker by kind, and say what made them; makers of equally many cells share a line."""
    told: dict[str, list[str]] = {}
    for names, maker in zip(cells, makers, strict=True):
        kinds = Counter(name.split("/")[0] for name in names)
        told.setdefault(", ".join(f"{kind} ({count})" for kind, count in kinds.items()), []).append(in_a_line(maker))
    return {of: "; ".join(lines) for of, lines in told.items()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit(package: Path) -> str | None:
    """Return the commit of the package's files, and whether they were changed since; None where it is no checkout."""

    def git(*asked: str) -> str:
        called = ("git", "-C", str(package), *asked)
        return subprocess.run(called, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    with suppress(OSError, subprocess.SubprocessError):
        git("ls-files", "--error-unmatch", "__init__.py")  # installed below somebody else's checkout it is not theirs
        return git("rev-parse", "HEAD") + (CHANGED if git("status", "--porcelain", "--", ".") else "")
    return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _accelerator() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
