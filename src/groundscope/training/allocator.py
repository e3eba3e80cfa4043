"""Memory that a training step frees, kept for the next step instead of going back to the system and coming again."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_* of mallopt(3)
_LARGE = 2**30


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let glibc keep blocks of up to 1 GiB that are freed in the block, and give them back after it.

    Otherwise it maps each large tensor anew, and the system must fill every page with zeros once more: a tenth of a
    CPU step of a small model. The thresholds stay as they are set; other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_TRIM_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        libc.malloc_trim(0)
