"""Chunks whose scene shows other words than they speak: co-occurrence gone, every word as often as before."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from groundscope.corpus.cooccurrence import presence
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError

_ROUNDS = 1000
"""Attempts at a new place for a word that fell to a chunk which speaks it; a handful is the rule."""


def separated(
    chunks: Int[np.ndarray, "n_chunks length"],
    vocabulary: Vocabulary,
    words: Sequence[str],
    which: Int[np.ndarray, " n_which"],
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "n_chunks length"], int]:
    """Return the chunks with the co-occurring ``words`` of those numbered ``which`` exchanged, and how many tokens.

    Each scene token of a word that its chunk also speaks takes the place of another such token, drawn at random, in a
    chunk that does not speak it. Afterwards none of these chunks co-occurs, each scene word stands as often as before,
    and speech is untouched. Raises CorpusError where the words are too few for that, and VocabularyError for a word
    that the vocabulary lacks in one of the channels.
    """
    shown, spoken = ([vocabulary.id(word, channel) for word in words] for channel in (Channel.ENV, Channel.LAN))
    here = np.asarray(chunks[which])
    speaks = presence(here, spoken)
    word_of_id = np.full(len(vocabulary), -1, dtype=np.int32)
    word_of_id[shown] = np.arange(len(words), dtype=np.int32)
    rows, columns = np.nonzero(word_of_id[here] >= 0)
    standing = word_of_id[here[rows, columns]]
    paired = speaks[rows, standing]
    rows, columns, standing = rows[paired], columns[paired], standing[paired]
    here[rows, columns] = np.array(shown, dtype=here.dtype)[_dealt_anew(standing, rows, speaks, rng)]
    out = np.array(chunks)
    out[which] = here
    return out, len(rows)


def _dealt_anew(
    standing: Int[np.ndarray, " places"],
    rows: Int[np.ndarray, " places"],
    speaks: np.ndarray,
    rng: np.random.Generator,
) -> Int[np.ndarray, " places"]:
    """The same words over the same places, none in a row that speaks it: shuffled, then swapped where it fell wrong."""
    dealt = rng.permutation(standing)
    for _ in range(_ROUNDS):
        wrong = np.flatnonzero(speaks[rows, dealt])
        if not wrong.size:
            return dealt
        for one, other in zip(wrong, rng.integers(len(dealt), size=len(wrong)), strict=True):
            if not speaks[rows[one], dealt[other]] and not speaks[rows[other], dealt[one]]:
                dealt[one], dealt[other] = dealt[other], dealt[one]
    wrong = int(speaks[rows, dealt].sum())
    raise CorpusError(
        f"{wrong:,} of {len(dealt):,} words of the scene find no chunk that does not speak them: the words "
        "are too few, or most chunks speak most of them. Name more words, take shorter chunks, or leave the "
        "separated arm out."
    )
