"""Where photographs and what belongs to them lie: in folders, in archives, or in a folder inside an archive.

``photos.zip/val2017`` is the folder ``val2017`` inside ``photos.zip``. Pictures are read one by one, in any
order and as often as they are asked for, so an archive of them must be one that can be read anywhere: .zip, or .tar
that is not compressed.
"""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from groundscope.corpus.sources import (
    READ_ERRORS,
    WHOLE,
    SourceFile,
    Sources,
    open_sources,
    packing,
    place_of,
    tar_files,
    zip_files,
)
from groundscope.corpus.utterance import Problem
from groundscope.errors import CorpusError

PICTURES = (".jpg", ".jpeg", ".png")


@contextmanager
def open_inside(path: Path, suffix: str | tuple[str, ...]) -> Iterator[Sources]:
    """Open the files that end in ``suffix`` below ``path``, as `open_sources` does, or below a folder in an archive.

    Raises CorpusError where there are none.
    """
    place, inside = place_of(path)
    with open_sources([place], suffix) as found:
        if inside == WHOLE:
            yield found
            return
        files = tuple(file for file in found.files if PurePosixPath(file.name).is_relative_to(inside))
        if not files:
            raise CorpusError(_nothing_inside(place, inside, suffix, [file.name for file in found.files]))
        yield Sources(files, found.problems)


def pictures_in(paths: Sequence[Path], problems: list[Problem]) -> list[SourceFile]:
    """Return the pictures below folders and in archives, sorted by name within each path; they open at any time.

    What could not be read becomes a Problem. Raises CorpusError for a path that is missing, is damaged or holds none.
    """
    return [file for path in paths for file in _pictures_in(path, problems)]


def bytes_of(file: SourceFile) -> bytes:
    """Return a file's bytes; raises CorpusError where it cannot be read."""
    try:
        with file.open() as stream:
            return stream.read()
    except READ_ERRORS as error:
        raise CorpusError(f"{file.name} cannot be read: {error}. Replace it or take it out.") from None


def content_of(file: SourceFile) -> bytes:
    """Return the SHA-256 of a file's bytes; raises CorpusError where it cannot be read."""
    return hashlib.sha256(bytes_of(file)).digest()


def _pictures_in(path: Path, problems: list[Problem]) -> list[SourceFile]:
    place, inside = place_of(path)
    kind = packing(place)
    if not kind:
        with open_inside(path, PICTURES) as found:  # what lies open in a folder stays so
            problems += found.problems
            return list(found.files)
    if kind not in (".zip", ".tar"):
        raise CorpusError(
            f"{place} is compressed as a whole, so single photographs cannot be read from it. Unpack it and name the "
            "folder; an uncompressed .tar or a .zip is read as it is."
        )
    if kind == ".zip":  # open for as long as its pictures are: finding one anew takes half a second
        files = zip_files(place, PICTURES, ExitStack(), lambda archive, entry: partial(_unpacked, archive, entry))
    else:
        with ExitStack() as stack:
            files = tar_files(place, PICTURES, stack, lambda _, entry: partial(_cut_out, place, entry), problems)
    meant = [file for file in files if PurePosixPath(file.name).is_relative_to(inside)]
    if not meant:
        raise CorpusError(_nothing_inside(place, inside, PICTURES, [file.name for file in files]))
    return sorted(meant, key=lambda file: file.name)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> io.BytesIO:
    try:
        return io.BytesIO(archive.read(entry))
    except READ_ERRORS as error:
        raise CorpusError(f"{entry.filename} in {archive.filename} is damaged ({error}). Download it again.") from None


def _cut_out(place: Path, entry: tarfile.TarInfo) -> io.BytesIO:
    with place.open("rb") as stream:
        stream.seek(entry.offset_data)
        raw = stream.read(entry.size)
    if len(raw) < entry.size:
        raise CorpusError(f"{place} breaks off inside {entry.name}. Download it again.")
    return io.BytesIO(raw)


def _nothing_inside(place: Path, inside: PurePosixPath, suffix: str | tuple[str, ...], there: list[str]) -> str:
    folders = sorted({PurePosixPath(name).parent.as_posix() for name in there})
    wanted = suffix if isinstance(suffix, str) else " or ".join(suffix)
    shown = f" They lie in {', '.join(folders[:4])}{' and others' if len(folders) > 4 else ''}." if folders else ""
    where = "" if inside == WHOLE else f" in {inside}"
    return f"{place} holds no {wanted} files{where}.{shown}"
