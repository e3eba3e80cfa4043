"""Which chunks hold which words, and which hold a word both in the scene and in speech."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import VocabularyError

_BLOCK_TOKENS = 1 << 20
"""Tokens looked at in one go: few enough to stay in the cache, so many that numpy's overhead is nothing."""


def presence(
    chunks: Int[np.ndarray, "n_chunks length"], ids: Sequence[int] | Int[np.ndarray, " n_ids"]
) -> Bool[np.ndarray, "n_chunks n_ids"]:
    """Say for every chunk and id whether the id stands in the chunk.

    The time depends on the tokens and hardly on the number of ids: each token is looked up once and marks its
    column. ``chunks`` may be memory-mapped. Raises VocabularyError for a negative id.
    """
    wanted, column_of_id = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
    if wanted.size and wanted[0] < 0:
        raise VocabularyError(f"There is no id {wanted[0]}: ids count from 0.")
    held = np.zeros((len(chunks), len(wanted)), dtype=bool)
    if held.size:
        lookup = _lookup(wanted)
        for start, block in blocks(chunks):
            columns = lookup[np.minimum(block, len(lookup) - 1)]
            rows, places = np.nonzero(columns >= 0)
            held[start + rows, columns[rows, places]] = True
    return held[:, column_of_id]


def cooccurring(
    chunks: Int[np.ndarray, "n_chunks length"], vocabulary: Vocabulary, words: Sequence[str]
) -> Bool[np.ndarray, "n_chunks n_words"]:
    """Say for every chunk and word whether the chunk holds both ``word<ENV>`` and ``word<LAN>``.

    This is the paper's definition of a co-occurring chunk (Wu et al. 2025, co-occurrence control). Raises
    VocabularyError for a word that the vocabulary lacks in one of the channels.
    """
    ids = [vocabulary.id(word, channel) for channel in (Channel.ENV, Channel.LAN) for word in words]
    held = presence(chunks, ids)
    return held[:, : len(words)] & held[:, len(words) :]


def forms_in_both(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the words that have an entry in the scene's vocabulary and in speech's, commonest in the scene first."""
    return tuple(form for form in vocabulary.forms(Channel.ENV) if vocabulary.find(form, Channel.LAN))


def share_cooccurring(
    chunks: Int[np.ndarray, "n_chunks length"], vocabulary: Vocabulary, words: Sequence[str] | None = None
) -> float:
    """Return the share of chunks that hold at least one of ``words`` in both channels; None means any form.

    Works through the chunks block by block, so that all forms of a large vocabulary fit into memory.
    """
    words = forms_in_both(vocabulary) if words is None else words
    if not len(chunks) or not len(words):
        return 0.0
    found = sum(int(cooccurring(block, vocabulary, words).any(axis=1).sum()) for _, block in blocks(chunks))
    return found / len(chunks)


def blocks(
    chunks: Int[np.ndarray, "n_chunks length"],
) -> Iterator[tuple[int, Int[np.ndarray, "block length"]]]:
    """Yield (first chunk's number, rows) over all chunks, a cache's worth of rows at a time."""
    rows = max(1, _BLOCK_TOKENS // max(1, chunks.shape[1]))
    for start in range(0, len(chunks), rows):
        yield start, chunks[start : start + rows]


def _lookup(wanted: Int[np.ndarray, " n_wanted"]) -> Int[np.ndarray, " table"]:
    """Column of each wanted id, -1 for every other; the last entry stands for all ids beyond the table."""
    table = np.full(int(wanted[-1]) + 2, -1, dtype=np.int32)
    table[wanted] = np.arange(len(wanted), dtype=np.int32)
    return table
