"""Where text comes from: files in folders, in archives or alone, always in the same order, and bytes as text."""

import gzip
import io
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO

from groundscope.corpus.utterance import Problem
from groundscope.corpus.walk import files_below
from groundscope.errors import CorpusError

READ_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,  # zipfile: an encrypted member, a compression that it does not know
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
)
"""What a damaged or forbidden file raises when it is opened or read."""

Suffix = str | tuple[str, ...]

WHOLE = PurePosixPath()
"""The inside of an archive that is meant as a whole, and of what is none."""
_TAR_SUFFIXES = (".tar", ".tar.xz", ".txz", ".tar.gz", ".tgz")

IN_FOLDER = "archive not read"
FOLDER = "folder"
LINK = "link"

# TalkBank's shelves: what stands on one is a corpus (Eng-NA/Brown/Adam/..., Eng-UK-MOR/Manchester/...).
_SHELF = re.compile(r"Eng-[A-Z]+(-MOR)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. ``name`` is its path in the archive, or from the given folder (its name included) on.

    A folder and an archive of that folder therefore give the same names.
    """

    name: str
    collection: str
    open: Callable[[], io.BufferedIOBase]


@dataclass(frozen=True, slots=True)
class Sources:
    """All files found under the given paths, and the archives and folders that could not be read, or only in part."""

    files: tuple[SourceFile, ...]
    problems: tuple[Problem, ...]


@contextmanager
def open_sources(paths: Sequence[Path], suffix: Suffix) -> Iterator[Sources]:
    """Find the files that end in ``suffix``, or in one of several, under ``paths``, sorted by name within each path.

    A path is a folder, a .zip, .tar, .tar.xz or .tar.gz archive, or a single file of any suffix. Archives stay
    open until the context is left. Links are followed, and a file to which several names lead is read once. A folder
    that cannot be read, a link that leads nowhere and an archive inside a folder (unless it is a path itself) are not
    read; a Problem names them. Raises CorpusError when a path is missing, is no archive in spite of its name, holds no
    such file, or would be read twice.
    """
    for path in paths:
        if not path.exists():
            raise CorpusError(f"There is no file or folder {path}.")
    refuse_twice(paths)
    with ExitStack() as stack:
        files: list[SourceFile] = []
        problems: list[Problem] = []
        for path, below in zip(paths, _walked(paths, problems), strict=True):
            files += _files_of(path, below, suffix, stack, problems)
        yield Sources(tuple(files), tuple(problems))


def decode(raw: bytes, name: str) -> tuple[str, tuple[Problem, ...]]:
    r"""Bytes as text with ``\n`` line ends: UTF-8 with or without a mark, UTF-16 with one, or Latin-1.

    Only the bytes that are not UTF-8 are read as Latin-1, so that one bad byte does not garble the rest of a
    file; a Problem says where the first one is and how many there are.
    """
    problems: tuple[Problem, ...] = ()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = raw.decode("utf-16", "replace")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("utf-8-sig", "surrogateescape")
            count = sum("\udc80" <= character <= "\udcff" for character in text)
            why = f"{count} bytes are not UTF-8; they were read as Latin-1"
            text = re.sub("[\udc80-\udcff]", lambda match: chr(ord(match[0]) - 0xDC00), text)
            problems = (Problem(name, _line_of_first_bad_byte(raw), "encoding", why),)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, problems


def place_of(path: Path) -> tuple[Path, PurePosixPath]:
    """Return what is on disk, and which folder or file is meant inside of it (`WHOLE` where it is no archive)."""
    for place in (path, *path.parents):
        if place.is_file():
            return place, PurePosixPath(path.relative_to(place).as_posix())
        if place.exists():
            break
    return path, WHOLE


def refuse_twice(paths: Sequence[Path]) -> None:
    """Raise CorpusError where a path is, or lies in, another one, so that what it holds would be read twice.

    A folder's archives are read only where they are named.
    """
    named: dict[tuple[Path, PurePosixPath], Path] = {}
    for path in paths:
        found, inside = place_of(path)
        place = (found.resolve(), inside)
        if place in named:
            raise CorpusError(f"{path} is given twice, so it would be read twice. Name it once.")
        named[place] = path
    for (place, inside), path in named.items():  # each is asked for what it lies in: there may be thousands
        above = [(place, part) for part in inside.parents]
        above += [] if packing(place) else [(folder, WHOLE) for folder in place.parents]
        other = next((named[one] for one in above if one in named), None)
        if other is not None:
            raise CorpusError(f"{path} lies in {other}, so it would be read twice. Name it once.")


def packing(place: Path) -> str:
    """Return the end of an archive's name; empty for what is none."""
    name = place.name.lower()
    return next((end for end in (".zip", *_TAR_SUFFIXES) if name.endswith(end) and place.is_file()), "")


def zip_files(
    path: Path,
    suffix: Suffix,
    stack: ExitStack,
    opener: Callable[[zipfile.ZipFile, zipfile.ZipInfo], Callable[[], io.BufferedIOBase]],
) -> list[SourceFile]:
    """Return the files of a .zip that end in ``suffix``; it stays open until ``stack`` is closed.

    Raises CorpusError where it cannot be read.
    """
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except READ_ERRORS as error:
        raise CorpusError(f"{path} cannot be read as a .zip archive ({error}). Download it again.") from None
    entries = (entry for entry in archive.infolist() if _is_wanted(entry.filename, suffix))
    return [_member(path, entry.filename, opener(archive, entry)) for entry in entries]


def tar_files(
    path: Path,
    suffix: Suffix,
    stack: ExitStack,
    opener: Callable[[tarfile.TarFile, tarfile.TarInfo], Callable[[], io.BufferedIOBase]],
    problems: list[Problem],
    unpacked: IO[bytes] | None = None,
) -> list[SourceFile]:
    """Return the files of a .tar, read from ``unpacked`` where it is given, as `zip_files` does.

    Of a list of files that breaks off what can be read is returned, and a Problem says so.
    """
    files: list[SourceFile] = []
    try:
        archive = stack.enter_context(tarfile.open(path, "r:", unpacked))  # noqa: SIM115
        entries = (entry for entry in archive if entry.isfile() and _is_wanted(entry.name, suffix))
        files.extend(_member(path, entry.name, opener(archive, entry)) for entry in entries)
    except READ_ERRORS as error:
        if not files:
            raise CorpusError(f"{path} cannot be read as a tar archive ({error}). Download it again.") from None
        problems.append(Problem(path.name, 0, "archive read in part", f"its list of files breaks off: {error}"))
    return files


def _line_of_first_bad_byte(raw: bytes) -> int:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return before.count(b"\n") + 1
    return 0


def _walked(paths: Sequence[Path], problems: list[Problem]) -> list[list[Path]]:
    """The files below each path, a folder's path resolved; each file once, also where paths link to one another."""
    roots = [path.resolve() if path.is_dir() else path for path in paths]

    def unreadable(place: Path, error: OSError) -> None:
        root = next(root for root in roots if place.is_relative_to(root))
        what, why = (LINK, "it leads nowhere") if os.path.islink(place) else (FOLDER, "it cannot be read")
        problems.append(Problem(_name(place, root), 0, what, f"{why}: {error.strerror}"))

    below: list[list[Path]] = [[] for _ in roots]
    for number, file in files_below(roots, unreadable):
        below[number].append(file)
    return below


def _name(place: Path, root: Path) -> str:
    """The path from the given folder on, its name included."""
    return (root.name / place.relative_to(root)).as_posix()


def _files_of(
    path: Path, below: list[Path], suffix: Suffix, stack: ExitStack, problems: list[Problem]
) -> list[SourceFile]:
    kind = packing(path)
    if path.is_dir():
        files = _folder_files(path, below, suffix, problems)
    elif kind == ".zip":
        files = zip_files(path, suffix, stack, lambda archive, entry: lambda: _buffered(archive.open(entry)))
    elif kind:
        files = _unpacked_files(path, suffix, stack, problems)
    else:
        folder = path.resolve().parent
        collection = _collection(folder.parts, ())
        files = [SourceFile(f"{folder.name}/{path.name}".lstrip("/"), collection, lambda: path.open("rb"))]
    if not files:
        wanted = suffix if isinstance(suffix, str) else " or ".join(suffix)
        raise CorpusError(f"{path} holds no {wanted} files. {_what_to_name(path, problems)}")
    return sorted(files, key=lambda file: file.name)


def _what_to_name(path: Path, problems: list[Problem]) -> str:
    packed = [Path(problem.file).name for problem in problems if problem.what == IN_FOLDER]
    if packed and path.is_dir():
        return f"It holds archives, which must be named themselves: {', '.join(packed)}."
    unread = [f"{problem.file} ({problem.why})" for problem in problems if problem.what in (FOLDER, LINK)]
    if unread and path.is_dir():
        return f"Folders or links were passed over: {', '.join(unread)}."
    return "Name a folder, archive or file that does, and that no other path holds."


def _folder_files(path: Path, below: list[Path], suffix: Suffix, problems: list[Problem]) -> list[SourceFile]:
    root = path.resolve()
    files = []
    for file in below:
        if packing(file):
            why = "archives inside a folder are not read; name it beside the folder if you want its files"
            problems.append(Problem(_name(file, root), 0, IN_FOLDER, why))
        elif _is_wanted(file.name, suffix):
            collection = _collection(root.parts, file.relative_to(root).parts[:-1])
            files.append(SourceFile(_name(file, root), collection, lambda file=file: file.open("rb")))
    return files


def _unpacked_files(path: Path, suffix: Suffix, stack: ExitStack, problems: list[Problem]) -> list[SourceFile]:
    # Unpacked to disk first: a compressed tar can only be read front to back, and its order is not sorted.
    unpacked = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    try:
        with _decompressed(path) as packed:
            shutil.copyfileobj(packed, unpacked, 1 << 16)  # what is read is kept, so small bites
    except READ_ERRORS as error:
        problems.append(Problem(path.name, 0, "archive read in part", f"it cannot be unpacked further: {error}"))
    unpacked.seek(0)

    def opener(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], io.BufferedIOBase]:
        return lambda: _buffered(archive.extractfile(entry))

    return tar_files(path, suffix, stack, opener, problems, unpacked)


