"""Where a file for people may be written: said before the work, not after it."""

import os
from pathlib import Path

from groundscope.errors import StudyError


def check_place(out: Path, suffix: str, option: str = "--out") -> None:
    """Raise StudyError where ``out`` cannot be written, or does not end in ``suffix``: it may be somebody's data.

    ``option`` is what named it.
    """
    if out.is_dir():
        raise StudyError(f"{option} {out} is a folder. Name the file to write, such as {out / f'NAME{suffix}'}.")
    if out.suffix.lower() != suffix:
        raise StudyError(
            f"{option} {out} does not end in {suffix}, which is what would be written. Name such a file, for example "
            f"{out.with_suffix(suffix)}."
        )
    place = next(folder for folder in out.absolute().parents if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise StudyError(f"{option} {out} cannot be written: {place} may not be written to. Name another file.")
