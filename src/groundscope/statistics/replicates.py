"""Seeds as replicates: words and seeds are resampled together, so that intervals hold for others of both."""

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
        factor (n - 1)/n, which is half for two seeds (Rao and Wu 1988). A single seed stays as it is. What is neither a
        word's nor a seed's doing is counted in both resamplings, so intervals are on the safe side (Owen 2007).
        """
        words = resample_weights(n_words, draws, rng)
        drawn = max(n_seeds - 1, 1)
        seeds = rng.multinomial(drawn, np.full(n_seeds, 1 / n_seeds), size=draws) / drawn
        return cls(words, seeds)

    def replicate(self, per_seed: list[Statistic]) -> Replicates:
        """Average a statistic, one function of word weights per seed, over seeds; in the sample and each resample."""
        sample = equal_weights(self.words.shape[1])
        estimate = np.mean([statistic(sample)[0] for statistic in per_seed], axis=0)
        draws = np.stack([statistic(self.words) for statistic in per_seed], axis=1)
        return Replicates(estimate, np.einsum("ds,ds...->d...", self.seeds, draws))