def _decompressed(path: Path) -> io.BufferedIOBase:
    name = path.name.lower()
    if name.endswith("xz"):
        return lzma.open(path)
    if name.endswith("gz"):
        return gzip.open(path)
    return path.open("rb")


def _buffered(stream: object) -> io.BufferedIOBase:
    assert isinstance(stream, io.BufferedIOBase)  # what the archives give, though their signatures promise less
    return stream


def _member(archive: Path, name: str, opener: Callable[[], io.BufferedIOBase]) -> SourceFile:
    inner = PurePosixPath(name)
    return SourceFile(inner.as_posix(), _collection((_stem(archive),), inner.parts[:-1]), opener)


def _is_wanted(name: str, suffix: Suffix) -> bool:
    base = PurePosixPath(name).name
    # "._x.cha" holds what macOS adds to an archive, not a transcript
    return base.lower().endswith(suffix) and not base.startswith("._")


def _stem(archive: Path) -> str:
    return archive.name[: -len(packing(archive))]


def _collection(outer: tuple[str, ...], inner: tuple[str, ...]) -> str:
    """Name the corpus of a file that lies in folders ``inner`` of the given place ``outer``.

    It is the folder on one of TalkBank's shelves where there is one, else the top folder inside the given
    place, else the place itself.
    """
    folders = (*outer, *inner)
    for shelf, folder in pairwise(folders):
        if _SHELF.fullmatch(shelf):
            return folder
    return inner[0] if inner else outer[-1]
