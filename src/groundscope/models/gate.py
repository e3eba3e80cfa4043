"""The one gate on every mixer: its gradient is the saliency, zero in it is the ablation.

Every mixer computes ``y = (M * gate) v + offset`` per head, with its own mixing matrix ``M`` [query, key] and
values ``v``. At a gate of ones, ``dL/dgate = M * dL/dM``: exactly the saliency of the paper (section 5). Nobody pays
for a gate that is not there: without one the mixer's fused path runs and ``M`` never exists.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from groundscope.errors import ModelError


@dataclass(frozen=True)
class Gate:
    """What one layer's mixing matrix is multiplied by, and who looks at it.

    ``watch`` and ``watch_output`` are given tensors of the running graph, not copies: take what you need from them
    (a reduction, ``.detach()``, a gradient) and let them go.
    """

    values: Float[Tensor, "#batch #head #row #key"]  # multiplies the mixing matrix M at `rows`
    rows: Int[Tensor, " row"] | None = None  # query positions it applies to; None: all. Other rows keep gate 1
    offset: Float[Tensor, "#batch #head #row d_head"] | None = None  # added to the heads' outputs at `rows`
    watch: Callable[[Tensor], None] | None = None  # sees M at `rows` [batch, head, row, key] before the gate
    watch_output: Callable[[Tensor], None] | None = None  # sees M v at `rows` [batch, head, row, d_head]
    example: Int[Tensor, " run"] | None = None  # where a GroundedLM's mixer is run by itself: several runs may share an
    # example's M; the batch axis of the gate and of what the mixer returns is then runs, and run i is of example[i]

    @property
    def commutes(self) -> bool:
        """Whether it is constant over keys and nobody watches M: then scaling the outputs is the same as gating M."""
        return self.values.shape[-1] == 1 and self.watch is None

    @property
    def is_removal(self) -> bool:
        """Whether it does nothing but put something else in the place of whole heads' outputs, at all positions."""
        return self.commutes and self.values.shape[-2] == 1 and self.rows is None and self.watch_output is None

    @property
    def at_the_end(self) -> "Gate":
        """A removal's gate for outputs at the last position alone."""
        return self if self.offset is None else replace(self, offset=self.offset[:, :, -1:])


class Mixer(nn.Module):
    """A layer that mixes positions; ``gate`` is None except inside `gated`."""

    gate: Gate | None = None
    n_heads: int

    def at_the_end(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "run d_model"]:
        """Return ``self(x)[:, -1]``; a mixer may compute less for it."""
        return self(x)[:, -1]


@runtime_checkable
class HasGate(Protocol):
    """Whatever obeys the gate it is given."""

    gate: Gate | None


@runtime_checkable
class HasMixers(Protocol):
    """A model whose layers can be gated."""

    training: bool

    @property
    def mixers(self) -> Sequence[HasGate]:
        """One mixer per layer, in order; empty for a model without mixing matrices."""
        ...


@contextmanager
def gated(model: HasMixers, gates: Mapping[int, Gate]) -> Iterator[None]:
    """Put ``gates`` (layer -> gate) on a model's mixers, and take them off again, also on error.

    Raises ModelError for a model without mixers, in training mode (its dropout would enter every score) or already
    gated, for layers that do not exist and for rows that are negative or given twice.
    """
    mixers = model.mixers
    if not mixers:
        raise ModelError(f"A {type(model).__name__} has no mixing matrices, so it has no heads to gate.")
    if model.training:
        raise ModelError("Gates are for analysis: call model.eval() first, dropout would enter every score.")
    if any(mixer.gate is not None for mixer in mixers):
        raise ModelError("This model is already gated: put all layers' gates into one call of gated().")
    for layer, gate in gates.items():
        if not 0 <= layer < len(mixers):
            raise ModelError(
                f"There is no layer {layer} to gate: the model has layers 0 to {len(mixers) - 1} "
                "(code counts from 0, the paper's figures from 1)."
            )
        _check_rows(layer, gate)
    try:
        for layer, gate in gates.items():
            mixers[layer].gate = gate
        yield
    finally:
        for layer in gates:
            mixers[layer].gate = None


def mix(
    gate: Gate | None,
    *,
    fused: Callable[[], Tensor],
    matrix: Callable[[Tensor | None], Tensor],
    values: Float[Tensor, "batch head time d_head"],
) -> Float[Tensor, "run head row d_head"]:
    """Mix ``values`` under a gate: the one meaning of a gate, shared by all mixers.

    ``fused()`` returns ``M v`` [batch, head, row, d_head] without building M, at all positions unless the mixer was
    asked for fewer; ``matrix(rows)`` returns M [batch, head, row, key] at those query rows (None: all), zero above
    the diagonal. Raises ModelError when the gate's shape does not fit.
    """
    if gate is None:
        return fused()
    if gate.example is not None:
        run, once = gate.example, replace(gate, example=None)
        return mix(once, fused=lambda: fused()[run], matrix=lambda rows: matrix(rows)[run], values=values[run])
    _check_shapes(gate, values)
    if gate.rows is None:
        return _mix_rows(gate, fused, matrix, values)
    rows, everywhere = gate.rows, fused()
    at_rows = _mix_rows(gate, lambda: everywhere.index_select(2, rows), matrix, values)
    return everywhere.index_copy(2, rows, at_rows.to(everywhere.dtype))


def _mix_rows(
    gate: Gate, fused: Callable[[], Tensor], matrix: Callable[[Tensor | None], Tensor], values: Tensor
) -> Tensor:
    """Return the gated outputs at the gate's rows; ``fused()`` gives the ungated ones there."""
    if gate.commutes:
        ungated = fused()
        outputs = ungated * gate.values.to(ungated.dtype)
        if gate.watch_output is not None:
            gate.watch_output(ungated)
    else:
        at_rows = matrix(gate.rows)
        if gate.watch is not None:
            gate.watch(at_rows)
        if gate.watch_output is not None:
            gate.watch_output(at_rows.to(values.dtype) @ values)
        outputs = (at_rows * gate.values).to(values.dtype) @ values
    return outputs if gate.offset is None else outputs + gate.offset.to(outputs.dtype)


def _check_rows(layer: int, gate: Gate) -> None:
    if gate.rows is None:
        return
    rows = gate.rows.tolist()
    if any(row < 0 for row in rows) or len(set(rows)) < len(rows):
        raise ModelError(f"The gate of layer {layer} wants rows {rows}: each must be given once and be 0 or more.")


def _check_shapes(gate: Gate, values: Tensor) -> None:
    batch, head, time, d_head = values.shape
    row = time if gate.rows is None else len(gate.rows)
    if gate.rows is not None and row and int(gate.rows.max()) >= time:
        raise ModelError(f"A gate wants row {int(gate.rows.max())}, but the input has rows 0 to {time - 1}.")
    _fits("values", gate.values, (batch, head, row, time))
    if gate.offset is not None:
        _fits("offset", gate.offset, (batch, head, row, d_head))


def _fits(what: str, tensor: Tensor, want: tuple[int, ...]) -> None:
    try:
        fits = torch.broadcast_shapes(tensor.shape, want) == want
    except RuntimeError:
        fits = False
    if not fits:
        raise ModelError(
            f"A gate's {what} must have shape {want} (or 1 where it is constant), got {tuple(tensor.shape)}."
        )
