"""Dialogues about a picture that a caption describes: Visual Dialog 0.9 and 1.0 as published, and VisPro.

The caption is the scene (ENV), questions and answers are speech (LAN), each with its speaker's tag (the paper's
caption-grounded setting). Files are streamed: what stays in memory is one dialogue and the file's lists of questions
and answers, which dialogues name by number.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ijson
from pydantic import Field

from groundscope.corpus.running_text import rejoined, words_of
from groundscope.corpus.sources import READ_ERRORS, SourceFile, open_sources
from groundscope.corpus.utterance import Channel, Document, Problem, Utterance
from groundscope.record import Record

SPEAKER = r"^[^\s<>]+$"
_VISPRO = (".jsonlines", ".jsonl")
DIALOGUES = (".json", *_VISPRO)


class DialogueOptions(Record):
    """How dialogues become utterances."""

    fold_case: bool = Field(default=True, description="write all words in lower case")
    caption: str = Field(
        default="Q", pattern=SPEAKER, description="tag of the caption: the first speaker's, as ENV lines carry in talk"
    )
    question: str = Field(default="Q", pattern=SPEAKER, description="tag of who asks")
    answer: str = Field(default="A", pattern=SPEAKER, description="tag of who answers")


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn before it is cut into words; ``role`` is caption, question or answer."""

    role: str
    text: str


def read_dialogues(paths: Sequence[Path], options: DialogueOptions) -> Iterator[Document]:
    """Yield one Document per dialogue: the caption, then questions and answers in turn.

    ``paths`` are files, folders or archives of Visual Dialog's .json and VisPro's .jsonlines. A dialogue that cannot
    be read, or names a question or answer that its file does not hold, gives a Problem and what could be read of it;
    a file that breaks off gives its dialogues up to there. Raises CorpusError when a path is missing or holds no such
    file.
    """
    with open_sources(paths, DIALOGUES) as sources:
        for problem in sources.problems:
            yield Document(problem.file, problem.file, (), (problem,), 0)
        for file in sources.files:
            yield from (document for _, document in dialogues_of(file, options))


def dialogues_of(file: SourceFile, options: DialogueOptions) -> Iterator[tuple[str, Document]]:
    """Yield each dialogue of a file behind what the file says of its picture: its number, or its file's name.

    What is no dialogue, and holds the file's problems alone, stands behind an empty name.
    """
    read = _vispro if file.name.lower().endswith(_VISPRO) else _visdial
    yield from read(file, options)


def split_of(file: SourceFile) -> str:
    """Return which part of Visual Dialog a file is (``train``, ``val2018``, ...), empty where it does not say."""
    return "" if file.name.lower().endswith(_VISPRO) else str(next(_items(file, "split", []), ""))


def _visdial(file: SourceFile, options: DialogueOptions) -> Iterator[tuple[str, Document]]:
    problems: list[Problem] = []
    questions, answers = (list(_items(file, f"data.{kind}.item", problems)) for kind in ("questions", "answers"))
    count = 0
    for count, dialogue in enumerate(_items(file, "data.dialogs.item", problems), start=1):
        what = f"dialogue {count}"
        turns, wrong = _turns(dialogue, questions, answers)
        picture = dialogue.get("image_id", "") if isinstance(dialogue, dict) else ""
        found = [Problem(file.name, 0, what, why) for why in wrong]
        name = f"{file.name}#{count if picture == '' else picture}"
        yield str(picture), _document(file, name, turns, found, options)
    if not count and not problems:
        why = "it holds no data.dialogs, so it is no file of Visual Dialog"
        problems.append(Problem(file.name, 0, "file", why))
    if problems:
        yield "", Document(file.name, file.collection, (), tuple(dict.fromkeys(problems)), 0)


def _turns(dialogue: Any, questions: list[Any], answers: list[Any]) -> tuple[list[_Turn], list[str]]:
    """Return a dialogue's turns, and why those that are missing could not be read."""
    if not isinstance(dialogue, dict) or not isinstance(dialogue.get("caption"), str):
        return [], ["it has no caption"]
    turns, wrong = [_Turn("caption", dialogue["caption"])], []
    rounds = dialogue.get("dialog")
    if not isinstance(rounds, list):
        return turns, ["it has no list of rounds ('dialog')"]
    for number, round_ in enumerate(rounds, start=1):
        for role, texts in (("question", questions), ("answer", answers)):
            asked = round_.get(role) if isinstance(round_, dict) else None
            if asked is None and role == "answer":
                continue  # the last question of a test dialogue waits for its answer
            if isinstance(asked, int) and 0 <= asked < len(texts) and isinstance(texts[asked], str):
                turns.append(_Turn(role, texts[asked]))
            else:
                wrong.append(f"round {number} names {role} {asked!r}, and the file holds {len(texts)} of them")
    return turns, wrong


def _items(file: SourceFile, prefix: str, problems: list[Problem]) -> Iterator[Any]:
    """Yield the items under a prefix; a file that breaks off becomes a Problem."""
    try:
        with file.open() as stream:
            yield from ijson.items(stream, prefix, use_float=True)
    except (*READ_ERRORS, ijson.JSONError, UnicodeDecodeError) as error:
        problems.append(Problem(file.name, 0, "file", f"it cannot be read further: {' '.join(str(error).split())}"))


def _vispro(file: SourceFile, options: DialogueOptions) -> Iterator[tuple[str, Document]]:
    problems: list[Problem] = []
    for line, raw in _lines(file, problems):
        if not raw.strip():
            continue
        name, picture, turns, why = f"{file.name}#{line}", "", [], ""
        try:
            row = json.loads(raw)
            name, picture = f"{file.name}#{row['doc_key']}", str(row.get("image_file", ""))
            turns = [
                _Turn(speakers[0], rejoined(tokens))
                for tokens, speakers in zip(row["sentences"], row["speakers"], strict=True)
                if tokens
            ]
            unknown = {turn.role for turn in turns} - {"caption", "question", "answer"}
            why = f"unknown speaker {min(unknown)!r}" if unknown else ""
            turns = [turn for turn in turns if turn.role not in unknown]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            why = f"it is not a dialogue of VisPro ({type(error).__name__}: {error})"
        found = [Problem(file.name, line, "dialogue", why)] if why else []
        yield picture, _document(file, name, turns, found, options, line)
    if problems:
        yield "", Document(file.name, file.collection, (), tuple(problems), 0)


def _lines(file: SourceFile, problems: list[Problem]) -> Iterator[tuple[int, bytes]]:
    line = 0
    try:
        with file.open() as stream:
            for line, raw in enumerate(stream, start=1):
                yield line, raw
    except READ_ERRORS as error:
        problems.append(Problem(file.name, line, "file", f"it cannot be read further: {error}"))


def _document(
    file: SourceFile,
    name: str,
    turns: Iterable[_Turn],
    problems: list[Problem],
    options: DialogueOptions,
    line: int = 0,
) -> Document:
    tags: dict[str, str] = {"caption": options.caption, "question": options.question, "answer": options.answer}
    utterances, spoken = [], 0
    for turn in turns:
        scene = turn.role == "caption"
        words = words_of(turn.text, fold_case=options.fold_case)
        spoken += not scene
        if words:
            channel, tier = (Channel.ENV, "caption") if scene else (Channel.LAN, "main")
            utterances.append(Utterance(tags[turn.role], channel, words, tier, line))
    return Document(name, file.collection, tuple(utterances), tuple(problems), spoken)
