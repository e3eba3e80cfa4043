"""Captions of pictures in COCO's JSON: one caption describes the scene (ENV), the others talk about it (LAN)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ijson
from pydantic import Field

from groundscope.corpus.dialogue import SPEAKER
from groundscope.corpus.running_text import words_of
from groundscope.corpus.sources import READ_ERRORS, SourceFile, open_sources
from groundscope.corpus.utterance import Channel, Document, Problem, Utterance
from groundscope.record import Record


class CaptionOptions(Record):
    """How captions become utterances."""

    fold_case: bool = Field(default=True, description="write all words in lower case")
    scene: int = Field(
        default=1,
        ge=0,
        description="how many of a picture's captions, the first in the file, describe the scene (ENV); what others "
        "wrote about the same picture is speech (LAN)",
    )
    speaker: str = Field(default="A", pattern=SPEAKER, description="tag of every caption")


def read_captions(paths: Sequence[Path], options: CaptionOptions) -> Iterator[Document]:
    """Yield one Document per picture, in the order in which pictures are first captioned.

    A file's captions are in no order, so they are held in memory (COCO's 590,000 take some 200 MB) while all the rest
    streams past. A caption without text or picture becomes a Problem. Raises CorpusError when a path is missing or
    holds no .json file.
    """
    with open_sources(paths, ".json") as sources:
        for problem in sources.problems:
            yield Document(problem.file, problem.file, (), (problem,), 0)
        for file in sources.files:
            yield from _pictures(file, options)


def _pictures(file: SourceFile, options: CaptionOptions) -> Iterator[Document]:
    captions: dict[Any, list[str]] = {}
    problems: list[Problem] = []
    for image, text in caption_rows(file, problems):
        captions.setdefault(image, []).append(text)
    if not captions:  # then what is wrong with each of its rows says nothing
        why = "it holds no annotations with captions, so it is no caption file of COCO's kind"
        problems = [Problem(file.name, 0, "file", why), *(p for p in problems if p.what == "file")]
    for image, texts in captions.items():
        yield _document(file, image, texts, options)
    if problems:
        yield Document(file.name, file.collection, (), tuple(problems), 0)


def caption_rows(file: SourceFile, problems: list[Problem]) -> Iterator[tuple[Any, str]]:
    """Yield (picture, caption) in the file's order; what cannot be read becomes a Problem."""
    try:
        with file.open() as stream:
            for number, row in enumerate(ijson.items(stream, "annotations.item", use_float=True), start=1):
                known = isinstance(row, dict) and isinstance(row.get("image_id"), str | int | float)
                if known and isinstance(row.get("caption"), str):
                    yield row["image_id"], row["caption"]
                else:
                    why = "it has no 'image_id' or no 'caption'"
                    problems.append(Problem(file.name, 0, f"annotation {number}", why))
    except (*READ_ERRORS, ijson.JSONError, UnicodeDecodeError) as error:
        problems.append(Problem(file.name, 0, "file", f"it cannot be read further: {' '.join(str(error).split())}"))


def _document(file: SourceFile, image: Any, texts: list[str], options: CaptionOptions) -> Document:
    utterances, spoken = [], 0
    for number, text in enumerate(texts):
        scene = number < options.scene
        spoken += not scene
        words = words_of(text, fold_case=options.fold_case)
        if words:
            channel, tier = (Channel.ENV, "caption") if scene else (Channel.LAN, "main")
            utterances.append(Utterance(options.speaker, channel, words, tier, 0))
    return Document(f"{file.name}#{image}", file.collection, tuple(utterances), (), spoken)
