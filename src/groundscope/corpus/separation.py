"""Chunks whose scene shows other words than they speak: co-occurrence gone, every word as often as before."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from groundscope.corpus.cooccurrence import presence
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError

_MIXING = 100
"""Rounds of exchange over whole groups, each with a partner in every round: so many that the start is forgotten."""

_PATIENCE = 1000
"""Rounds of exchange of single tokens that fell to a chunk which speaks them; a handful is the rule."""


def separated(
    chunks: Int[np.ndarray, "n_chunks length"],
    vocabulary: Vocabulary,
    words: Sequence[str],
    which: Int[np.ndarray, " n_which"],
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "n_which length"], int]:
    """Return the chunks numbered ``which`` with their co-occurring ``words`` exchanged, and how many tokens.

    All tokens of a word in the scene of a chunk that also speaks it take the places of as many such tokens of another
    word in another chunk, which does not speak it: drawn at random, and all together, so that a scene repeats itself
    as before. Only where no other word stands as often in its chunk does each token go its own way. Afterwards none of
    these chunks co-occurs, each scene word stands as often as before, and speech is untouched. Raises CorpusError where
    the words are too few for that, and VocabularyError for a word that the vocabulary lacks in one of the channels.
    """
    shown, spoken = ([vocabulary.id(word, channel) for word in words] for channel in (Channel.ENV, Channel.LAN))
    here = np.asarray(chunks[which])
    shows, speaks = presence(here, shown), presence(here, spoken)
    word_of_id = np.full(len(vocabulary), -1, dtype=np.int32)
    word_of_id[shown] = np.arange(len(words))
    rows, columns = np.nonzero(word_of_id[here] >= 0)
    standing = word_of_id[here[rows, columns]]
    paired = speaks[rows, standing]
    rows, columns, standing = rows[paired], columns[paired], standing[paired]
    groups, group_of_token, sizes = np.unique(rows * len(words) + standing, return_inverse=True, return_counts=True)
    row_of_group, word_of_group = np.divmod(groups, len(words))
    unfit = 2 * speaks.astype(np.int8) + shows  # worst is co-occurrence, then a word that this scene has already
    dealt = _exchanged_whole(word_of_group, row_of_group, sizes, unfit, rng)[group_of_token]
    here[rows, columns] = np.array(shown, dtype=here.dtype)[_exchanged_singly(dealt, rows, speaks, rng)]
    return here, len(rows)


def _exchanged_whole(
    words: Int[np.ndarray, " groups"],
    rows: Int[np.ndarray, " groups"],
    sizes: Int[np.ndarray, " groups"],
    unfit: Int[np.ndarray, "rows words"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " groups"]:
    """The same words over the groups, exchanged at random between groups of one size where that fits no worse."""
    dealt = words.copy()
    for turn in range(_MIXING):
        drawn = rng.permutation(len(dealt))
        drawn = drawn[np.argsort(sizes[drawn], kind="stable")][turn % 2 :]  # each with the one before, then after it
        one, other = drawn[: len(drawn) // 2 * 2].reshape(-1, 2).T
        alike = sizes[one] == sizes[other]
        _exchange(dealt, one[alike], other[alike], rows, unfit)
    return dealt


def _exchanged_singly(
    words: Int[np.ndarray, " tokens"],
    rows: Int[np.ndarray, " tokens"],
    speaks: Bool[np.ndarray, "rows words"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " tokens"]:
    """The same words over the tokens, those in rows that speak them exchanged for random others until none is left."""
    dealt, unfit = words.copy(), speaks.astype(np.int8)
    for _ in range(_PATIENCE):
        wrong = speaks[rows, dealt]
        if not wrong.any():
            return dealt
        others = rng.integers(len(dealt), size=wrong.sum())
        drawn = rng.permutation(np.union1d(np.flatnonzero(wrong), others))
        one, other = drawn[: len(drawn) // 2 * 2].reshape(-1, 2).T
        needed = wrong[one] | wrong[other]
        _exchange(dealt, one[needed], other[needed], rows, unfit)
    raise CorpusError(
        f"{int(speaks[rows, dealt].sum()):,} of {len(dealt):,} words of the scene find no chunk that does not speak "
        "them: the words are too few, or most chunks speak most of them. Name more words, take shorter chunks, or "
        "leave the separated arm out."
    )


def _exchange(
    dealt: Int[np.ndarray, " places"],
    one: Int[np.ndarray, " pairs"],
    other: Int[np.ndarray, " pairs"],
    rows: Int[np.ndarray, " places"],
    unfit: Int[np.ndarray, "rows words"],
) -> None:
    """Exchange in place the words of each pair of places, none of them in two pairs, where they then fit no worse."""
    before = unfit[rows[one], dealt[one]] + unfit[rows[other], dealt[other]]
    after = unfit[rows[one], dealt[other]] + unfit[rows[other], dealt[one]]
    better = after <= before
    one, other = one[better], other[better]
    dealt[one], dealt[other] = dealt[other], dealt[one]
