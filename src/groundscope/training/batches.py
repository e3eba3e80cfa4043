"""Batches on the device, each prepared while the step before it runs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from groundscope.errors import GroundscopeError
from groundscope.training.order import DataOrder


@dataclass(frozen=True, slots=True)
class Share:
    """The part of each batch that one process reads, and how many pieces it reads it in."""

    rank: int
    processes: int
    accumulate: int

    def refuse_uneven(self, batch_size: int) -> None:
        """Raise GroundscopeError when the batch cannot be cut into equal pieces.

        The mean over pieces would then not be the mean over the batch.
        """
        pieces = self.processes * self.accumulate
        if batch_size % pieces:
            raise GroundscopeError(
                f"batch_size ({batch_size}) cannot be cut into equal parts for {self.processes} processes x "
                f"accumulate {self.accumulate}; make it a multiple of {pieces}."
            )

    def of(self, batch: Int[np.ndarray, " batch"]) -> list[Int[np.ndarray, " part"]]:
        """Return this process's pieces; the pieces of all processes are the batch, each chunk once."""
        return [
            batch.reshape(self.accumulate, self.processes, -1)[piece, self.rank] for piece in range(self.accumulate)
        ]


def read_batches(
    chunks: Int[np.ndarray, "n_chunks length"],
    order: DataOrder,
    share: Share,
    steps: range,
    device: torch.device,
) -> Iterator[list[Int[Tensor, "part length"]]]:
    """Yield this process's pieces of the batch of each step, on ``device``, read one step ahead in a thread."""

    def read(step: int) -> list[Tensor]:
        pieces = []
        for part in share.of(order.chunks_at(step)):
            tokens = torch.from_numpy(chunks[part].astype(np.int64))
            if device.type == "cuda":
                tokens = tokens.pin_memory().to(device, non_blocking=True)
            pieces.append(tokens.to(device))
        return pieces

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as reader:
        ahead = reader.submit(read, steps.start) if steps else None
        for step in steps:
            assert ahead is not None
            batch = ahead.result()
            ahead = reader.submit(read, step + 1) if step + 1 < steps.stop else None
            yield batch
