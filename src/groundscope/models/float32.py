"""Float32 as it is on a CPU, on GPUs that would shorten it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def whole_float32() -> Iterator[None]:
    """Have cuDNN multiply float32 as float32: of an LSTM and of a ViT's patches it would keep TF32's ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
