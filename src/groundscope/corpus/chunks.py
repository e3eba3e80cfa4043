"""From documents to a corpus directory: token chunks in a memory-mapped file, vocabulary, card and error table.

The documents are read once, as a stream of provisional ids. When every count is known, the words are numbered, and
the chunks are written with their final ids block by block.
"""

import hashlib
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Int
from pydantic import Field

from groundscope.corpus.card import CARD, CorpusCard, read_card
from groundscope.corpus.cooccurrence import blocks, cooccurring_any, forms_in_both
from groundscope.corpus.stream import PROBLEMS, TokenStream
from groundscope.corpus.utterance import Channel, Document
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError, GroundscopeError
from groundscope.files import atomic_directory, sha256_json, write_json
from groundscope.progress import counted
from groundscope.record import Record
from groundscope.tables import read_table, write_table

_WORDS = {Channel.LAN: "words said", Channel.ENV: "words of the scene"}


class ChunkOptions(Record):
    """How documents are cut into chunks and which words get an entry of their own."""

    length: int = Field(default=512, ge=2, description="Tokens per chunk.")
    min_frequency: int = Field(
        default=1, ge=1, description="Rarer words become their channel's <unk>; counted in the chunks that are kept."
    )
    max_vocabulary: int | None = Field(
        default=None,
        ge=4,
        description="Largest number of entries, special tokens and speakers included; none: no limit.",
    )
    keep: Literal["all", "env"] = Field(
        default="all", description="Which chunks to keep: all, or those that hold at least one word of the scene."
    )
    words: tuple[str, ...] = Field(
        default=(), description="Words whose co-occurrence of scene and speech the card reports."
    )


class Corpus:
    """An opened corpus directory."""

    __slots__ = ("card", "chunks", "path", "vocabulary")

    def __init__(self, path: Path, card: CorpusCard, vocabulary: Vocabulary, chunks: np.memmap):
        """Hold the parts; use `open` or `build_corpus`."""
        self.path, self.card, self.vocabulary, self.chunks = path, card, vocabulary, chunks

    @classmethod
    def open(cls, path: Path) -> "Corpus":
        """Open a corpus directory without reading its chunks into memory.

        Raises CorpusError where ``path`` is no corpus, or where its parts do not belong together.
        """
        card = read_card(path)
        try:
            chunks = np.load(path / "chunks.npy", mmap_mode="r")
        except (ValueError, EOFError, OSError) as error:
            first = str(error).splitlines()[0]
            raise CorpusError(f"The corpus at {path} is damaged ({first}). Build it again.") from None
        vocabulary = Vocabulary.load(path / "vocabulary.json")
        want, found = (
            (card.chunks, card.chunk_length, card.vocabulary_size),
            (*chunks.shape, len(vocabulary)),
        )
        if want != found or chunks.dtype != np.int32:
            raise CorpusError(
                f"The corpus at {path} is damaged: the card says chunks x length x vocabulary = {want}, "
                f"the files hold {found}. Build it again."
            )
        return cls(path, card, vocabulary, chunks)

    def problems(self) -> pl.DataFrame:
        """Return the error table: file, line, what, why."""
        return read_table(self.path / "problems.parquet", PROBLEMS)

    def remarks(self) -> list[str]:
        """Say in a line each what may be missing from the corpus: a channel without words, and what was not read."""
        lines = [
            f"No {words} ({channel}) were read." for channel, words in _WORDS.items() if not self.card.words(channel)
        ]
        if self.card.problems:
            read = counted(sum(tier.utterances for tier in self.card.tiers), "utterance")
            lines.append(f"Beside {read} there are {_told(self.problems())}; see {self.path / 'problems.parquet'}.")
        return lines

    def verify(self) -> None:
        """Compute the content hash anew; raises CorpusError where it is not the card's."""
        found = content_hash(self.chunks, self.vocabulary)
        if found != self.card.content_hash:
            raise CorpusError(
                f"The corpus at {self.path} has content hash {found[:12]}, its card says "
                f"{self.card.content_hash[:12]}: the files were changed after it was built. Build it again."
            )


