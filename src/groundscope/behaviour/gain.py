"""The grounding information gain: how much the matching scene lowers the word's surprisal."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Conditions(NamedTuple):
    """Surprisal in nats of each target in each context, with the matching scene and averaged over mismatched ones."""

    match: Float[Tensor, "context target"]
    mismatch: Float[Tensor, "context target"]
    p: Float[Tensor, " target"]
    """Share of a target's scenes, its own included, under which it is at least as expected as under its own: the exact
    permutation p of G(v) <= 0 for one word, by exchanging scenes."""

    @property
    def gain(self) -> Float[Tensor, " target"]:
        """G(v) in nats, the mean over contexts of mismatch minus match (Wu et al. 2025, grounding information gain)."""
        return (self.mismatch - self.match).mean(dim=0)


def conditions(
    cube: Float[Tensor, "context scene target"],
    own: Int[Tensor, " target"],
    mismatches: Bool[Tensor, "target scene"],
) -> Conditions:
    """Reduce surprisals to the two conditions.

        G(v) = 1/N sum_n 1/M sum_{u in mismatches of v} [ s(v | c_n(u)) - s(v | c_n(v)) ]

    ``own`` is the scene of each target that matches it; ``mismatches`` marks its M mismatched scenes. A target without
    any has nan as its mismatch and a p of 1. Sums run in fp64.
    """
    exact = cube.double()
    match = exact.gather(1, own.expand(len(cube), 1, -1))[:, 0]
    marked = mismatches.T.double()
    mismatch = (exact * marked).sum(dim=1) / marked.sum(dim=0)
    over_contexts, of_match = exact.mean(dim=0), match.mean(dim=0)
    as_expected = (mismatches.T & (over_contexts <= of_match)).sum(dim=0)
    p = (1 + as_expected) / (1 + marked.sum(dim=0))
    return Conditions(match, mismatch, p)
