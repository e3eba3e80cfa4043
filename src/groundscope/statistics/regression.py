"""Least squares over words, as functions of weights: one matrix product for all resamples and checkpoints."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from groundscope.statistics.resampling import Statistic


@dataclass(frozen=True, slots=True)
class Moments:
    """Weighted second moments of two variables; every array is [draw, *column]."""

    xx: Float[np.ndarray, "draw *column"]
    yy: Float[np.ndarray, "draw *column"]
    xy: Float[np.ndarray, "draw *column"]

    @classmethod
    def of(
        cls,
        x: Float[np.ndarray, "n *column"],
        y: Float[np.ndarray, "n *column"],
        weights: Float[np.ndarray, "draw n"],
    ) -> "Moments":
        """Weighted covariances. Both variables are centred first, which keeps the subtraction below harmless."""
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        mean_x, mean_y = _average(weights, x), _average(weights, y)
        return cls(
            _average(weights, x * x) - mean_x**2,
            _average(weights, y * y) - mean_y**2,
            _average(weights, x * y) - mean_x * mean_y,
        )

    @property
    def correlation(self) -> Float[np.ndarray, "draw *column"]:
        """Pearson's r; nan where one of the variables does not vary."""
        scale = np.sqrt(np.maximum(self.xx, 0) * np.maximum(self.yy, 0))
        r = np.divide(self.xy, scale, out=np.full_like(scale, np.nan), where=scale > 1e-12)
        return np.clip(r, -1, 1)

    @property
    def slope(self) -> Float[np.ndarray, "draw *column"]:
        """Least-squares slope of y on x; nan where x does not vary."""
        return np.divide(self.xy, self.xx, out=np.full_like(self.xx, np.nan), where=self.xx > 1e-12)


def r_squared(x: Float[np.ndarray, "n *column"], y: Float[np.ndarray, "n *column"]) -> Statistic:
    """R^2 of the simple linear regression of y on x, as a statistic of weights."""
    return lambda weights: Moments.of(x, y, weights).correlation ** 2


def adjusted_r_squared(x: Float[np.ndarray, "n *column"], y: Float[np.ndarray, "n *column"]) -> Statistic:
    """R^2 less what chance alone explains, 1 - (1 - R^2)(n - 1)/(n - 2): zero on average without any relation."""
    n = len(x)
    return lambda weights: 1 - (1 - Moments.of(x, y, weights).correlation ** 2) * (n - 1) / (n - 2)


def correlation(x: Float[np.ndarray, "n *column"], y: Float[np.ndarray, "n *column"]) -> Statistic:
    """Pearson's r, as a statistic of weights; of ranks it is Spearman's."""
    return lambda weights: Moments.of(x, y, weights).correlation


def slope(x: Float[np.ndarray, "n *column"], y: Float[np.ndarray, "n *column"]) -> Statistic:
    """Slope of the simple linear regression of y on x, as a statistic of weights."""
    return lambda weights: Moments.of(x, y, weights).slope


def partial_correlation(
    x: Float[np.ndarray, "n *column"],
    y: Float[np.ndarray, "n *column"],
    covariate: Float[np.ndarray, "n *column"],
) -> Statistic:
    """Correlation of what a covariate z leaves of x and y, as a statistic of weights.

        (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2))

    nan where a variable does not vary or the covariate determines one of the others.
    """

    def statistic(weights: Float[np.ndarray, "draw n"]) -> Float[np.ndarray, "draw *column"]:
        r_xy = Moments.of(x, y, weights).correlation
        r_xz = Moments.of(x, covariate, weights).correlation
        r_yz = Moments.of(y, covariate, weights).correlation
        left = np.sqrt((1 - r_xz**2) * (1 - r_yz**2))
        return np.divide(r_xy - r_xz * r_yz, left, out=np.full_like(left, np.nan), where=left > 1e-9)

    return statistic


def partial_r_squared(
    x: Float[np.ndarray, "n *column"],
    y: Float[np.ndarray, "n *column"],
    covariate: Float[np.ndarray, "n *column"],
) -> Statistic:
    """Share of what the covariate leaves unexplained in y that x explains, as a statistic of weights."""
    partial = partial_correlation(x, y, covariate)
    return lambda weights: partial(weights) ** 2


def mean(y: Float[np.ndarray, "n *column"]) -> Statistic:
    """Mean over words, as a statistic of weights."""
    return lambda weights: _average(weights, y)


def _average(
    weights: Float[np.ndarray, "draw n"], values: Float[np.ndarray, "n *column"]
) -> Float[np.ndarray, "draw *column"]:
    return np.tensordot(weights, values, axes=1)
