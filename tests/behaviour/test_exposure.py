import numpy as np
import pytest

from groundscope.behaviour.cooccurrence import Exposure, occurrences
from groundscope.corpus import cooccurrence as corpus_cooccurrence
from groundscope.corpus.utterance import Channel
from groundscope.training.order import DataOrder


@pytest.fixture
def chunks(vocabulary):
    return np.random.default_rng(0).integers(0, len(vocabulary), size=(150, 40), dtype=np.int32)


def test_occurrences_equal_a_plain_count(chunks, monkeypatch):
    monkeypatch.setattr(corpus_cooccurrence, "_BLOCK_TOKENS", 200)
    ids = np.array([17, 3, 40, 999])
    expected = [[int((chunk == number).sum()) for number in ids] for chunk in chunks]
    np.testing.assert_array_equal(occurrences(chunks, ids), expected)


def test_exposure_is_what_training_read(chunks, vocabulary, nouns):
    order = DataOrder(n_chunks=len(chunks), batch_size=7, seed=3)
    exposure = Exposure.of(chunks, vocabulary, nouns)
    for step in (0, 1, 20, 50):  # step 50 lies in the third epoch
        batches = [order.chunks_at(done) for done in range(step)]
        read = chunks[np.concatenate(batches)] if batches else chunks[:0]
        found = exposure.at(order.seen(step))
        for at, noun in enumerate(nouns):
            env, lan = (vocabulary.id(noun.form, channel) for channel in Channel)
            assert found.env[at] == (read == env).sum()
            assert found.lan[at] == (read == lan).sum()
            both = (read == env).any(axis=1) & (read == lan).any(axis=1)
            assert found.cooccurring_chunks[at] == both.sum()
