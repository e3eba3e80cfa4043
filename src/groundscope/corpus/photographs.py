"""Real photographs with boxes: COCO's instances JSON and YOLO's labels, with captions or dialogues about them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ijson
import yaml
from PIL import Image

from groundscope.corpus.boxes import Box, Size
from groundscope.corpus.captions import caption_rows
from groundscope.corpus.running_text import words_of
from groundscope.corpus.sources import READ_ERRORS, open_sources
from groundscope.corpus.utterance import Channel, Problem, Utterance
from groundscope.errors import CorpusError, did_you_mean

_PICTURES = (".jpg", ".jpeg", ".png")
CAPTION_SPEAKER = "A"


@dataclass(frozen=True, slots=True)
class Labelled:
    """One object of a photograph: its word and its box."""

    word: str
    box: Box


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph: where it is, what is on it, and what is said about it."""

    path: Path
    size: Size
    objects: tuple[Labelled, ...]
    talk: tuple[Utterance, ...] = ()

    def open(self) -> Image.Image:
        """Load it, in colours."""
        with Image.open(self.path) as opened:
            return opened.convert("RGB")


def read_yolo(images: Path, labels: Path, names: Path, problems: list[Problem]) -> list[Photograph]:
    """Read a folder of photographs with YOLO's labels, ``NAME.txt`` beside or below ``labels``, sorted by name.

    ``names`` is the data set's YAML (``names: {0: person, ...}``). A photograph without labels has no objects; a line
    that cannot be read becomes a Problem. Raises CorpusError when there are no photographs or no names.
    """
    words = _names(names)
    files = {path.stem: path for path in sorted(labels.rglob("*.txt"))}
    found = []
    for path in _pictures(images):
        size = _size(path, problems)
        if size is None:
            continue
        objects = []
        lines = files[path.stem].read_text(encoding="utf-8").splitlines() if path.stem in files else []
        for number, line in enumerate(lines, start=1):
            try:
                kind, *place = line.split()
                x, y, width, height = map(float, place)
                objects.append(Labelled(words[int(kind)], Box.of_yolo(x, y, width, height, size)))
            except (ValueError, KeyError, TypeError, CorpusError) as error:
                problems.append(Problem(str(files[path.stem].name), number, "label", f"{line!r}: {error}"))
        found.append(Photograph(path, size, tuple(objects)))
    return found


def read_coco(images: Path, instances: Path, problems: list[Problem]) -> list[Photograph]:
    """Read a folder of photographs with COCO's instances JSON (``images``, ``annotations``, ``categories``).

    Photographs that the folder does not hold are left out. Crowds (``iscrowd``) are no objects. Raises CorpusError when
    the folder or the file cannot be read.
    """
    there = {path.name: path for path in _pictures(images)}
    words = {row["id"]: _word(row["name"]) for row in _rows(instances, "categories.item")}
    named: dict[Any, tuple[Path, Size]] = {
        row["id"]: (there[row["file_name"]], Size(row["width"], row["height"]))
        for row in _rows(instances, "images.item")
        if row.get("file_name") in there
    }
    objects: dict[Any, list[Labelled]] = {image: [] for image in named}
    for number, row in enumerate(_rows(instances, "annotations.item"), start=1):
        if row.get("image_id") not in named or row.get("iscrowd"):
            continue
        try:
            objects[row["image_id"]].append(Labelled(words[row["category_id"]], Box(*row["bbox"])))
        except (KeyError, TypeError, CorpusError) as error:
            problems.append(Problem(instances.name, 0, f"annotation {number}", f"it has no category or box: {error}"))
    return [Photograph(path, size, tuple(objects[image])) for image, (path, size) in named.items()]


def with_captions(
    photographs: Sequence[Photograph], captions: Path, problems: list[Problem], *, fold_case: bool = True
) -> list[Photograph]:
    """Return the photographs that a caption file of COCO's kind speaks of, with their captions as speech (LAN).

    A picture's number is that in its file's name (``000000000139.jpg`` is 139), as COCO names them.
    """
    said: dict[int, list[tuple[str, ...]]] = {}
    with open_sources([captions], ".json") as sources:
        for file in sources.files:
            for image, text in caption_rows(file, problems):
                said.setdefault(int(image), []).append(words_of(text, fold_case=fold_case))
    found = []
    for photograph in photographs:
        talk = said.get(_number(photograph.path), [])
        if talk:
            utterances = tuple(Utterance(CAPTION_SPEAKER, Channel.LAN, words, "main", 0) for words in talk)
            found.append(Photograph(photograph.path, photograph.size, photograph.objects, utterances))
    return found


def crop_swap(photograph: Image.Image, box: Box, donor: Image.Image, donor_box: Box) -> Image.Image:
    """Repaint a box with what another photograph shows in its own box, scaled to fit: a mismatch without a model.

    The rest of the photograph stays, pixel by pixel.
    """
    left, top, right, bottom = _whole_pixels(box, photograph.size)
    crop = donor.crop(_whole_pixels(donor_box, donor.size)).resize(
        (right - left, bottom - top), Image.Resampling.BICUBIC
    )
    repainted = photograph.copy()
    repainted.paste(crop, (left, top))
    return repainted


def repaint_inside(photograph: Image.Image, box: Box, painted: Image.Image) -> Image.Image:
    """Take the box from ``painted``, a picture of the same size, and everything else from the photograph."""
    corners = _whole_pixels(box, photograph.size)
    repainted = photograph.copy()
    repainted.paste(painted.crop(corners), corners[:2])
    return repainted


def _whole_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box.corners.round().astype(int).tolist()
    left, top = min(max(left, 0), size[0] - 1), min(max(top, 0), size[1] - 1)
    return left, top, max(left + 1, min(right, size[0])), max(top + 1, min(bottom, size[1]))


def _pictures(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES) if folder.is_dir() else []
    if not files:
        raise CorpusError(f"{folder} holds no photographs ({', '.join(_PICTURES)}).")
    return files


def _size(path: Path, problems: list[Problem]) -> Size | None:
    try:
        with Image.open(path) as opened:
            return Size(*opened.size)
    except OSError as error:
        problems.append(Problem(path.name, 0, "photograph", f"it cannot be read: {error}"))
        return None


def _names(path: Path) -> Mapping[int, str]:
    try:
        names = yaml.safe_load(path.read_text(encoding="utf-8"))["names"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} does not name YOLO's classes (names: {{0: person, ...}}): {error}") from None
    pairs = enumerate(names) if isinstance(names, list) else names.items()
    return {int(number): _word(str(name)) for number, name in pairs}


def _rows(path: Path, prefix: str) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as stream:
            yield from ijson.items(stream, prefix, use_float=True)
    except (*READ_ERRORS, ijson.JSONError) as error:
        raise CorpusError(f"{path} cannot be read as COCO's instances JSON: {error}") from None


def _word(name: str) -> str:
    """A class of several words (``traffic light``) is named by its last, which is the noun."""
    return name.lower().split()[-1]


def _number(path: Path) -> int:
    digits = "".join(character for character in path.stem if character.isdigit())
    return int(digits) if digits else -1


def object_named(photograph: Photograph, word: str) -> Labelled:
    """Return the largest object of a word; raises CorpusError that says what the photograph shows."""
    matching = [thing for thing in photograph.objects if thing.word == word]
    if not matching:
        shown = sorted({thing.word for thing in photograph.objects})
        raise CorpusError(f"{photograph.path.name} shows no {word}: {', '.join(shown)}.{did_you_mean(word, shown)}")
    return max(matching, key=lambda thing: thing.box.area)
