"""Random heads to compare with: as many as were found, without the property, and by choice from the same layers."""

import numpy as np
from jaxtyping import Bool, Int, UInt64

from groundscope.mechanism.heads import HeadIndex
from groundscope.training.randomness import random_words


def random_heads(
    found: Bool[np.ndarray, "prompt head"],
    eligible: Bool[np.ndarray, "prompt head"],
    index: HeadIndex,
    *,
    numbers: Int[np.ndarray, " prompt"],
    draws: int,
    seed: int,
    purpose: str,
    same_layers: bool,
) -> Bool[np.ndarray, "prompt draw head"]:
    """Draw, for each prompt and ``draws`` times, as many ``eligible`` heads as were found in it.

    ``same_layers`` takes as many from each layer as were found there. Where a layer has too few eligible heads the
    rest comes from the other layers; where the model has too few, all of them are taken. Without ``same_layers`` all
    sets of the right size are equally likely. A draw depends on (seed, purpose, the prompt's number
    in the study) alone, not on how prompts were grouped.
    """
    keys = (
        np.stack([_keys(seed, purpose, int(number), draws, len(index)) for number in numbers]) if len(numbers) else None
    )
    if keys is None or not len(index):
        return np.zeros((len(found), draws, len(index)), dtype=bool)
    free = np.broadcast_to((eligible & ~found)[:, None], keys.shape)
    drawn = np.zeros(keys.shape, dtype=bool)
    if same_layers:
        for layer in index.chosen_layers:
            part = index.of_layer(layer)
            want = found[:, part].sum(axis=1)
            drawn[..., part] = _smallest(keys[..., part], free[..., part], want[:, None])
    missing = found.sum(axis=1)[:, None] - drawn.sum(axis=2)
    return drawn | _smallest(keys, free & ~drawn, missing)


def _smallest(
    keys: UInt64[np.ndarray, "prompt draw head"],
    free: Bool[np.ndarray, "prompt draw head"],
    want: Int[np.ndarray, "prompt #draw"],
) -> Bool[np.ndarray, "prompt draw head"]:
    """Choose the ``want`` smallest keys among the free heads: a uniformly random subset, as the keys are random."""
    order = np.argsort(np.where(free, keys, np.iinfo(keys.dtype).max), axis=2, kind="stable")
    rank = np.argsort(order, axis=2, kind="stable")
    return (rank < want[..., None]) & free


def _keys(seed: int, purpose: str, number: int, draws: int, heads: int) -> UInt64[np.ndarray, "draw head"]:
    return random_words(draws * heads, seed, purpose, number).reshape(draws, heads)
