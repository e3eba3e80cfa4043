"""Does a curve rise and then fall while another grows? One statement about whole curves, with one p value.

The largest of many noisy values lies too high, so looking for the peak and then comparing it with the end finds falls
that are not there. The test below pays for the search: it asks for one checkpoint s at which three differences are all
above zero, and compares each with the largest such difference that chance produces at *any* checkpoint.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from groundscope.statistics.replicates import Replicates
from groundscope.statistics.resampling import Interval


@dataclass(frozen=True, slots=True)
class RiseAndFall:
    """The checkpoint that speaks most for rise and fall, the three differences there, and the p value.

    ``rise``, ``fall`` and ``growth`` are intervals at ``peak``, a checkpoint chosen for being extreme: they describe,
    and ``p`` alone decides. A statement that cannot be tested (fewer than three checkpoints) has p = nan.
    """

    peak: int
    rise: Interval
    fall: Interval
    growth: Interval
    p: float


def rise_then_fall(curve: Replicates, growing: Replicates, level: float = 0.95) -> RiseAndFall:
    """Test "``curve`` rises to some checkpoint and falls after it, while ``growing`` still grows".

    With first and last checkpoint 0 and T, at every checkpoint s between them:

        rise(s) = curve(s) - curve(0);  fall(s) = curve(s) - curve(T);  growth(s) = growing(T) - growing(s)

    Each is divided by its bootstrap standard error, and what few seeds leave uncertain about that is paid for
    (`Replicates.as_normal`). Its p value is the share of resamples in which the largest centred value over all s
    reaches it (single-step max-T, Westfall and Young 1993). A checkpoint supports the statement as much as its weakest
    difference does (intersection-union, Berger 1982), and the p value of the statement is that of the best checkpoint.
    Checkpoints at which ``curve`` is undefined (no counts yet) are left out.
    """
    known = np.flatnonzero(~np.isnan(curve.estimate))
    nowhere = Interval(*(np.array(np.nan) for _ in range(3)))
    if len(known) < 3:
        return RiseAndFall(-1, nowhere, nowhere, nowhere, float("nan"))
    first, between, last = known[:1], known[1:-1], known[-1:]
    rise, fall = curve.at(between).minus(curve.at(first)), curve.at(between).minus(curve.at(last))
    differences = rise, fall, growing.at(last).minus(growing.at(between))
    deviates = [difference.as_normal() for difference in differences]
    p = np.max([_max_t(*one) for one in zip(differences, deviates, strict=True)], axis=0)
    weakest = np.min(deviates, axis=0)
    best = int(np.lexsort((-weakest, p))[0])
    rise, fall, growth = (difference.at(best).interval(level) for difference in differences)
    return RiseAndFall(int(between[best]), rise, fall, growth, float(p[best]))


def _max_t(difference: Replicates, deviates: Float[np.ndarray, " between"]) -> Float[np.ndarray, " between"]:
    """P value of every checkpoint's difference, one-sided, corrected for the search over checkpoints."""
    error = np.nanstd(difference.draws, axis=0)
    centred = difference.draws - np.nanmean(difference.draws, axis=0)
    null = np.divide(centred, error, out=np.zeros_like(centred), where=error > 0)
    largest = np.nanmax(null, axis=1)
    reached = (largest[:, None] >= deviates).sum(axis=0)
    return (1 + reached) / (1 + len(largest))