def build_corpus(
    documents: Iterable[Document], out: Path, options: ChunkOptions, *, provenance: dict[str, Any]
) -> Corpus:
    """Read documents once and write a corpus directory at ``out``, whole or not at all.

    All documents form one stream of tokens, in their order, that is cut into chunks of ``options.length``; what is left
    over at the end is dropped and the card says how much. Counts and vocabulary are those of the chunks that are kept:
    what a model can see. ``provenance`` says where the documents come from; the parser's version, which is
    groundscope's, is added to it. Raises CorpusError where nothing could be read or the documents do not fill a single
    chunk, where a word is empty or holds white space, and where ``out`` is something other than this corpus, built
    earlier.
    """
    refuse_to_replace(out, options=options.model_dump(mode="json"))
    stream = TokenStream()
    for document in documents:
        stream.add(document)
    if stream.is_silent and (problems := stream.problem_frame()).height:
        raise CorpusError(f"Nothing could be read: {_first(problems)}.")
    n_chunks = len(stream) // options.length
    if not n_chunks:
        raise CorpusError(
            f"{stream.files:,} document(s) hold {len(stream):,} tokens, less than one chunk of {options.length}. "
            f"Give more text or a smaller chunk length.{_what_was_refused(stream)}"
        )
    cut = stream.ids[: n_chunks * options.length].reshape(n_chunks, options.length)
    with_env = _rows_with(cut, stream.is_env())
    kept = with_env if options.keep == "env" else np.ones(n_chunks, dtype=bool)
    if not kept.any():
        raise CorpusError(
            f"None of the {n_chunks:,} chunks holds a word of the scene, so keep='env' leaves none."
            f"{_what_was_refused(stream)}"
        )

    counts = sum((stream.count(block) for block in _kept_blocks(cut, kept)), start=stream.count(cut[:0]))
    vocabulary = stream.vocabulary(counts, min_frequency=options.min_frequency, max_size=options.max_vocabulary)

    with atomic_directory(out) as folder:
        write_chunks(folder / "chunks.npy", cut, kept, stream.final_ids(vocabulary))
        chunks = np.load(folder / "chunks.npy", mmap_mode="r")
        vocabulary.save(folder / "vocabulary.json")
        vocabulary.save_tokenizer(folder / "tokenizer.json")
        write_table(folder / "problems.parquet", stream.problem_frame(), PROBLEMS)
        card = CorpusCard(
            **stream.card_counts(),
            tokens_read=len(stream),
            tokens_without_env=int((~kept).sum()) * options.length,
            tokens_at_end=len(stream) - cut.size,
            tokens=chunks.size,
            chunks=len(chunks),
            chunk_length=options.length,
            vocabulary_size=len(vocabulary),
            speakers=len(vocabulary.speakers),
            share_env=float(with_env[kept].mean()),
            share_cooccurring=float(cooccurring_any(chunks, vocabulary, forms_in_both(vocabulary)).mean()),
            share_cooccurring_words=_share_of_listed(chunks, vocabulary, options.words),
            unknown_share={channel: unknown_share(vocabulary, channel) for channel in Channel},
            options=options.model_dump(mode="json"),
            provenance={**provenance, "parser": f"groundscope {version('groundscope')}"},
            content_hash=content_hash(chunks, vocabulary),
        )
        refuse_to_replace(out, content_hash=card.content_hash)
        write_json(folder / CARD, card.model_dump(mode="json"))
        del chunks  # the mapping must not outlive the temporary folder
    return Corpus(out, card, vocabulary, np.load(out / "chunks.npy", mmap_mode="r"))


