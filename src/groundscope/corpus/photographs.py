"""Real photographs with boxes: COCO's instances JSON and YOLO's labels."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import ijson
import yaml
from PIL import ExifTags, Image

from groundscope.corpus.boxes import Box, Size
from groundscope.corpus.picture_files import bytes_of, content_of, open_inside
from groundscope.corpus.sources import READ_ERRORS, SourceFile
from groundscope.corpus.utterance import Problem, Utterance
from groundscope.errors import CorpusError
from groundscope.strict import read_yaml

_UNREADABLE = (*READ_ERRORS, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for a damaged picture: of a broken PNG SyntaxError and ValueError, of broken EXIF struct.error."""
_UPRIGHT = dict(
    enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        start=2,
    )
)
"""EXIF's orientation -> what puts such a picture upright."""
_ON_ITS_SIDE = [_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)]
THINGS = "things"
"""The kind of what is of no kind."""
_NUMBER = re.compile(r"(\d+)$")
VISUAL_DIALOG = "VisualDialog"
"""How the files of the pictures begin that Visual Dialog added to COCO's."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One object of a photograph: its word and its box, the class that it was labelled with, and that class's kind."""

    word: str
    box: Box
    name: str = ""
    category: str = THINGS


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph: where it is, what is on it, and what is said about it."""

    file: SourceFile
    size: Size
    objects: tuple[Labelled, ...]
    key: str | None = None
    """By which captions and dialogues name it, see `picture_key`."""
    talks: tuple[tuple[Utterance, ...], ...] = ()
    """What is said about it: each caption, and a dialogue, by itself."""
    unboxed: frozenset[str] = frozenset()
    """Classes of what it shows besides, without a box of its own: crowds, and objects whose box cannot be read."""

    @property
    def name(self) -> str:
        """Its file's name without folder and suffix."""
        return PurePosixPath(self.file.name).stem

    def open(self) -> Image.Image:
        """Load it, in colours; raises CorpusError where it is damaged or not of the size that its boxes are for."""
        try:
            with _opened(self.file) as opened:
                turn = _turn(opened)
                picture = opened.convert("RGB")
        except _UNREADABLE as error:
            raise CorpusError(
                f"{self.file.name} cannot be read as a picture: {error}. Replace it or take it out."
            ) from None
        if (
            turn is not None and _upright(Size(*picture.size), turn) == self.size
        ):  # else the boxes are for it as it lies
            picture = picture.transpose(turn)
        if Size(*picture.size) != self.size:
            raise CorpusError(
                f"{self.file.name} is {picture.width} x {picture.height} pixels, but its boxes are for "
                f"{self.size.width} x {self.size.height}. Take the photograph as it was published."
            )
        return picture


def picture_key(name: str) -> str | None:
    """Return what a file's name says of which picture it is; None where it has no number.

    ``COCO_train2014_000000000139.jpg`` and ``000000000139.jpg`` are one picture. Those that Visual Dialog added to
    COCO's (``VisualDialog_val2018_000000000139.jpg``) count by themselves.
    """
    stem = PurePosixPath(name).stem
    found = _NUMBER.search(stem)
    return numbered(found[1], VISUAL_DIALOG if stem.startswith(VISUAL_DIALOG) else "") if found else None


def numbered(number: Any, series: str = "") -> str:
    """Return the key of the picture of a number."""
    return f"{series or 'COCO'} {str(number).lstrip('0') or '0'}"


