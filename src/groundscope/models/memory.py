"""What running out of memory looks like, on any device."""

import torch

_SAID = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "std::bad_alloc",
)
"""What torch's allocators and libraries say in a plain RuntimeError."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, so that a smaller batch may go on."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in _SAID)
