r"""Transcripts in CHAT (CHILDES, TalkBank) as documents: speech is the main tier, the scene its dependent tiers.

A file is read line by line and never refused: what cannot be read becomes a Problem with its line, and everything
around it is kept. Order (Wu et al. 2025, arXiv 2510.13796): the scene tiers of an utterance stand before it in
the file's order, events coded ``<aft>`` after it, all under the tag of the utterance's speaker.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field, field_validator

from groundscope.corpus.chat_words import ChatWords
from groundscope.corpus.sources import READ_ERRORS, SourceFile, decode, open_sources
from groundscope.corpus.utterance import Channel, Document, Problem, Utterance
from groundscope.progress import Progress
from groundscope.record import Record

# Stands for the line end before a continuation, so that a tier is one string whose lines can still be counted.
# `decode` leaves none of it in a text, and splitting at white space splits at it.
_FOLD = "\r"
_TOLD = 12  # dependent tiers, when people are told which there are
_SPEAKER = re.compile(r"[^\s:<>]+")


class ChatOptions(Record):
    """How CHAT becomes utterances."""

    scene_tiers: tuple[str, ...] = Field(
        default=("act", "sit", "gpx"),
        description="dependent tiers that describe the scene and are read as ENV, e.g. act, sit, gpx, exp, com",
    )
    fold_case: bool = Field(
        default=True, description="write all words in lower case; off: as the transcriber wrote them"
    )

    @field_validator("scene_tiers")
    @classmethod
    def _bare_names(cls, tiers: tuple[str, ...]) -> tuple[str, ...]:
        bare = tuple(tier.strip().removeprefix("%").lower() for tier in tiers)
        for tier in bare:
            if not re.fullmatch(r"\w+", tier):
                raise ValueError(f"'{tier}' is no name of a tier; a name looks like 'act' or '%act'")
        return bare


def read_chat(paths: Sequence[Path], options: ChatOptions, progress: Progress | None = None) -> Iterator[Document]:
    """Yield one Document per .cha file under ``paths`` (folders, .zip, .tar, .tar.xz, .tar.gz, single files).

    Files come sorted by name within each path. Raises CorpusError, before the first document, when a path is
    missing or holds no .cha file; a file that cannot be read is a Document that holds only its Problem.
    """
    parser, progress = ChatParser(options), progress or Progress(quiet=True)
    with open_sources(paths, ".cha") as sources:
        for problem in sources.problems:
            yield Document(problem.file, problem.file, (), (problem,), 0)
        with progress.task("reading CHAT", len(sources.files)) as task:
            for file in sources.files:
                yield _read(file, parser)
                task.advance()
        if missing := [tier for tier in options.scene_tiers if tier not in parser.tiers]:
            found = ", ".join(f"%{tier}" for tier, _ in parser.tiers.most_common(_TOLD)) or "no dependent tiers"
            progress.say(f"No {' or '.join(f'%{tier}' for tier in missing)} tier was found; there are {found}.")


def _read(file: SourceFile, parser: "ChatParser") -> Document:
    try:
        with file.open() as stream:
            raw = stream.read()
    except READ_ERRORS as error:
        problem = Problem(file.name, 0, "file", f"it cannot be read: {error}")
        return Document(file.name, file.collection, (), (problem,), 0)
    text, problems = decode(raw, file.name)
    return parser.parse(text, file.name, file.collection, problems)


class ChatParser:
    """Turns the text of transcripts into documents; keep one for many files, it remembers the words."""

    def __init__(self, options: ChatOptions):
        self._words = ChatWords(options.fold_case)
        self._scene_tiers = frozenset(options.scene_tiers)
        self._speakers: set[str] = set()
        self.tiers: Counter[str] = Counter()
        """How often each dependent tier was met, those that are not read included."""

    def parse(self, text: str, name: str, collection: str, problems: Sequence[Problem] = ()) -> Document:
        """Read one transcript whose lines end in a line feed alone; ``problems`` found earlier are kept first."""
        found = list(problems)
        utterances: list[Utterance] = []
        main_tiers = 0
        speaker = ""  # of the utterance that dependent tiers hang on; "" when there is none
        place = 0  # where the next scene tier that stands before the utterance goes
        astray = False  # inside lines that belong to nothing
        following = 1
        for record in text.replace("\n\t", _FOLD).replace("\n ", _FOLD).split("\n"):
            line, following = following, following + 1 + record.count(_FOLD)
            kind = record[:1]
            if kind == "%":
                label, colon, body = record.partition(":")
                tier = label[1:].lower()
                if colon:
                    self.tiers[tier] += 1
                if not colon:
                    found.append(Problem(name, line, "dependent tier", "no ':' after the tier's name"))
                elif tier in self._scene_tiers:
                    before, after = self._words.scene(body)
                    if not speaker:
                        found.append(Problem(name, line, "dependent tier", "no utterance that it hangs on"))
                        continue
                    if before:
                        utterances.insert(place, Utterance(speaker, Channel.ENV, before, tier, line))
                        place += 1
                    if after:
                        utterances.append(Utterance(speaker, Channel.ENV, after, tier, line))
            elif kind == "*":
                speaker, body, why = self._split_main(record)
                if not speaker:
                    found.append(Problem(name, line, "main tier", why))
                    continue
                main_tiers += 1
                place = len(utterances)
                words, why = self._words.speech(body)
                if words:
                    utterances.append(Utterance(speaker, Channel.LAN, words, "main", line))
                if why:
                    found.append(Problem(name, line, "main tier", f"{why}; its words were read all the same"))
            elif kind != "@" and record.strip():
                if not astray:
                    why = f"begins with {kind!r}, not with '*', '%', '@' or a tab"
                    found.append(Problem(name, line, "line", why))
                astray = True
                continue
            astray = False
        if not text.strip():
            found.append(Problem(name, 0, "file", "it is empty"))
        elif "\n@End" not in text:
            found.append(Problem(name, following - 1, "file", "it breaks off: no @End"))
        return Document(name, collection, tuple(utterances), tuple(found), main_tiers)

    def _split_main(self, record: str) -> tuple[str, str, str]:
        """Return speaker, text and "", or "", "" and why the line is no main tier."""
        label, colon, body = record.partition(":")
        speaker = label[1:]
        if not colon:
            return "", "", "no ':' after the speaker's code"
        if speaker not in self._speakers:
            if not _SPEAKER.fullmatch(speaker):
                return "", "", f"'{speaker[:20]}' is no speaker's code"
            self._speakers.add(speaker)
        return speaker, body, ""
