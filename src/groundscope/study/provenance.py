"""What made a run: versions of everything, machine, command. Kept beside the tables, never inside them."""

import importlib.metadata
import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from typing import Any

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


def command_line() -> str:
    """The command that this process was started with; a home folder is ``~``, since its name is nobody's business."""
    command, home = shlex.join(["groundscope", *sys.argv[1:]]), os.environ.get("HOME", "").rstrip("/")
    return re.sub(rf"(?<![\w./~-]){re.escape(home)}(?=/)", "~", command) if home else command


def provenance(command: str) -> dict[str, Any]:
    """The command, and versions and machine of this process, as JSON-able values."""
    return {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "accelerator": _accelerator(),
        },
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _accelerator() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
