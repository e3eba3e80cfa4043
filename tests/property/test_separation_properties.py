"""Separation against what it promises, on corpora that make it hard: few words, few chunks, all spoken at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from groundscope.corpus.separation import separated
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError

WORDS = ("horse", "cow", "cup")
VOCABULARY = Vocabulary.from_counts(
    documents=1,
    speakers={"CHI": 2, "MOT": 1},
    words={(form, channel): 9 for form in (*WORDS, "the") for channel in Channel},
)
SHOWN, SAID = ([VOCABULARY.id(word, channel) for word in WORDS] for channel in (Channel.ENV, Channel.LAN))
OTHERS = sorted(set(range(len(VOCABULARY))) - {*SHOWN, *SAID})


@st.composite
def corpora(draw):
    """Chunks of a few tokens, and the numbers of some of them in any order."""
    n_chunks, length = draw(st.integers(0, 7)), draw(st.integers(1, 6))
    token = st.sampled_from([*SHOWN, *SAID, *OTHERS[:1]])
    tokens = draw(st.lists(token, min_size=n_chunks * length, max_size=n_chunks * length))
    which = draw(st.lists(st.integers(0, n_chunks - 1), unique=True)) if n_chunks else []
    return np.array(tokens, dtype=np.int32).reshape(n_chunks, length), np.array(which, dtype=np.int64)


def paired_places(chunks, which):
    """(chunk, column, word) of every scene token whose word the chunk also speaks, found by looking."""
    return [
        (row, column, SHOWN.index(token))
        for row in sorted(which.tolist())
        for column, token in enumerate(chunks[row].tolist())
        if token in SHOWN and SAID[SHOWN.index(token)] in chunks[row]
    ]


def can_be_separated(chunks, which):
    """Whether the paired tokens fit their places in another order, none in a chunk that speaks it."""
    places = paired_places(chunks, which)
    if not places:
        return True
    spoken = np.array([[SAID[word] in chunks[row] for _, _, word in places] for row, _, _ in places])
    return spoken[linear_sum_assignment(spoken)].sum() == 0


@settings(max_examples=100, deadline=None)
@given(corpora(), st.integers(0, 3))
def test_every_count_stays_and_no_word_is_left_in_both(corpus, seed):
    chunks, which = corpus
    before = chunks.copy()
    places = paired_places(chunks, which)
    if not can_be_separated(chunks, which):
        with pytest.raises(CorpusError, match="find no chunk that does not speak them"):
            separated(chunks, VOCABULARY, WORDS, which, np.random.default_rng(seed))
        return
    others, exchanged = separated(chunks, VOCABULARY, WORDS, which, np.random.default_rng(seed))
    out = chunks.copy()
    out[which] = others
    np.testing.assert_array_equal(chunks, before)
    changed = out != chunks
    assert {tuple(place) for place in np.argwhere(changed).tolist()} == {(row, column) for row, column, _ in places}
    assert exchanged == len(places) == changed.sum()
    assert sorted(out[changed]) == sorted(chunks[changed]), "each word as often in the scene as before"
    assert set(out[changed].tolist()) <= set(SHOWN), "speech, speakers and other words stay"
    assert paired_places(out, which) == []
    again, _ = separated(chunks, VOCABULARY, WORDS, which, np.random.default_rng(seed))
    np.testing.assert_array_equal(again, others)
