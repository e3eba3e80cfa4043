"""A tuned lens in closed form: the affine map of each layer's state that comes nearest to the last state.

Nothing here meets the vocabulary, which is where training spends its time, so a regression on some ten thousand tokens
takes seconds and starts training where thousands of updates from zero would end.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from groundscope.mechanism.lens import TunedLens, predicting
from groundscope.models.base import LanguageModel

RIDGE = 1e-4
"""Of the mean square of a layer's states; only keeps the system solvable where a direction is never used."""


def fit_by_regression(model: LanguageModel, lens: TunedLens, batches: Iterable[Int[Tensor, "chunk time"]]) -> None:
    """Set ``lens`` to the weighted least-squares solution of ``h_last = h + W h + b`` for every layer, in place.

    A token weighs ``1 / mean(h_last^2)``: the final norm divides by that, so that a token with a large state (an
    attention sink) says no more than another. Sums and the solution are in float64; the model must be in `analysing`.
    """
    biased = lens.bias is not None
    gram, moment = None, None
    with torch.no_grad():
        for ids in batches:
            ids = ids.to(model.unembedding.device)
            stream = torch.stack(model.residual_stream(ids))[:, predicting(ids, len(model.unembedding))].float()
            weight = 1 / stream[-1].square().mean(dim=1, keepdim=True).clamp(min=1e-12)
            states, missing = stream[:-1], stream[-1] - stream[:-1]
            if biased:
                states = torch.cat([states, torch.ones_like(states[..., :1])], dim=-1)
            weighted = (states * weight).mT
            products = (weighted @ states).double(), (weighted @ missing).double()
            gram, moment = products if gram is None or moment is None else (gram + products[0], moment + products[1])
        if gram is None or moment is None:
            return
        ridge = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(dim=1)
        gram.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
        solution: Float[Tensor, "layer d_in d_model"] = torch.linalg.solve(gram, moment)
        lens.weight.copy_(solution[:, : lens.d_model].mT)
        if lens.bias is not None:
            lens.bias.copy_(solution[:, -1])
