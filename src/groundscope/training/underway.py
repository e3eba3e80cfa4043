"""Numbers on their way from a GPU: sent for when a step is queued, read when the next one is queued behind it."""

import torch
from jaxtyping import Float
from torch import Tensor


class Underway:
    """Numbers that a device has yet to compute.

    Asked for later, a GPU would send them behind all that was queued since, so that reading the step before would wait
    for the step just queued, and the GPU then for the next.
    """

    def __init__(self, values: Float[Tensor, " n"]):
        """Send for them; from a CPU, or another device that has no such queue, they are simply kept."""
        self._values, self._arrival = values, None
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._arrival = torch.cuda.Event()
            self._arrival.record()

    def read(self) -> list[float]:
        """Return them, once they are there."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._values.tolist()
