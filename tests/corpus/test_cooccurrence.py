"""Presence and co-occurrence against plain loops over the chunks."""

import numpy as np
import pytest

from groundscope.corpus import cooccurrence
from groundscope.corpus.cooccurrence import cooccurring, cooccurring_any, forms_in_both, presence
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import VocabularyError

WORDS = ("horse", "cow", "the")


def vocabulary() -> Vocabulary:
    words = {(word, channel): 5 for word in WORDS for channel in Channel}
    return Vocabulary.from_counts(
        documents=1, speakers={"CHI": 1}, words=words | {("seen", Channel.ENV): 2, ("said", Channel.LAN): 2}
    )


def random_chunks(n_chunks: int = 300, length: int = 9, n_ids: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, n_ids, size=(n_chunks, length), dtype=np.int32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cooccurrence, "_BLOCK_TOKENS", 100)


@pytest.mark.parametrize("ids", [[3], [7, 0, 7, 11], [40, 2], list(range(12)), []])
def test_presence_equals_a_plain_loop(ids):
    chunks = random_chunks()
    expected = [[number in set(chunk.tolist()) for number in ids] for chunk in chunks]
    np.testing.assert_array_equal(presence(chunks, ids), np.array(expected, dtype=bool).reshape(300, len(ids)))


def test_presence_of_memory_mapped_chunks(tmp_path):
    np.save(tmp_path / "chunks.npy", random_chunks())
    mapped = np.load(tmp_path / "chunks.npy", mmap_mode="r")
    np.testing.assert_array_equal(presence(mapped, [1, 5]), presence(random_chunks(), [1, 5]))


def test_presence_in_no_chunks_and_of_no_possible_id():
    assert presence(random_chunks(0), [1, 2]).shape == (0, 2)
    with pytest.raises(VocabularyError, match="no id -1"):
        presence(random_chunks(), [3, -1])


def test_cooccurring_wants_both_channels():
    v = vocabulary()
    env, lan = (v.id("horse", channel) for channel in Channel)
    chunks = np.array([[env, 0, 0], [0, lan, 0], [lan, 0, env], [0, 0, 0]], dtype=np.int32)
    np.testing.assert_array_equal(cooccurring(chunks, v, ["horse"])[:, 0], [False, False, True, False])


def test_cooccurring_equals_a_plain_loop():
    v, chunks = vocabulary(), random_chunks()
    expected = [
        [all(v.id(word, channel) in chunk for channel in Channel) for word in WORDS] for chunk in chunks.tolist()
    ]
    np.testing.assert_array_equal(cooccurring(chunks, v, WORDS), expected)
    np.testing.assert_array_equal(cooccurring_any(chunks, v, WORDS), np.any(expected, axis=1))
    np.testing.assert_array_equal(cooccurring_any(chunks, v, ["cow"]), np.array(expected)[:, 1])


def test_only_words_of_both_channels_can_cooccur():
    assert sorted(forms_in_both(vocabulary())) == sorted(WORDS)
    with pytest.raises(VocabularyError, match="does not hold 'seen<LAN>'"):
        cooccurring(random_chunks(), vocabulary(), ["seen"])
    assert not cooccurring_any(random_chunks(), vocabulary(), []).any()
