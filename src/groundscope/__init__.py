"""groundscope: when, where and by which mechanism symbol grounding emerges inside language models."""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundscope.handle import RunHandle

__version__ = "0.1.0"


def open(folder: "str | PathLike[str]") -> "RunHandle":
    """Open a run: ``groundscope.open("runs/toyworld").table("gain")``. Nothing heavy is imported before."""
    from pathlib import Path

    from groundscope.handle import open_handle

    return open_handle(Path(folder))