def read_yolo(
    pictures: Sequence[SourceFile], labels: Sequence[Path], names: Path, problems: list[Problem]
) -> list[Photograph]:
    """Read photographs with YOLO's labels, ``NAME.txt`` below one of the ``labels``; in the order of ``pictures``.

    ``names`` is the data set's YAML (``names: {0: person, ...}``). A photograph without labels has no objects; a line
    that cannot be read becomes a Problem. Raises CorpusError where there are no names, or no telling which labels are a
    photograph's.
    """
    words = _names(names)
    texts = _label_texts(labels, problems)
    found = []
    for file in pictures:
        sizes = _sizes(file, problems)
        if sizes is None:
            continue
        size, _ = sizes
        source, text = _labels_of(file, texts)
        objects: list[Labelled] = []
        unboxed: set[str] = set()
        for number, line in enumerate(text.splitlines(), start=1):
            name = ""
            try:
                kind, *place = line.split()
                name = words[int(kind)]
                x, y, width, height = map(float, place)
                box = Box.of_yolo(x, y, width, height, size).within(size)
                objects.append(Labelled(last_word(name), box, name))
            except (ValueError, KeyError, TypeError, CorpusError) as error:
                unboxed |= {name} - {""}
                problems.append(Problem(source, number, "label", f"{line!r}: {error}"))
        found.append(Photograph(file, size, tuple(objects), picture_key(file.name), unboxed=frozenset(unboxed)))
    return found


def read_coco(pictures: Sequence[SourceFile], instances: Sequence[Path], problems: list[Problem]) -> list[Photograph]:
    """Read photographs with COCO's instances JSON (``images``, ``annotations``, ``categories``), in the files' order.

    Photographs that the files do not list are left out, as are those that ``pictures`` lack. Crowds (``iscrowd``) are
    no objects. Raises CorpusError when a file cannot be read, names none of the photographs, or does not tell which of
    several is meant.
    """
    there: dict[str, list[SourceFile]] = {}
    for file in pictures:
        there.setdefault(PurePosixPath(file.name).name, []).append(file)
    found = [photograph for path in instances for photograph in _coco(there, path, problems)]
    if not found:
        listed = ", ".join(map(str, instances))
        raise CorpusError(
            f"{listed} names none of the {len(pictures)} photographs, such as "
            f"{PurePosixPath(pictures[0].name).name}. Name the boxes of these photographs."
        )
    return found


def last_word(name: str) -> str:
    """A class of several words (``traffic light``) is named by its last, which is the noun."""
    return name.split()[-1]


def _coco(there: Mapping[str, list[SourceFile]], path: Path, problems: list[Problem]) -> Iterator[Photograph]:
    classes = {
        row["id"]: (str(row["name"]).lower(), str(row.get("supercategory") or THINGS))
        for row in _rows(path, "categories.item", "id", "name")
        if str(row["name"]).strip()
    }
    named: dict[Any, tuple[SourceFile, Size]] = {}
    for row in _rows(path, "images.item", "id"):
        file = _named_by(str(row.get("file_name")), there, path)
        sizes = None if file is None else _sizes(file, problems)
        if file is None or sizes is None:
            continue
        size = next(
            (size for size in sizes if (size.width, size.height) == (row.get("width"), row.get("height"))), None
        )
        if size is None:
            size, _ = sizes
            why = f"it is {size.width} x {size.height}, its boxes are for {row.get('width')} x {row.get('height')}"
            problems.append(Problem(file.name, 0, "photograph", why))
            continue
        named[row["id"]] = file, size
    objects: dict[Any, list[Labelled]] = {image: [] for image in named}
    unboxed: dict[Any, set[str]] = {image: set() for image in named}
    for number, row in enumerate(_rows(path, "annotations.item", "image_id"), start=1):
        if (image := row["image_id"]) not in named:
            continue
        name, category, box = "", THINGS, None
        try:
            name, category = classes[row["category_id"]]
            box = None if row.get("iscrowd") else Box(*row["bbox"]).within(named[image][1])
        except (KeyError, TypeError, CorpusError) as error:
            problems.append(Problem(path.name, 0, f"annotation {number}", f"it has no category or box: {error}"))
        if box is not None:
            objects[image].append(Labelled(last_word(name), box, name, category))
        elif name:
            unboxed[image].add(name)
    for image, (file, size) in named.items():
        series = VISUAL_DIALOG if PurePosixPath(file.name).name.startswith(VISUAL_DIALOG) else ""
        key = numbered(image, series)
        yield Photograph(file, size, tuple(objects[image]), key, unboxed=frozenset(unboxed[image]))