def content_hash(chunks: Int[np.ndarray, "n_chunks length"], vocabulary: Vocabulary) -> str:
    """Return the SHA-256 over chunks (shape and little-endian int32 values) and vocabulary."""
    digest = hashlib.sha256(f"{chunks.shape} {sha256_json(vocabulary.to_json())}\n".encode())
    for _, block in blocks(chunks):
        digest.update(np.ascontiguousarray(block, dtype="<i4").tobytes())
    return digest.hexdigest()


def _what_was_refused(stream: TokenStream) -> str:
    """Say what was not read: where little is left, it is often the reason."""
    problems = stream.problem_frame()
    return "" if problems.is_empty() else f" {_told(problems)}"


def _told(problems: pl.DataFrame) -> str:
    return f"{counted(len(problems), 'problem')}; the first: {_first(problems)}"


def _first(problems: pl.DataFrame) -> str:
    first = problems.row(0, named=True)
    place = f"{first['file']}, line {first['line']}" if first["line"] else first["file"]
    return f"{place}: {first['why']}"


def _rows_with(
    chunks: Int[np.ndarray, "n_chunks length"], member: Bool[np.ndarray, " entries"]
) -> Bool[np.ndarray, " n_chunks"]:
    held = np.zeros(len(chunks), dtype=bool)
    for start, block in blocks(chunks):
        held[start : start + len(block)] = member[block].any(axis=1)
    return held


def _kept_blocks(
    chunks: Int[np.ndarray, "n_chunks length"], kept: Bool[np.ndarray, " n_chunks"]
) -> Iterator[Int[np.ndarray, "block length"]]:
    for start, block in blocks(chunks):
        yield block[kept[start : start + len(block)]]


def write_chunks(
    path: Path,
    chunks: Int[np.ndarray, "n_chunks length"],
    kept: Bool[np.ndarray, " n_chunks"],
    final_ids: Int[np.ndarray, " entries"],
) -> None:
    """Write the ``kept`` ones of ``chunks``, each id replaced by its entry in ``final_ids``."""
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.int32, shape=(int(kept.sum()), chunks.shape[1]))
    row = 0
    for block in _kept_blocks(chunks, kept):
        file[row : row + len(block)] = final_ids[block]
        row += len(block)
    file.flush()


def _share_of_listed(
    chunks: Int[np.ndarray, "n_chunks length"], vocabulary: Vocabulary, words: tuple[str, ...]
) -> float | None:
    """Share of chunks with a listed word in both channels; a word that lacks an entry cannot co-occur."""
    if not words:
        return None
    both = [word for word in words if all(vocabulary.find(word, c) is not None for c in Channel)]
    return float(cooccurring_any(chunks, vocabulary, both).mean())


def unknown_share(vocabulary: Vocabulary, channel: Channel) -> float | None:
    """Share of a channel's tokens in the chunks that are ``<unk>``; None where the channel has no tokens."""
    member = vocabulary.is_env if channel is Channel.ENV else vocabulary.is_lan
    tokens = int(vocabulary.counts[member].sum())
    return int(vocabulary.counts[vocabulary.unknown_id(channel)]) / tokens if tokens else None


def refuse_to_replace(out: Path, **known: object) -> None:
    """Refuse to overwrite anything but the same corpus: replacing a folder deletes all that is in it.

    ``known`` is what the card of the new corpus will say, by field, as far as that is known.
    """
    found = _earlier_card(out)
    if found is None and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise CorpusError(f"{out} exists and is not a corpus. Name a new or empty folder, or delete it yourself.")
    if found is not None and any(getattr(found, field) != value for field, value in known.items()):
        read = f"{found.files:,} documents of reader {found.provenance.get('reader', 'unknown')}"
        raise CorpusError(
            f"{out} holds another corpus: {read} in {found.chunks:,} chunks of {found.chunk_length:,} tokens, content "
            f"{found.content_hash[:12]}. Name a new or empty folder, or delete it yourself."
        )


def _earlier_card(folder: Path) -> CorpusCard | None:
    try:
        return read_card(folder)
    except GroundscopeError:  # no card, or that of something else: checkpoints have one too
        return None
