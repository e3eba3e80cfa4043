"""Micro-batches: sized by an estimate, halved when memory runs out all the same."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from groundscope.errors import RunError
from groundscope.models.memory import out_of_memory

T = TypeVar("T")

BUDGETS = {"cpu": 64 << 20, "cuda": 4 << 30}
"""Bytes that one micro-batch may take by kind of device: beyond this, larger batches are no faster. Constants, and not
what is free at the moment: how a batch is cut moves the last digits of a result, and the same inputs are to give the
same bytes."""


def micro_batch(bytes_each: int, device: torch.device, budget: int | None = None) -> int:
    """Return how many items of ``bytes_each`` fit into ``budget`` bytes (None: the device's); at least one."""
    budget = BUDGETS.get(device.type, BUDGETS["cuda"]) if budget is None else budget
    return max(1, budget // max(1, bytes_each))


def in_micro_batches(work: Callable[[slice], T], count: int, size: int) -> list[T]:
    """Return ``work(part)`` for consecutive slices that cover ``count`` items, ``size`` at a time.

    When memory runs out the slice is halved and tried again, and the smaller size is kept. Raises RunError when one
    item alone does not fit.
    """
    results: list[T] = []
    start = 0
    while start < count:
        part = slice(start, min(start + size, count))
        result = _attempt(work, part)
        if result is not None:
            results.append(result)
            start = part.stop
        elif part.stop - start == 1:
            raise RunError(
                "Memory ran out with a single prompt in the batch. Ask for fewer layers or for the last row only, "
                "shorten the prompts, or use a machine with more memory."
            )
        else:
            size = (part.stop - start) // 2
    return results


def _attempt(work: Callable[[slice], T], part: slice) -> T | None:
    """``work(part)``, or None when memory ran out; the traceback, which holds tensors, dies with the handler."""
    try:
        return work(part)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