def _named_by(name: str, there: Mapping[str, list[SourceFile]], path: Path) -> SourceFile | None:
    """The photograph of a name: of several that are called so the one in the folder it names, of copies the first."""
    wanted = PurePosixPath(name).parts
    mine = there.get(wanted[-1], []) if wanted else []
    if len(mine) > 1:
        mine = [one for one in mine if PurePosixPath(one.name).parts[-len(wanted) :] == wanted] or mine
    if len(mine) > 1 and len({content_of(one) for one in mine}) > 1:
        raise CorpusError(
            f"{mine[0].name} and {mine[1].name} are both called {wanted[-1]}, and {path.name} does not say which of "
            "them it is about. Name the folder of photographs that is meant."
        )
    return mine[0] if mine else None


def _label_texts(labels: Sequence[Path], problems: list[Problem]) -> dict[str, list[tuple[str, str]]]:
    """Stem -> (name, text) of each file of labels that has it."""
    texts: dict[str, list[tuple[str, str]]] = {}
    for path in labels:
        with open_inside(path, ".txt") as found:
            problems += found.problems
            for file in found.files:
                text = bytes_of(file).decode("utf-8", "replace")
                texts.setdefault(PurePosixPath(file.name).stem, []).append((file.name, text))
    return texts


def _labels_of(file: SourceFile, texts: Mapping[str, list[tuple[str, str]]]) -> tuple[str, str]:
    """The labels of a photograph: of several of its name, those in a folder of its folder's name."""
    picture = PurePosixPath(file.name)
    mine = texts.get(picture.stem, [])
    if len(mine) > 1:
        mine = [one for one in mine if PurePosixPath(one[0]).parent.name == picture.parent.name] or mine
    if len(mine) > 1:
        raise CorpusError(
            f"{mine[0][0]} and {mine[1][0]} both label {picture.name}. Name the folder of labels that is meant."
        )
    return mine[0] if mine else ("", "")


@contextmanager
def _opened(file: SourceFile) -> Iterator[Image.Image]:
    with file.open() as stream, Image.open(cast("IO[bytes]", stream)) as opened:
        yield opened


def _turn(opened: Image.Image) -> Image.Transpose | None:
    """How a camera's picture is put upright, as people and YOLO's tools see it; asked before it is loaded."""
    if "exif" not in opened.info:
        return None
    return _UPRIGHT.get(opened.getexif().get(ExifTags.Base.Orientation, 1))


def _upright(lying: Size, turn: Image.Transpose | None) -> Size:
    return Size(lying.height, lying.width) if turn in _ON_ITS_SIDE else lying


def _sizes(file: SourceFile, problems: list[Problem]) -> tuple[Size, Size] | None:
    """Return a picture's size when it is upright, and as it lies in the file; None where it cannot be read."""
    try:
        with _opened(file) as opened:
            lying = Size(*opened.size)
            return _upright(lying, _turn(opened)), lying
    except _UNREADABLE as error:
        problems.append(Problem(file.name, 0, "photograph", f"it cannot be read: {error}"))
        return None


def _names(path: Path) -> Mapping[int, str]:
    try:
        with open_inside(path, (".yaml", ".yml")) as found:
            (file,) = found.files
            with file.open() as stream:
                names = read_yaml(stream.read())["names"]
        pairs = enumerate(names) if isinstance(names, list) else names.items()
        return {int(number): str(name).lower() for number, name in pairs if str(name).strip()}
    except (*READ_ERRORS, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusError(f"{path} does not name YOLO's classes (names: {{0: person, ...}}): {error}") from None


def _rows(path: Path, prefix: str, *keys: str) -> Iterator[dict[str, Any]]:
    """Yield the rows under a prefix; raises CorpusError for one that lacks a key, or whose key is no name or number."""
    try:
        with open_inside(path, ".json") as found:
            for file in found.files:
                with file.open() as stream:
                    for row in ijson.items(stream, prefix, use_float=True):
                        if not isinstance(row, dict) or not all(isinstance(row.get(key), str | int) for key in keys):
                            what = f"one of its {prefix.removesuffix('.item')} has no {' or no '.join(keys)}"
                            raise CorpusError(f"{path} cannot be read as COCO's instances JSON: {what}.")
                        yield row
    except (*READ_ERRORS, ijson.JSONError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read as COCO's instances JSON: {error}") from None
