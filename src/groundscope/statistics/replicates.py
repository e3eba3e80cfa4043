"""Seeds as replicates: words and seeds are both resampled, so that intervals and tests hold for others of both."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from groundscope.statistics.resampling import Interval, Statistic, equal_weights, percentile_interval, resample_weights


@dataclass(frozen=True, slots=True)
class Replicates:
    """A statistic's value, averaged over seeds, and the same in every resample of words and seeds."""

    estimate: Float[np.ndarray, "*column"]
    draws: Float[np.ndarray, "draw *column"]

    def interval(self, level: float = 0.95) -> Interval:
        """Return the percentile interval; nan where the estimate is undefined."""
        low, high = percentile_interval(self.draws, level)
        undefined = np.isnan(self.estimate)
        return Interval(self.estimate, np.where(undefined, np.nan, low), np.where(undefined, np.nan, high))


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
            draws = draws + np.sqrt(own) * np.einsum("ds,s...->d...", self.seeds, sample - estimate)
        return Replicates(estimate, draws)


def _variance(values: Float[np.ndarray, "draw *column"]) -> Float[np.ndarray, "*column"]:
    """Variance over the draws in which a statistic is defined; nan where it never is."""
    known = np.sum(~np.isnan(values), axis=0)
    mean = np.divide(np.nansum(values, axis=0), known, out=np.full(values.shape[1:], np.nan), where=known > 0)
    squares = np.nansum((values - mean) ** 2, axis=0)
    return np.divide(squares, known, out=np.full(values.shape[1:], np.nan), where=known > 0)
