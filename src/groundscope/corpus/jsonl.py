"""Anybody's data: one JSON object per line, ``{"speaker", "channel", "text" or "words", "document"}``."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from groundscope.corpus.running_text import words_of
from groundscope.corpus.sources import READ_ERRORS, SourceFile, open_sources
from groundscope.corpus.utterance import Channel, Document, Problem, Utterance
from groundscope.record import Record


class JsonlOptions(Record):
    """How lines become utterances."""

    fold_case: bool = Field(default=True, description="write all words in lower case")


class _Line(BaseModel):
    """One line; other keys are the owner's and are passed over."""

    model_config = ConfigDict(frozen=True)

    speaker: str
    channel: Channel
    text: str | None = None
    words: tuple[str, ...] | None = None
    document: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> "_Line":
        if not re.fullmatch(r"[^\s<>]+", self.speaker):
            raise ValueError(f"'speaker' must be a code without blanks or angle brackets, not {self.speaker!r}")
        if (self.text is None) == (self.words is None):
            raise ValueError("give either 'text' or 'words'")
        for word in self.words or ():
            if not word or any(character.isspace() for character in word):
                raise ValueError(f"{word!r} in 'words' is not one word")
        return self


def read_jsonl(paths: Sequence[Path], options: JsonlOptions) -> Iterator[Document]:
    """Yield a Document for each run of lines with the same ``document`` (the whole file where none is given).

    ``text`` is cut into words at everything but letters, digits, apostrophes and hyphens; ``words`` stay as they
    are but for their case. A line that cannot be read becomes a Problem of the document around it. Raises
    CorpusError, before the first document, when a path is missing or a folder or archive holds no .jsonl file.
    """
    with open_sources(paths, ".jsonl") as sources:
        for problem in sources.problems:
            yield Document(problem.file, problem.file, (), (problem,), 0)
        for file in sources.files:
            yield from _documents(file, options)


def _documents(file: SourceFile, options: JsonlOptions) -> Iterator[Document]:
    collection = PurePosixPath(file.name).stem
    name = ""  # of the document that is being read
    seen: set[str] = set()
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    spoken = 0

    def finished() -> Document:
        return Document(name or file.name, collection, tuple(utterances), tuple(problems), spoken)

    for line, read in _lines(file):
        if isinstance(read, str):
            problems.append(Problem(file.name, line, "line", read))
            continue
        document = read.document or file.name
        if document != name:
            if name:
                yield finished()
                utterances, problems, spoken = [], [], 0
            if document in seen:
                why = f"'{document}' began before another one; what stands here is read as a document of its own"
                problems.append(Problem(file.name, line, "document", why))
            name = document
            seen.add(name)
        if read.words is None:
            words = words_of(read.text or "", fold_case=options.fold_case)
        else:
            words = tuple(word.lower() for word in read.words) if options.fold_case else read.words
        spoken += read.channel is Channel.LAN
        if words:
            tier = "main" if read.channel is Channel.LAN else "scene"
            utterances.append(Utterance(read.speaker, read.channel, words, tier, line))
    if not (utterances or problems or spoken):
        problems.append(Problem(file.name, 0, "file", "it is empty"))
    yield finished()


def _lines(file: SourceFile) -> Iterator[tuple[int, _Line | str]]:
    """Yield the number of each line that is not blank, and what it holds or why it cannot be read."""
    line = 0
    try:
        with file.open() as stream:
            for line, raw in enumerate(stream, start=1):
                raw = raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw
                if raw.strip():
                    try:
                        yield line, _Line.model_validate_json(raw)
                    except ValidationError as error:
                        yield line, _why_unreadable(raw, error)
    except READ_ERRORS as error:
        yield line, f"the file cannot be read further: {error}"


def _why_unreadable(raw: bytes, error: ValidationError) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8 text; save the file as UTF-8"
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    why = first["msg"].removeprefix("Value error, ")
    return f"{where}: {why}" if where else why
