import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundscope.errors import GroundscopeError
from groundscope.training.batches import Share, read_batches
from groundscope.training.order import DataOrder


@settings(max_examples=60, deadline=None)
@given(n_chunks=st.integers(1, 30), batch_size=st.integers(1, 70), seed=st.integers(0, 2**40), epochs=st.integers(1, 3))
def test_each_epoch_reads_each_chunk_once_also_across_batches(n_chunks, batch_size, seed, epochs):
    order = DataOrder(n_chunks, batch_size, seed)
    steps = -(-epochs * n_chunks // batch_size)
    read = np.concatenate([order.chunks_at(step) for step in range(steps)])
    for epoch in range(epochs):
        assert sorted(read[epoch * n_chunks : (epoch + 1) * n_chunks]) == list(range(n_chunks))


@settings(max_examples=60, deadline=None)
@given(n_chunks=st.integers(1, 20), batch_size=st.integers(1, 45), steps=st.integers(0, 12))
def test_seen_counts_what_the_batches_read(n_chunks, batch_size, steps):
    order = DataOrder(n_chunks, batch_size, seed=3)
    counts = np.zeros(n_chunks, dtype=int)
    for step in range(steps):
        np.add.at(counts, order.chunks_at(step), 1)
    np.testing.assert_array_equal(order.seen(steps), counts)


def test_order_depends_on_seed_and_epoch_alone():
    first = DataOrder(100, 100, 42)
    late = first.chunks_at(7)
    assert (DataOrder(100, 100, 42).chunks_at(7) == late).all()
    assert (DataOrder(100, 50, 42).chunks_at(14) == late[:50]).all()
    assert (first.chunks_at(6) != late).any()
    assert (DataOrder(100, 100, 43).chunks_at(7) != late).any()


def test_order_is_the_one_of_earlier_releases():
    """Trained runs are analysed by recomputing their order: it must never change."""
    assert DataOrder(12, 12, 42).chunks_at(0).tolist() == ORDER_42_EPOCH_0


ORDER_42_EPOCH_0 = [11, 1, 7, 6, 10, 3, 9, 2, 5, 4, 0, 8]


def test_an_order_of_nothing_is_refused():
    with pytest.raises(GroundscopeError, match="0 chunks"):
        DataOrder(0, 4, 1)


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_shares_are_the_batch(processes, accumulate):
    batch = np.arange(12) * 10
    shares = [Share(rank, processes, accumulate).of(batch) for rank in range(processes)]
    assert all(len(pieces) == accumulate for pieces in shares)
    assert sorted(np.concatenate([piece for pieces in shares for piece in pieces])) == batch.tolist()
    assert len({len(piece) for pieces in shares for piece in pieces}) == 1


def test_an_uneven_batch_is_refused():
    with pytest.raises(GroundscopeError, match="multiple of 6"):
        Share(0, 2, 3).refuse_uneven(10)


def test_batches_are_the_orders(chunks):
    import torch

    order = DataOrder(len(chunks), 6, seed=5)
    batches = list(read_batches(chunks, order, Share(0, 1, 2), range(3, 11), torch.device("cpu")))
    assert len(batches) == 8
    for step, pieces in zip(range(3, 11), batches, strict=True):
        assert [piece.shape for piece in pieces] == [(3, chunks.shape[1])] * 2
        np.testing.assert_array_equal(torch.cat(pieces).numpy(), chunks[order.chunks_at(step)])
