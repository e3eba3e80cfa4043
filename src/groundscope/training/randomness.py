"""Random numbers as a function of (seed, what they are for, position), never as a state to carry along."""

import hashlib

import numpy as np
from jaxtyping import UInt64


def derived_seed(seed: int, purpose: str, *position: int) -> int:
    """Return 63 bits that depend on all arguments and on nothing else."""
    text = ":".join([purpose, str(seed), *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def random_words(count: int, seed: int, purpose: str, *position: int) -> UInt64[np.ndarray, " count"]:
    """Return ``count`` random 64-bit words.

    They are Philox's raw output, which NumPy promises never to change; it does not promise that of
    ``Generator.permutation``, and the order of the data must outlive an upgrade.
    """
    return np.random.Philox(key=derived_seed(seed, purpose, *position)).random_raw(count)
