"""Which scenes count as a mismatch for a word: the M of the grounding gain, by choice."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Int

from groundscope.behaviour.words import Word
from groundscope.statistics.resampling import generator


class Mismatch(StrEnum):
    """A rule that says which other words stand in a mismatched scene."""

    ALL = "all"
    """All other words."""
    SAMPLE = "sample"
    """A seeded sample of the other words."""
    SAME_CATEGORY = "same_category"
    """Other words of the same category: another animal for an animal."""
    OTHER_CATEGORY = "other_category"
    """Words of other categories only."""
    FREQUENCY = "frequency"
    """The words nearest in frequency as scene words, so that a rare scene is never compared with a common one."""


def mismatching(
    words: Sequence[Word],
    rule: Mismatch,
    *,
    size: int,
    counts: Int[np.ndarray, " word"],
    seed: int,
) -> Bool[np.ndarray, "target scene"]:
    """Say for every target word (row) which scene words (columns) mismatch; never the word itself.

    ``size`` is the number per word for the rules that choose (sample, frequency); ``counts`` are the words' counts in
    the scene. A row without any partner (the only word of its category) is left empty: its gain is undefined.
    """
    n = len(words)
    others = ~np.eye(n, dtype=bool)
    category = np.array([word.category for word in words])
    match rule:
        case Mismatch.ALL:
            return others
        case Mismatch.SAME_CATEGORY:
            return others & (category[:, None] == category)
        case Mismatch.OTHER_CATEGORY:
            return others & (category[:, None] != category)
        case Mismatch.SAMPLE:
            rank = generator(seed, "mismatch sample").random((n, n))
        case Mismatch.FREQUENCY:
            rank = np.abs(np.log1p(counts)[:, None] - np.log1p(counts))
    return _smallest(np.where(others, rank, np.inf), min(size, n - 1))


def _smallest(rank: np.ndarray, size: int) -> Bool[np.ndarray, "target scene"]:
    """Mark the ``size`` smallest of each row; ties go to the earlier word."""
    chosen = np.argsort(rank, axis=1, kind="stable")[:, :size]
    marked = np.zeros(rank.shape, dtype=bool)
    np.put_along_axis(marked, chosen, True, axis=1)
    return marked
