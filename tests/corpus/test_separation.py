"""How the separated arm deals a scene's words: whole, evenly, and one by one only where it must."""

import tracemalloc

import numpy as np
import pytest

from groundscope.corpus.separation import separated
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError, VocabularyError

WORDS = ("horse", "cow", "cup", "ball")
VOCABULARY = Vocabulary.from_counts(
    documents=1,
    speakers={"CHI": 2},
    words={(form, channel): 9 for form in (*WORDS, "the") for channel in Channel},
)
SHOWN, SAID = (np.array([VOCABULARY.id(word, channel) for word in WORDS]) for channel in (Channel.ENV, Channel.LAN))
FILLER = VOCABULARY.id("the", Channel.LAN)
LENGTH = 12


def chunk(word, times):
    """A chunk that says the word once and shows it ``times``."""
    return [SAID[word], *[SHOWN[word]] * times, *[FILLER] * (LENGTH - 1 - times)]


def scenes(chunks):
    """The scene's words of each chunk, by id."""
    return [row[np.isin(row, SHOWN)].tolist() for row in chunks]


def test_a_scene_repeats_its_word_as_before():
    shown = [(word, times) for word in range(len(WORDS)) for times in (1, 2, 5) for _ in range(10)]
    before = np.array([chunk(*one) for one in shown], dtype=np.int32)
    after, exchanged = separated(before, VOCABULARY, WORDS, np.arange(len(before)), np.random.default_rng(0))
    assert exchanged == sum(times for _, times in shown)
    for (word, times), scene in zip(shown, scenes(after), strict=True):
        assert len(scene) == times
        assert len(set(scene)) == 1
        assert scene[0] != SHOWN[word]


def test_a_word_that_stands_as_often_as_no_other_goes_token_by_token():
    before = np.array([chunk(0, 6), *[chunk(word, 1) for word in (1, 2, 3) for _ in range(5)]], dtype=np.int32)
    after, _ = separated(before, VOCABULARY, WORDS, np.arange(len(before)), np.random.default_rng(0))
    first, *others = scenes(after)
    assert SHOWN[0] not in first
    assert sum(SHOWN[0] in scene for scene in others) == 6
    np.testing.assert_array_equal(np.bincount(after.ravel()), np.bincount(before.ravel()))


def test_a_word_goes_to_a_scene_that_lacks_it_where_it_can():
    """Beside each chunk's own word its scene shows another that nobody speaks there; that one is not doubled."""
    beside = [(word, (word + 1) % len(WORDS)) for word in range(len(WORDS)) for _ in range(20)]
    before = np.array([chunk(word, 1) for word, _ in beside], dtype=np.int32)
    before[:, -1] = SHOWN[[other for _, other in beside]]
    after, exchanged = separated(before, VOCABULARY, WORDS, np.arange(len(before)), np.random.default_rng(0))
    assert exchanged == len(before)
    assert all(len(set(scene)) == 2 for scene in scenes(after))


def test_every_other_word_is_as_likely():
    before = np.array([chunk(word, 1) for word in range(len(WORDS)) for _ in range(5)], dtype=np.int32)
    drawn = [
        separated(before, VOCABULARY, WORDS, np.arange(len(before)), np.random.default_rng(seed))[0]
        for seed in range(60)
    ]
    first = np.array([[np.flatnonzero(scene[0] == SHOWN)[0] for scene in scenes(after)] for after in drawn])
    counts = np.zeros((len(WORDS), len(WORDS)))
    np.add.at(counts, (np.repeat(np.arange(len(WORDS)), 5)[None].repeat(len(drawn), 0), first), 1)
    assert not counts.diagonal().any()
    off = counts[~np.eye(len(WORDS), dtype=bool)]
    assert np.abs(off - 100).max() < 4 * np.sqrt(100 * 2 / 3), "of 300 each, a third to each of three"


def test_nothing_to_separate_is_nothing_done():
    before = np.array([chunk(0, 0), chunk(1, 0)], dtype=np.int32)
    for which in (np.arange(2), np.arange(0)):
        after, exchanged = separated(before, VOCABULARY, WORDS, which, np.random.default_rng(0))
        assert exchanged == 0
        np.testing.assert_array_equal(after, before[which])


def test_chunks_that_stay_as_they_are_are_not_copied():
    before = np.array([chunk(word, 2) for word in range(len(WORDS))] * 10_000, dtype=np.int32)
    tracemalloc.start()
    after, exchanged = separated(before, VOCABULARY, WORDS, np.arange(40), np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(after), exchanged) == (40, 80)
    assert peak < before.nbytes / 4


@pytest.mark.parametrize(
    "speakers", [[0], [0] * 40, [0, 1, 2, 3]], ids=["one place", "one word", "chunks that speak all words"]
)
def test_what_cannot_be_separated_is_said_to_be_so(speakers):
    before = np.array([chunk(word, 2) for word in speakers], dtype=np.int32)
    if len(set(speakers)) > 1:
        before[:, -len(SAID) :] = SAID
    with pytest.raises(CorpusError, match=f"^{2 * len(speakers)} of {2 * len(speakers)} words of the scene find no"):
        separated(before, VOCABULARY, WORDS, np.arange(len(before)), np.random.default_rng(0))
    with pytest.raises(VocabularyError, match="dragon"):
        separated(before, VOCABULARY, ["dragon"], np.arange(len(before)), np.random.default_rng(0))
