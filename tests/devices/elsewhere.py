"""A second device for machines that have none: each tensor on it is a CPU tensor which says that it is elsewhere.

What fails on a GPU for being in two places fails here: a product with a tensor that was left on the CPU, ``.numpy()``
without ``.cpu()``. Numbers are the CPU's. It is torch's own way to write a backend in Python, and cannot be taken
back, so that it needs a process of its own.

Nothing is said of speed, of a GPU's kernels and rounding, or of what waits for what.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten


class Backend:
    """What torch asks of a kind of device."""

    is_initialized = is_available = lambda self: True
    current_device = lambda self: 0  # noqa: E731
    device_count = lambda self: 1  # noqa: E731
    _is_in_bad_fork = lambda self: False  # noqa: E731
    manual_seed_all = lambda self, seed: None  # noqa: E731
    get_amp_supported_dtype = lambda self: [torch.bfloat16]  # noqa: E731


_setup_privateuseone_for_python_backend("elsewhere", backend_module=Backend())
DEVICE = torch.device("elsewhere:0")

CROSSING = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""What takes tensors of both devices: a GPU's tensors may be indexed by the CPU's, but the CPU's not by a GPU's."""


class Elsewhere(Tensor):
    """A tensor on `DEVICE`."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor):
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            dtype=inner.dtype,
            device=DEVICE,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
        )

    def __init__(self, inner: Tensor):
        self.inner = inner

    def __repr__(self, *, tensor_contents=None):
        return f"Elsewhere({self.inner})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec)

    def tolist(self):
        return self.inner.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        left = [tuple(tensor.shape) for tensor in given if not isinstance(tensor, Elsewhere) and tensor.dim()]
        if left and func not in CROSSING and not (func in INDEXING and isinstance(args[0], Elsewhere)):
            raise RuntimeError(f"{func}: tensors {left} on the CPU meet those on {DEVICE}")
        ends_here = func is aten._local_scalar_dense.default or torch.device(kwargs.get("device") or DEVICE) != DEVICE
        inner_args, inner_kwargs = tree_map_only(Elsewhere, lambda tensor: tensor.inner, (args, kwargs))
        if "device" in inner_kwargs:
            inner_kwargs["device"] = torch.device("cpu")
        out = NOT_ON_A_CPU.get(func, func)(*inner_args, **inner_kwargs)
        if func is aten.copy_.default:
            return args[0]
        if ends_here:
            return out
        return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, Elsewhere, out))


def _lstm_cell(from_input, from_state, cell, input_bias=None, state_bias=None):
    gates = sum((bias for bias in (input_bias, state_bias) if bias is not None), from_input + from_state)
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new = f * cell + i * g
    return o * new.tanh(), new, torch.cat([i, f, g, o], 1)


def _lstm_cell_backward(d_state, d_new, cell, new, gates, has_bias):
    i, f, g, o = gates.chunk(4, 1)
    d_state, d_new = (torch.zeros_like(cell) if grad is None else grad for grad in (d_state, d_new))
    d_cell = d_new + d_state * o * (1 - new.tanh() ** 2)
    by_gate = (d_cell * g * i * (1 - i), d_cell * cell * f * (1 - f), d_cell * i * (1 - g**2))
    d_gates = torch.cat([*by_gate, d_state * new.tanh() * o * (1 - o)], 1)
    return d_gates, d_cell * f, d_gates.sum(0) if has_bias else None


NOT_ON_A_CPU: dict[Any, Callable[..., Any]] = {
    aten._thnn_fused_lstm_cell.default: _lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: _lstm_cell_backward,
}


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return Elsewhere(torch.empty(size, dtype=dtype))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    source, into = (tensor.inner if isinstance(tensor, Elsewhere) else tensor for tensor in (source, target))
    into.copy_(source)
    return target


_made = torch.library.Library("aten", "IMPL", "PrivateUse1")
_made.impl("empty.memory_format", _empty)
_made.impl("empty_strided", _empty_strided)
_made.impl("_copy_from", _copy_from)


def _lowered(op: Any) -> Callable[..., Any]:
    """``op`` as autocast runs it."""

    def lower(tensor: Tensor) -> Tensor:
        return tensor.to(torch.get_autocast_dtype("elsewhere")) if tensor.dtype == torch.float32 else tensor

    def run(*args):
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):  # type: ignore[attr-defined]
            return op(*tree_map_only(Tensor, lower, args))

    return run


_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)  # type: ignore[attr-defined]
_others = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_others.fallback(torch.library.fallthrough_kernel)
_products = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
for _name in ("mm", "bmm", "matmul", "linear", "addmm", "baddbmm"):
    _products.impl(_name, _lowered(getattr(aten, _name).default))
