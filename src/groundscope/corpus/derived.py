"""A corpus made from another: some of its chunks, its ids perhaps replaced; the vocabulary keeps its entries."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from groundscope.corpus.card import CARD
from groundscope.corpus.chunks import Corpus, content_hash, refuse_to_replace, unknown_share, write_chunks
from groundscope.corpus.cooccurrence import blocks, cooccurring_any, forms_in_both
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.files import atomic_directory, write_json


def write_derived(
    corpus: Corpus,
    out: Path,
    *,
    kept: Bool[np.ndarray, " n_chunks"],
    ids: Int[np.ndarray, " vocab"],
    share_cooccurring_words: float | None,
    provenance: Mapping[str, Any],
    instead: tuple[Int[np.ndarray, " n_which"], Int[np.ndarray, "n_which length"]] | None = None,
) -> Corpus:
    """Write the ``kept`` chunks of ``corpus`` to ``out``, each id replaced by its entry in ``ids``.

    ``instead`` are numbers of kept chunks and what stands in their places. Chunks keep their order and the vocabulary
    its ids; its counts and the card are those of what is written, and ``provenance`` is added to the card's.
    """
    with atomic_directory(out) as folder:
        write_chunks(folder / "chunks.npy", corpus.chunks, kept, ids)
        if instead is not None:
            which, others = instead
            np.load(folder / "chunks.npy", mmap_mode="r+")[np.cumsum(kept)[which] - 1] = ids[others]
        written = np.load(folder / "chunks.npy", mmap_mode="r")
        vocabulary = _recounted(corpus.vocabulary, written)
        vocabulary.save(folder / "vocabulary.json")
        vocabulary.save_tokenizer(folder / "tokenizer.json")
        (folder / "problems.parquet").write_bytes((corpus.path / "problems.parquet").read_bytes())
        is_env = vocabulary.is_env
        changed = {
            "tokens": written.size,
            "chunks": len(written),
            "share_env": float(np.mean([is_env[row].any() for row in written])),
            "share_cooccurring": float(cooccurring_any(written, vocabulary, forms_in_both(vocabulary)).mean()),
            "share_cooccurring_words": share_cooccurring_words,
            "tokens_removed": corpus.card.tokens_removed + corpus.chunks.size - written.size,
            "words_left": {channel: _words(vocabulary, channel) for channel in Channel},
            "unknown_share": {channel: unknown_share(vocabulary, channel) for channel in Channel},
            "provenance": {**corpus.card.provenance, **provenance},
            "content_hash": content_hash(written, vocabulary),
        }
        refuse_to_replace(out, content_hash=changed["content_hash"])
        write_json(folder / CARD, corpus.card.model_copy(update=changed).model_dump(mode="json"))
        del written  # the mapping must not outlive the temporary folder
    return Corpus.open(out)


def _recounted(vocabulary: Vocabulary, chunks: Int[np.ndarray, "n_chunks length"]) -> Vocabulary:
    """The same entries under the same ids, with their counts in these chunks."""
    counted = np.zeros(len(vocabulary), dtype=np.int64)
    for _, block in blocks(chunks):
        counted += np.bincount(block.ravel(), minlength=len(vocabulary))
    counts = counted.tolist()
    words = vocabulary.to_json()["words"]  # in the order of their ids, which are the last
    return Vocabulary(
        documents=counts[vocabulary.document_id],
        unknown={channel: counts[vocabulary.unknown_id(channel)] for channel in Channel},
        speakers=[(code, counts[vocabulary.speaker_id(code)]) for code in vocabulary.speakers],
        words=[(form, channel, n) for (form, channel, _), n in zip(words, counts[-len(words) :], strict=True)],
    )


def _words(vocabulary: Vocabulary, channel: Channel) -> int:
    member = vocabulary.is_env if channel is Channel.ENV else vocabulary.is_lan
    return int(vocabulary.counts[member].sum() - vocabulary.counts[vocabulary.unknown_id(channel)])
