"""Which chunks a training step reads: a pure function of the seed and the step."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from groundscope.errors import GroundscopeError
from groundscope.training.randomness import random_words


@dataclass(frozen=True, slots=True)
class DataOrder:
    """The order in which chunks are read: one permutation per epoch, cut into batches that may cross epochs."""

    n_chunks: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse an order of nothing."""
        if self.n_chunks < 1 or self.batch_size < 1:
            raise GroundscopeError(
                f"A data order needs chunks and a batch size of 1 or more; found {self.n_chunks} chunks and "
                f"a batch size of {self.batch_size}."
            )

    def chunks_at(self, step: int) -> Int[np.ndarray, " batch"]:
        """Return the chunks that the update from ``step`` to ``step + 1`` reads; steps count from 0."""
        first = step * self.batch_size
        position = np.arange(first, first + self.batch_size)
        epochs, place = np.divmod(position, self.n_chunks)
        batch = np.empty(self.batch_size, dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            batch[here] = _permutation(self.n_chunks, self.seed, int(epoch))[place[here]]
        return batch

    def seen(self, step: int) -> Int[np.ndarray, " n_chunks"]:
        """Return how often each chunk was read before ``step``, repetitions included."""
        epochs, rest = divmod(step * self.batch_size, self.n_chunks)
        counts = np.full(self.n_chunks, epochs, dtype=np.int64)
        if rest:
            counts[_permutation(self.n_chunks, self.seed, epochs)[:rest]] += 1
        return counts


@lru_cache(maxsize=4)  # a batch touches one epoch, or two at a border
def _permutation(n_chunks: int, seed: int, epoch: int) -> Int[np.ndarray, " n_chunks"]:
    order = np.argsort(random_words(n_chunks, seed, "data order", epoch), kind="stable")
    order.flags.writeable = False  # shared through the cache
    return order
