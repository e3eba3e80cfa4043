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
        column = _lookup(wanted, int(wanted[-1]) + 2)  # the last entry, -1, stands for all larger ids
        for start, block in blocks(chunks):
            rows, columns = _marked(column[np.minimum(block, len(column) - 1)])
            held[start + rows, columns] = True
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


def cooccurring_any(
    chunks: Int[np.ndarray, "n_chunks length"], vocabulary: Vocabulary, words: Sequence[str]
) -> Bool[np.ndarray, " n_chunks"]:
    """Say for every chunk whether at least one of ``words`` stands in it in both channels.

    The same as ``cooccurring(...).any(axis=1)``, in the memory of one block even when all forms of a large
    vocabulary are asked for. Raises VocabularyError as `cooccurring` does.
    """
    form_shown, form_said = (
        _lookup(np.array([vocabulary.id(word, channel) for word in words], dtype=np.int64), len(vocabulary))
        for channel in (Channel.ENV, Channel.LAN)
    )
    found = np.zeros(len(chunks), dtype=bool)
    shown = np.zeros((0, len(words)), dtype=bool)
    for start, block in blocks(chunks, tokens=_BLOCK_TOKENS // 16):
        if len(shown) < len(block):
            shown = np.zeros((len(block), len(words)), dtype=bool)
        rows, forms = _marked(form_shown[block])
        shown[rows, forms] = True
        rows_said, forms_said = _marked(form_said[block])
        found[start + rows_said[shown[rows_said, forms_said]]] = True
        shown[rows, forms] = False  # cheaper than a fresh table, which is mostly empty
    return found


def blocks(
    chunks: Int[np.ndarray, "n_chunks length"], tokens: int = _BLOCK_TOKENS
) -> Iterator[tuple[int, Int[np.ndarray, "block length"]]]:
    """Yield (first chunk's number, rows) over all chunks, about ``tokens`` tokens at a time."""
    rows = max(1, tokens // max(1, chunks.shape[1]))
    for start in range(0, len(chunks), rows):
        yield start, chunks[start : start + rows]


def _lookup(ids: Int[np.ndarray, " n_ids"], size: int) -> Int[np.ndarray, " size"]:
    """Place of each id in ``ids``, -1 for every other id below ``size``."""
    table = np.full(size, -1, dtype=np.int32)
    table[ids] = np.arange(len(ids), dtype=np.int32)
    return table


def _marked(places: Int[np.ndarray, "block length"]) -> tuple[np.ndarray, np.ndarray]:
    """Row and value of every entry that is not -1."""
    flat = np.flatnonzero(places.ravel() >= 0)
    return flat // places.shape[1], places.ravel()[flat]
