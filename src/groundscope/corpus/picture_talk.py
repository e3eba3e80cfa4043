"""What is said about photographs: COCO's captions and Visual Dialog's dialogues, by the picture that they are about.

All of it is speech (LAN): the photograph itself is the scene. Each caption is a talk of its own, as a dialogue is. A
dialogue's own caption describes what the photograph shows, so that it is left out unless it is asked for.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from groundscope.corpus.captions import caption_rows
from groundscope.corpus.dialogue import DIALOGUES, DialogueOptions, dialogues_of, split_of
from groundscope.corpus.photographs import VISUAL_DIALOG, numbered, picture_key
from groundscope.corpus.picture_files import open_inside
from groundscope.corpus.running_text import words_of
from groundscope.corpus.sources import SourceFile
from groundscope.corpus.utterance import Channel, Document, Problem, Utterance

Talk = tuple[Utterance, ...]
_OWN_PICTURES = "2018"  # val2018 and test2018 of Visual Dialog are about pictures that COCO does not have


def captions_of(
    paths: Sequence[Path], wanted: Collection[str], options: DialogueOptions, problems: list[Problem]
) -> dict[str, list[Talk]]:
    """Return all captions of each picture whose key (`photographs.picture_key`) is wanted, said by who answers."""
    said: dict[str, list[Talk]] = {}
    for path in paths:
        with open_inside(path, ".json") as found:
            problems += found.problems
            for file in found.files:
                for image, text in _captions(file, problems):
                    words = words_of(text, fold_case=options.fold_case)
                    if words and (key := numbered(image)) in wanted:
                        said.setdefault(key, []).append((Utterance(options.answer, Channel.LAN, words, "main", 0),))
    return said


def _captions(file: SourceFile, problems: list[Problem]) -> Iterator[tuple[Any, str]]:
    """Yield a file's captions; one that holds none is one Problem, and not as many as it has rows of another kind."""
    mine: list[Problem] = []
    is_empty = True
    for row in caption_rows(file, mine):
        is_empty = False
        yield row
    if is_empty:
        why = "it holds no captions of COCO's kind (annotations with image_id and caption)"
        mine = [one for one in mine if one.what == "file"] or [Problem(file.name, 0, "file", why)]
    problems += mine


def dialogues_by_picture(
    paths: Sequence[Path],
    wanted: Collection[str],
    options: DialogueOptions,
    problems: list[Problem],
    *,
    say_caption: bool = False,
) -> dict[str, Talk]:
    """Return the first dialogue about each picture that is wanted; ``say_caption``: its caption is said before it."""
    said: dict[str, Talk] = {}
    known: dict[Utterance, Utterance] = {}  # "yes" is said a hundred thousand times, and kept once
    for path in paths:
        with open_inside(path, DIALOGUES) as found:
            problems += found.problems
            for file in found.files:
                for key, document in _keyed(file, options, problems):
                    if key in wanted and key not in said and (talk := _spoken(document, say_caption)):
                        said[key] = tuple(known.setdefault(one, one) for one in talk)
    return said


def _keyed(file: SourceFile, options: DialogueOptions, problems: list[Problem]) -> Iterator[tuple[str, Document]]:
    series = VISUAL_DIALOG if split_of(file).endswith(_OWN_PICTURES) else ""
    for picture, document in dialogues_of(file, options):
        problems += document.problems
        key = numbered(picture, series) if picture.isdigit() else picture_key(picture)
        if key is not None:
            yield key, document


def _spoken(document: Document, say_caption: bool) -> Talk:
    return tuple(
        Utterance(one.speaker, Channel.LAN, one.words, "main", 0)
        for one in document.utterances
        if say_caption or one.channel is Channel.LAN
    )
