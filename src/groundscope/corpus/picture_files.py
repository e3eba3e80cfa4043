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
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from pathlib import Path, PurePosixPath

from groundscope.corpus.sources import READ_ERRORS, SourceFile, Sources, open_sources
from groundscope.corpus.utterance import Problem
from groundscope.errors import CorpusError

PICTURES = (".jpg", ".jpeg", ".png")
_PACKED = (".tar.gz", ".tgz", ".tar.xz", ".txz")
_ARCHIVES = (".zip", ".tar", *_PACKED)
_WHOLE = PurePosixPath()


def place_of(path: Path) -> tuple[Path, PurePosixPath]:
    """Return what is on disk, and which folder or file is meant inside of it (``.`` where it is no archive)."""
    for place in (path, *path.parents):
        if place.is_file():
            return place, PurePosixPath(path.relative_to(place).as_posix())
        if place.exists():
            break
    return path, _WHOLE


def refuse_twice(paths: Sequence[Path]) -> None:
    """Raise CorpusError where a path is, or lies in, another one, so that what it holds would be read twice.

    A folder's archives are read only where they are named.
    """
    places = [place_of(path) for path in paths]
    for (number, (place, inside)), (other, (outer, part)) in permutations(enumerate(places), 2):
        is_packed = place.name.lower().endswith(_ARCHIVES)
        same = place.resolve() == outer.resolve() and inside.is_relative_to(part)
        if same or (not is_packed and place.resolve().is_relative_to(outer.resolve()) and part == _WHOLE):
            where = "is given twice" if places[number] == places[other] else f"lies in {paths[other]}"
            raise CorpusError(f"{paths[number]} {where}, so it would be read twice. Name it once.")


@contextmanager
def open_inside(path: Path, suffix: str | tuple[str, ...]) -> Iterator[Sources]:
    """Open the files that end in ``suffix`` below ``path``, as `open_sources` does, or below a folder in an archive.

    Raises CorpusError where there are none.
    """
    place, inside = place_of(path)
    with open_sources([place], suffix) as found:
        if inside == _WHOLE:
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


def content_of(file: SourceFile) -> bytes:
    """Return the SHA-256 of a file's bytes; raises CorpusError where it cannot be read."""
    try:
        with file.open() as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except READ_ERRORS as error:
        raise CorpusError(f"{file.name} cannot be read: {error}. Replace it or take it out.") from None


def _pictures_in(path: Path, problems: list[Problem]) -> list[SourceFile]:
    place, inside = place_of(path)
    name = place.name.lower()
    if not place.is_file() or not name.endswith(_ARCHIVES):
        with open_inside(path, PICTURES) as found:  # what lies open in a folder stays so
            problems += found.problems
            return list(found.files)
    if name.endswith(_PACKED):
        raise CorpusError(
            f"{place} is compressed as a whole, so single photographs cannot be read from it. Unpack it and name the "
            "folder; an uncompressed .tar or a .zip is read as it is."
        )
    files = _zip_pictures(place) if name.endswith(".zip") else _tar_pictures(place, problems)
    meant = [file for file in files if PurePosixPath(file.name).is_relative_to(inside)]
    if not meant:
        raise CorpusError(_nothing_inside(place, inside, PICTURES, [file.name for file in files]))
    return sorted(meant, key=lambda file: file.name)


def _zip_pictures(place: Path) -> list[SourceFile]:
    try:
        archive = zipfile.ZipFile(place)  # open for as long as its pictures are: finding one anew takes half a second
    except READ_ERRORS as error:
        raise CorpusError(f"{place} cannot be read as a .zip archive ({error}). Download it again.") from None

    def unpacked(entry: zipfile.ZipInfo) -> io.BytesIO:
        try:
            return io.BytesIO(archive.read(entry))
        except READ_ERRORS as error:
            raise CorpusError(f"{entry.filename} in {place} is damaged ({error}). Download it again.") from None

    return [
        SourceFile(PurePosixPath(entry.filename).as_posix(), place.stem, partial(unpacked, entry))
        for entry in archive.infolist()
        if _is_picture(entry.filename)
    ]


def _tar_pictures(place: Path, problems: list[Problem]) -> list[SourceFile]:
    found: list[SourceFile] = []
    try:
        with tarfile.open(place, "r:") as archive:
            found.extend(
                SourceFile(
                    PurePosixPath(entry.name).as_posix(),
                    place.stem,
                    partial(_cut_out, place, entry.name, entry.offset_data, entry.size),
                )
                for entry in archive
                if entry.isfile() and _is_picture(entry.name)
            )
    except READ_ERRORS as error:
        if not found:
            raise CorpusError(f"{place} cannot be read as a tar archive ({error}). Download it again.") from None
        problems.append(Problem(place.name, 0, "archive read in part", f"its list of files breaks off: {error}"))
    return found


def _cut_out(place: Path, name: str, offset: int, length: int) -> io.BytesIO:
    with place.open("rb") as stream:
        stream.seek(offset)
        raw = stream.read(length)
    if len(raw) < length:
        raise CorpusError(f"{place} breaks off inside {name}. Download it again.")
    return io.BytesIO(raw)


def _is_picture(name: str) -> bool:
    base = PurePosixPath(name).name
    return base.lower().endswith(PICTURES) and not base.startswith("._")  # what macOS adds to an archive


def _nothing_inside(place: Path, inside: PurePosixPath, suffix: str | tuple[str, ...], there: list[str]) -> str:
    folders = sorted({PurePosixPath(name).parent.as_posix() for name in there})
    wanted = suffix if isinstance(suffix, str) else " or ".join(suffix)
    shown = f" They lie in {', '.join(folders[:4])}{' and others' if len(folders) > 4 else ''}." if folders else ""
    where = "" if inside == _WHOLE else f" in {inside}"
    return f"{place} holds no {wanted} files{where}.{shown}"
