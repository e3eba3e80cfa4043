"""Cell `corpus`: the tokens that everything else reads, built from what the study names."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from groundscope.corpus.captions import read_captions
from groundscope.corpus.chat import read_chat
from groundscope.corpus.chunks import Corpus, build_corpus
from groundscope.corpus.dialogue import read_dialogues
from groundscope.corpus.jsonl import read_jsonl
from groundscope.corpus.sources import place_of
from groundscope.corpus.toyworld import ToyWorld
from groundscope.corpus.utterance import Document
from groundscope.corpus.walk import files_below
from groundscope.errors import CorpusError
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Upstream
from groundscope.study.config import (
    BuiltSource,
    ChatSource,
    JsonlSource,
    PhotographsSource,
    PicturesSource,
    ScenesSource,
    Study,
    ToyWorldSource,
    VisdialSource,
)
from groundscope.study.file_hashes import hash_files
from groundscope.study.paths import located

CHUNKS = "chunks"
"""The part of the corpus that training reads."""
READERS = {
    "toyworld": ("corpus.toyworld",),
    "chat": ("corpus.chat",),
    "jsonl": ("corpus.jsonl",),
    "visdial": ("corpus.dialogue", "corpus.captions"),
    "built": (),
}
PATHS = ("paths", "path", "captions")
"""Keys of a source that say where its files are; what is in them counts, not their names."""


def cells(study: Study) -> Iterator[Cell]:
    """Yield the one cell; raises CorpusError for a source that does not exist."""
    yield Cell(
        name="corpus",
        code=("corpus.chunks", *READERS[study.corpus.source]),
        settings=study.corpus.model_dump(mode="json", exclude=set(PATHS)),
        files=_hashes(study),
        work=partial(_build, study),
    )


def sources(study: Study) -> list[Path]:
    """Return the files and folders that a study's corpus is read from."""
    match study.corpus:
        case ChatSource() | JsonlSource():
            return [located(path) for path in study.corpus.paths]
        case VisdialSource():
            return [located(path) for path in (*study.corpus.paths, *study.corpus.captions)]
        case BuiltSource():
            return [located(study.corpus.path)]
        case ScenesSource() | PhotographsSource():
            return [place_of(located(path))[0] for path in study.corpus.files]
        case ToyWorldSource():
            return []


def _hashes(study: Study) -> Mapping[str, str]:
    if isinstance(study.corpus, BuiltSource):
        return hash_paths([path / "card.json" for path in sources(study)])
    return hash_paths(sources(study))


def refuse_missing(paths: Iterable[Path]) -> None:
    """Raise CorpusError for the first path that does not exist."""
    for path in paths:
        if not path.exists():
            raise CorpusError(f"There is no file or folder {path}.")


def hash_paths(paths: Sequence[Path]) -> Mapping[str, str]:
    """Return the content hash of each path; a folder's covers the names and contents of all files below it.

    Files are found as the readers find them; a folder that cannot be looked into counts as empty (the readers say so).
    Raises CorpusError for a path that does not exist.
    """
    refuse_missing(paths)
    found = {}
    for number, path in enumerate(paths):
        files = _files_in(path) if path.is_dir() else [path]
        digest = hashlib.sha256()
        for file, content in zip(files, hash_files(files), strict=True):
            digest.update(f"{file.relative_to(path).as_posix()} {content}\n".encode())
        found[f"source {number}"] = digest.hexdigest()
    return found


def _files_in(folder: Path) -> list[Path]:
    below = files_below([folder], lambda _place, _error: None)
    return sorted(file for _, file in below if os.path.isfile(file))  # Path.is_file raises where it may not look


def _build(study: Study, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    source = study.corpus
    if isinstance(source, BuiltSource):
        (path,) = sources(study)
        Corpus.open(path)
        shutil.copytree(path, folder, dirs_exist_ok=True)
        corpus = Corpus.open(folder)
        corpus.verify()
    else:
        assert not isinstance(source, PicturesSource), "pictures have cells of their own"
        provenance = {"reader": source.source, "options": source.model_dump(mode="json", exclude={*PATHS, "chunks"})}
        corpus = build_corpus(_documents(study, progress), folder, source.chunks, provenance=provenance)
    for line in (*corpus.card.lines(), *corpus.remarks()):
        progress.say(f"  {line}")
    return {"": corpus.card.content_hash, CHUNKS: corpus.card.content_hash}


def _documents(study: Study, progress: Progress) -> Iterator[Document]:
    match study.corpus:
        case ChatSource():
            return read_chat(sources(study), study.corpus.chat, progress)
        case JsonlSource():
            return read_jsonl(sources(study), study.corpus.jsonl)
        case VisdialSource():
            files, dialogues = sources(study), len(study.corpus.paths)
            captions = read_captions(files[dialogues:], study.corpus.caption)
            return chain(read_dialogues(files[:dialogues], study.corpus.dialogue), captions)
        case ToyWorldSource():
            return ToyWorld(study.corpus.world).documents()
        case BuiltSource() | ScenesSource() | PhotographsSource():
            raise AssertionError("a built corpus has no documents to read, and pictures have cells of their own")
