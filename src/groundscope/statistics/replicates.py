"""Seeds as replicates: words and seeds are both resampled, so that intervals and tests hold for others of both."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm
from scipy.stats import t as student

from groundscope.statistics.crossed import CAUTION
from groundscope.statistics.resampling import Interval, Statistic, equal_weights, percentile_interval, resample_weights


@dataclass(frozen=True, slots=True)
class Replicates:
    """A statistic's value, averaged over seeds, and the same in every resample of words and seeds."""

    estimate: Float[np.ndarray, "*column"]
    draws: Float[np.ndarray, "draw *column"]
    by_seeds: Float[np.ndarray, "draw *column"]
    """The part of ``draws`` that comes of resampled seeds."""
    n_words: int
    n_seeds: int

    def minus(self, other: "Replicates") -> "Replicates":
        """Return the difference of two statistics of the same sample."""
        return replace(
            self,
            estimate=self.estimate - other.estimate,
            draws=self.draws - other.draws,
            by_seeds=self.by_seeds - other.by_seeds,
        )

    def at(self, columns: int | Int[np.ndarray, " some"]) -> "Replicates":
        """Return some of the statistic's columns."""
        return replace(
            self,
            estimate=np.asarray(self.estimate[columns]),
            draws=self.draws[:, columns],
            by_seeds=self.by_seeds[:, columns],
        )

    def as_normal(self) -> Float[np.ndarray, "*column"]:
        """Return the estimate in standard errors, as a normal deviate of the same tail; 0 where nothing varies.

        Of few seeds nobody knows well how far seeds scatter: the ratio follows Student's t with `_degrees`, and larger
        ones are no rarer than that.
        """
        error = np.sqrt(_variance(self.draws))
        ratio = np.divide(self.estimate, error, out=np.zeros_like(error), where=error > 0)
        return norm.isf(student.sf(ratio, self._degrees()))

    def interval(self, level: float = 0.95) -> Interval:
        """Return the percentile interval, wider about the estimate where seeds are few; nan where that is undefined.

        Percentiles take for known how far seeds scatter: with three that scatter widely they hold the truth in 83 % of
        cases. So they are stretched by as much as Student's t with `_degrees` lies farther out than the normal, and
        hold it in 89 % (a simulation of R^2, in tests/statistics/test_calibration.py).
        """
        low, high = percentile_interval(self.draws, level)
        tail = (1 - level) / 2
        wider = student.isf(tail, self._degrees()) / norm.isf(tail)
        undefined = np.isnan(self.estimate)
        low, high = (self.estimate + wider * (bound - self.estimate) for bound in (low, high))
        return Interval(self.estimate, np.where(undefined, np.nan, low), np.where(undefined, np.nan, high))

    def _degrees(self) -> Float[np.ndarray, "*column"]:
        """Satterthwaite's degrees of freedom of the variance, made of that over words and that over seeds."""
        whole, seeds = _variance(self.draws), _variance(self.by_seeds)
        words = np.maximum(whole - seeds, 0)
        shares = words**2 / max(self.n_words - 1, 1) + (CAUTION * seeds) ** 2 / max(self.n_seeds - 1, 1)
        return np.divide((words + CAUTION * seeds) ** 2, shares, out=np.ones_like(whole), where=shares > 0)


@dataclass(frozen=True, slots=True)
class TwoWayWeights:
    """Weights of words and of seeds in each resample, and those of the sample itself."""

    words: Float[np.ndarray, "draw word"]
    seeds: Float[np.ndarray, "draw seed"]

    @classmethod
    def draw(cls, n_words: int, n_seeds: int, draws: int, rng: np.random.Generator) -> "TwoWayWeights":
        """Resample words, and independently seeds: the same words are measured with every seed.

        Of n seeds only n - 1 are drawn, with replacement: drawing n would make the spread over seeds too small by the
        factor (n - 1)/n, which is half for two seeds (Rao and Wu 1988). A single seed stays as it is.
        """
        words = resample_weights(n_words, draws, rng)
        drawn = max(n_seeds - 1, 1)
        seeds = rng.multinomial(drawn, np.full(n_seeds, 1 / n_seeds), size=draws) / drawn
        return cls(words, seeds)

    def replicate(self, per_seed: list[Statistic]) -> Replicates:
        """Average a statistic, one function of word weights per seed, over seeds; in the sample and each resample.

        A resample is the average over seeds in a resample of words, plus how far a resample of seeds lies from all of
        them. Seeds also differ because each adds its own noise to the words, and resamples of words show that noise
        already; counted twice it would make tests far too timid. So the deviations of seeds are shrunk to what is left
        of their variance without it (the variance component of seeds, never below zero).
        """
        sample = np.stack([statistic(equal_weights(self.words.shape[1]))[0] for statistic in per_seed])
        resampled = np.stack([statistic(self.words) for statistic in per_seed], axis=1)
        estimate, draws = sample.mean(axis=0), resampled.mean(axis=1)
        n_seeds = len(per_seed)
        if n_seeds > 1:
            noise = _variance(resampled - draws[:, None]).sum(axis=0) / (n_seeds - 1)
            spread = sample.var(axis=0, ddof=1)
            own = np.divide(spread - noise, spread, out=np.zeros_like(spread), where=spread > noise)
            by_seeds = np.sqrt(own) * np.einsum("ds,s...->d...", self.seeds, sample - estimate)
        else:
            by_seeds = np.zeros_like(draws)
        return Replicates(estimate, draws + by_seeds, by_seeds, self.words.shape[1], n_seeds)


def _variance(values: Float[np.ndarray, "draw *column"]) -> Float[np.ndarray, "*column"]:
    """Variance over the draws in which a statistic is defined; nan where it never is."""
    known = np.sum(~np.isnan(values), axis=0)
    mean = np.divide(np.nansum(values, axis=0), known, out=np.full(values.shape[1:], np.nan), where=known > 0)
    squares = np.nansum((values - mean) ** 2, axis=0)
    return np.divide(squares, known, out=np.full(values.shape[1:], np.nan), where=known > 0)
