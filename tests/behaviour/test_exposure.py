import numpy as np
import pytest

from groundscope.behaviour.cooccurrence import Exposure, Seen, follows, occurrences
from groundscope.behaviour.prompts import Direction
from groundscope.corpus import cooccurrence as corpus_cooccurrence
from groundscope.corpus.utterance import Channel
from groundscope.training.order import DataOrder


@pytest.fixture
def chunks(vocabulary):
    return np.random.default_rng(0).integers(0, len(vocabulary), size=(150, 40), dtype=np.int32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(corpus_cooccurrence, "_BLOCK_TOKENS", 200)


def test_occurrences_equal_a_plain_count(chunks):
    ids = np.array([17, 3, 40, 999])
    expected = [[int((chunk == number).sum()) for number in ids] for chunk in chunks]
    np.testing.assert_array_equal(occurrences(chunks, ids), expected)


@pytest.mark.parametrize("window", [1, 3, 10, 39])
def test_following_within_a_window_equals_a_plain_loop(chunks, window):
    env, lan = np.array([5, 9, 30]), np.array([6, 9 + 1, 31])
    dense = chunks % 35
    expected = np.zeros((len(dense), 3), dtype=bool)
    for row, chunk in enumerate(dense):
        for word in range(3):
            shown, said = np.flatnonzero(chunk == env[word]), np.flatnonzero(chunk == lan[word])
            expected[row, word] = any(0 < s - e <= window for e in shown for s in said)
    found = follows(dense, env, lan, window)
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def test_exposure_is_what_training_read(chunks, vocabulary, nouns):
    order = DataOrder(n_chunks=len(chunks), batch_size=7, seed=3)
    exposure = Exposure.of(chunks, vocabulary, nouns)
    for step in (0, 1, 20, 50):  # step 50 lies in the third epoch
        batches = [order.chunks_at(done) for done in range(step)]
        read = chunks[np.concatenate(batches)] if batches else chunks[:0]
        found = exposure.at(order.seen(step))
        shown, said = (
            np.array([(read == vocabulary.id(noun.form, channel)).any(axis=1) for noun in nouns]).astype(int)
            for channel in (Channel.ENV, Channel.LAN)
        )
        for at, noun in enumerate(nouns):
            assert found.env[at] == (read == vocabulary.id(noun.form, Channel.ENV)).sum()
            assert found.lan[at] == (read == vocabulary.id(noun.form, Channel.LAN)).sum()
        np.testing.assert_array_equal(found.joint, shown @ said.T)
        np.testing.assert_array_equal(found.cooccurring_chunks, (shown @ said.T).diagonal())
        np.testing.assert_array_equal(found.env_chunks, shown.sum(axis=1))
        np.testing.assert_array_equal(found.lan_chunks, said.sum(axis=1))


def test_a_window_counts_less(chunks, vocabulary, nouns):
    ones = np.ones(len(chunks), dtype=np.int64)
    anywhere, near = (Exposure.of(chunks, vocabulary, nouns, window).at(ones) for window in (None, 5))
    assert (near.cooccurring_chunks <= anywhere.cooccurring_chunks).all()
    assert near.cooccurring_chunks.sum() < anywhere.cooccurring_chunks.sum()


def test_the_counted_gain_is_the_defined_gain_of_counts():
    rng = np.random.default_rng(0)
    joint = rng.integers(0, 30, size=(4, 4))
    counts = rng.integers(30, 60, size=(2, 4))
    seen = Seen(joint.diagonal(), *counts, joint, *counts)
    mismatches = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]], dtype=bool)
    for direction, chance in (
        (Direction.ENV2LAN, lambda target, cue: (joint[cue, target] + 0.5) / (counts[0, cue] + 1)),
        (Direction.LAN2ENV, lambda target, cue: (joint[target, cue] + 0.5) / (counts[1, cue] + 1)),
    ):
        found = seen.counted_gain(mismatches, direction)
        for v in range(3):
            others = np.flatnonzero(mismatches[v])
            assert found[v] == pytest.approx(np.mean([np.log(chance(v, v) / chance(v, u)) for u in others]))
        assert np.isnan(found[3])
    assert np.isnan(seen.counted_gain(mismatches, Direction.LAN2LAN)).all()


def test_counting_nothing_gains_nothing():
    zero = np.zeros(3, dtype=np.int64)
    seen = Seen(zero, zero, zero, np.zeros((3, 3), dtype=np.int64), zero, zero)
    np.testing.assert_allclose(seen.counted_gain(~np.eye(3, dtype=bool), Direction.ENV2LAN), 0)
