"""Blocks that keep nothing for the backward pass but what enters them: memory of one block in place of all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputing(blocks: Sequence[nn.Module], again: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Run ``blocks`` inside the block so that the backward pass computes each of them a second time.

    The backward pass may come later, when whatever is open around the forward pass is closed: ``again`` opens it for
    each block once more (gates, say). Results are those of a plain run, bit for bit; a third more is computed. The
    blocks are left as they were found.
    """
    found = [vars(block).get("forward") for block in blocks]  # what others put there, e.g. to place layers on devices
    for block in blocks:
        block.forward = _thrifty(block.forward, again)
    try:
        yield
    finally:
        for block, forward in zip(blocks, found, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward


def _thrifty(forward: Callable[..., Any], again: Callable[[], AbstractContextManager[None]]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(
            forward,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,  # gates are for models in eval mode: nothing is drawn
            context_fn=lambda: (nullcontext(), again()),
            **kwargs,
        )

    return run
