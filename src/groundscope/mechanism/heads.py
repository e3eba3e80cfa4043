"""All heads of a model on one axis, and gates from sets of heads.

Layers may differ in their number of heads (hybrids), so heads are counted through the model: head 5 of the axis is
``index.layers[5], index.heads[5]``. A set of heads is a Bool tensor over that axis, one row per prompt.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from groundscope.errors import AnalysisError
from groundscope.models.base import LanguageModel
from groundscope.models.gate import Gate, gated

Outputs = dict[int, Float[Tensor, "_run _head _time _d_head"]]
"""Layer -> its heads' outputs; one run or one position stands for all where the size is 1."""


@dataclass(frozen=True, eq=False)
class HeadIndex:
    """The heads of some layers of a model, in order; layers and heads count from 0."""

    layers: Int[np.ndarray, " head"]
    heads: Int[np.ndarray, " head"]

    @classmethod
    def of(cls, model: LanguageModel, layers: Sequence[int] | None = None) -> "HeadIndex":
        """Enumerate the heads of ``layers`` (None: all). Empty for a model without mixing matrices.

        Raises AnalysisError for layers that do not exist.
        """
        depth = len(model.mixers)
        chosen = range(depth) if layers is None else sorted(set(layers))
        for layer in chosen:
            if not 0 <= layer < depth:
                raise AnalysisError(
                    f"There is no layer {layer} with heads: the model has layers 0 to {depth - 1} "
                    "(code counts from 0, the paper's figures from 1)."
                    if depth
                    else f"There is no layer {layer} with heads: a {type(model).__name__} has no mixing matrices."
                )
        pairs = [(layer, head) for layer in chosen for head in range(model.heads(layer))]
        flat = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return cls(flat[:, 0], flat[:, 1])

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, which: Int[np.ndarray, " some"]) -> "HeadIndex":
        """Some of the heads, in any order and number."""
        return HeadIndex(self.layers[which], self.heads[which])

    @property
    def names(self) -> list[str]:
        """``["L0H0", "L0H1", ...]``."""
        return [head_name(*pair) for pair in zip(self.layers.tolist(), self.heads.tolist(), strict=True)]

    @property
    def chosen_layers(self) -> list[int]:
        """The layers that have heads on this axis, in order."""
        return np.unique(self.layers).tolist()

    def of_layer(self, layer: int) -> slice:
        """Where a layer's heads stand on the axis."""
        start, stop = np.searchsorted(self.layers, [layer, layer + 1])
        return slice(int(start), int(stop))

    def position(self, layer: int, head: int) -> int:
        """Where one head stands on the axis; raises AnalysisError when it is not there."""
        found = np.flatnonzero((self.layers == layer) & (self.heads == head))
        if not len(found):
            raise AnalysisError(f"There is no head {head_name(layer, head)} among {len(self)} heads.")
        return int(found[0])

    def gates(self, removed: Bool[Tensor, "run head"], replacement: Outputs | None = None) -> dict[int, Gate]:
        """Return the gates that take each run's heads out, at all positions.

        A removed head's output is zero, or what ``replacement`` (layer -> heads' outputs) holds for it. Layers of
        which no run loses a head get no gate, and so keep their fused path.
        """
        gates = {}
        for layer in self.chosen_layers:
            out = removed[:, self.of_layer(layer)]
            if bool(out.any()):
                gates[layer] = removing(out, None if replacement is None else replacement[layer])
        return gates


def removing(
    removed: Bool[Tensor, "run head"],
    replacement: Float[Tensor, "#run head #time d_head"] | None = None,
    example: Int[Tensor, " run"] | None = None,
) -> Gate:
    """Return one layer's gate that takes each run's heads out and puts ``replacement`` (None: zero) in their place.

    ``example`` says which example of the batch each run is of, where several are of one.
    """
    out = removed[:, :, None, None]
    return Gate(values=(~out).float(), offset=None if replacement is None else replacement * out, example=example)


def head_name(layer: int, head: int) -> str:
    """Return the field's name for a head: ``L7H3``, both counted from 0."""
    return f"L{layer}H{head}"


def under(model: LanguageModel, gates: dict[int, Gate]) -> AbstractContextManager[None]:
    """`gated`, and nothing at all where there are no gates: a model without heads runs as well."""
    return gated(model, gates) if gates else nullcontext()


@contextmanager
def analysing(model: LanguageModel) -> Iterator[None]:
    """Eval mode and parameters without gradients; both are put back as they were, also on error.

    Gradients flow to gates alone, so nothing is kept for the layers below the first gate and no weight gradient is
    ever computed.
    """
    training = [module for module in model.modules() if module.training]
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for module in training:
        module.training = False  # not .eval(): a model may hold parts that were in eval mode already
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in wanted:
            parameter.requires_grad_(True)
