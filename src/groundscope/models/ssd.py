"""State-space duality: Mamba-2's mixing matrix, and mixing by it in time linear in the length.

``M[i, j] = (C_i . B_j) * exp(sum_{j < k <= i} dt_k a) * dt_j`` for ``j <= i`` (Dao & Gu 2024, arXiv 2405.21060,
sections 5 and 6). `ssd_matrix` writes M out; `ssd` multiplies by it in chunks: inside a chunk as a matrix, between
chunks through a state [state, d_head] per head.
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def ssd_matrix(
    dt: Float[Tensor, "batch time head"],
    a: Float[Tensor, " head"],
    b: Float[Tensor, "batch time group state"],
    c: Float[Tensor, "batch time group state"],
    rows: Tensor | None = None,
) -> Float[Tensor, "batch head row time"]:
    """Return M at the query positions ``rows`` (None: all), zero where the key is later; ``a`` is negative."""
    positions = torch.arange(dt.shape[1], device=dt.device)
    rows = positions if rows is None else rows
    similarity = torch.einsum("brgn,bkgn->bgrk", c.index_select(1, rows), b)
    similarity = similarity.repeat_interleave(len(a) // b.shape[2], dim=1)
    sums = _sums(dt, a, 1).transpose(1, 2)
    decay = _between(sums[..., rows], sums, dt.dtype).masked_fill(positions > rows[:, None], -torch.inf).exp()
    return similarity * decay * dt.transpose(1, 2)[:, :, None]


def ssd(
    x: Float[Tensor, "batch time head d_head"],
    dt: Float[Tensor, "batch time head"],
    a: Float[Tensor, " head"],
    b: Float[Tensor, "batch time group state"],
    c: Float[Tensor, "batch time group state"],
    chunk: int,
) -> Float[Tensor, "batch time head d_head"]:
    """Return ``M x``. Products run in x's dtype, decays and states in dt's; ``chunk`` changes speed, not results.

    On CUDA mamba_ssm's kernel is used where it is installed, for x in half precision: of fp32 its products would keep
    TF32's ten bits, and the matrix that analysis reads would be another function.
    """
    kernel = _cuda_kernel() if x.is_cuda and x.dtype in (torch.bfloat16, torch.float16) else None
    if kernel is not None:
        return kernel(x, dt, a, b, c, chunk)
    time = x.shape[1]
    chunk = min(chunk, time)
    missing = -time % chunk
    if missing:  # a padded position has dt = 0: it neither writes to the state nor lets it decay
        x, b, c = (functional.pad(part, (0, 0, 0, 0, 0, missing)) for part in (x, b, c))
        dt = functional.pad(dt, (0, 0, 0, missing))
    return _ChunkedSSD.apply(x, dt, a, b, c, chunk)[:, :time]  # type: ignore[index]


class _ChunkedSSD(torch.autograd.Function):
    """Layouts: token-major [batch, chunk, position, head, d_head] and head-major (position and head swapped).

    With M = similarity * decay * dt, all gradients of decays are gathered in ``d_sums``, the gradient of the sums
    ``sum_{k <= i} dt_k a`` inside a chunk, of which each decay is the exponential of a difference.
    """

    @staticmethod
    def forward(ctx: Any, x, dt, a, b, c, chunk) -> Tensor:
        shape = x.shape
        x, dt, b, c = (part.unflatten(1, (-1, chunk)) for part in (x, dt, b, c))
        b, c = b.transpose(2, 3), c.transpose(2, 3)  # [batch, chunk, group, position, state]
        sums = _sums(dt, a, 2)
        heads = sums.transpose(2, 3).contiguous()
        decay = _between(heads, heads, dt.dtype).exp_().tril_().to(x.dtype)
        matrix = _by_group(c @ b.transpose(-1, -2), decay)
        weighted = _head_major(x, dt)
        y = matrix @ weighted

        since_start, to_end = (part.to(dt.dtype).exp() for part in (sums, sums[:, :, -1:] - sums))
        ending = _scaled(x, dt * to_end)
        written = b.transpose(-1, -2) @ _merge(ending, b.shape[2])
        states = _carry(written, since_start[:, :, -1], x.shape[-1])
        carried = _split(c @ states, x.shape)
        y = torch.addcmul(y.transpose(2, 3), carried, since_start[..., None].to(x.dtype))
        ctx.save_for_backward(x, dt, a, b, c, since_start, to_end, decay, matrix, weighted, ending, states, carried)
        return y.reshape(shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor):  # type: ignore[override]
        x, dt, a, b, c, since_start, to_end, decay, matrix, weighted, ending, states, carried = ctx.saved_tensors
        groups = b.shape[2]
        dy = gradients[0].to(x.dtype).reshape(x.shape)
        dy_heads = _head_major(dy, None)

        # inside the chunks
        d_matrix = dy_heads @ weighted.transpose(-1, -2)
        d_weighted = (matrix.transpose(-1, -2) @ dy_heads).transpose(2, 3)
        d_similarity = (d_matrix * decay).unflatten(2, (groups, -1)).sum(3)
        exponent = d_matrix.mul_(matrix)
        d_sums = (exponent.sum(-1, dtype=_finest(dt)) - exponent.sum(-2, dtype=_finest(dt))).transpose(2, 3)

        # out of the states
        dy_scaled = _scaled(dy, since_start)
        d_sums += (dy_scaled * carried).sum(-1, dtype=dt.dtype)
        dy_merged = _merge(dy_scaled, groups)
        d_c = dy_merged @ states.transpose(-1, -2) + d_similarity @ b
        through = since_start[:, :, -1]
        d_written, d_through = _carry_back(c.transpose(-1, -2) @ dy_merged, states, through, x.shape[-1])

        # into the states
        d_b = _merge(ending, groups) @ d_written.transpose(-1, -2) + d_similarity.transpose(-1, -2) @ c
        d_ending = _split(b @ d_written, x.shape)
        left = (d_ending * ending).sum(-1, dtype=dt.dtype)
        d_sums -= left
        d_sums[:, :, -1] += left.sum(2) + d_through * through

        d_x = torch.addcmul(_scaled(d_weighted, dt), d_ending, (dt * to_end)[..., None].to(x.dtype))
        d_dt = (x * torch.addcmul(d_weighted, d_ending, to_end[..., None].to(x.dtype))).sum(-1, dtype=dt.dtype)
        d_step = d_sums.flip(2).cumsum(2).flip(2)  # the gradient of dt_k a
        d_a = (d_step * dt).sum((0, 1, 2)).to(a.dtype)
        d_dt = torch.addcmul(d_dt, d_step.to(dt.dtype), a)
        d_x, d_dt = d_x.flatten(1, 2), d_dt.flatten(1, 2)
        d_b, d_c = d_b.transpose(2, 3).flatten(1, 2), d_c.transpose(2, 3).flatten(1, 2)
        return d_x, d_dt, d_a, d_b, d_c, None


def _sums(dt: Tensor, a: Tensor, dim: int) -> Tensor:
    """The sums ``sum_{k <= i} dt_k a`` along ``dim``, as fine as the device has them."""
    finest = _finest(dt)
    return (dt.to(finest) * a.to(finest)).cumsum(dim)


def _finest(x: Tensor) -> torch.dtype:
    """The finest floating-point type of x's device: Apple's has no fp64."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _between(later: Tensor, earlier: Tensor, dtype: torch.dtype) -> Tensor:
    """[..., row] and [..., key] sums -> [..., row, key] differences in ``dtype``.

    Two long sums that are rounded first lose digits in their difference; kept in two parts, high and low, they lose
    none, and the many differences need no fp64.
    """
    rows, keys = later.to(dtype), earlier.to(dtype)
    rows_low, keys_low = ((exact - high).detach().to(dtype) for exact, high in ((later, rows), (earlier, keys)))
    between = rows[..., :, None] - keys[..., None, :]
    return between.add_(rows_low[..., :, None]).sub_(keys_low[..., None, :])


def _by_group(similarity: Tensor, decay: Tensor) -> Tensor:
    """Multiply each head's decays with its group's similarity."""
    groups = similarity.shape[2]
    return (decay.unflatten(2, (groups, -1)) * similarity[:, :, :, None]).flatten(2, 3)


def _scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Scale each head's vector at each position."""
    return x * scale[..., None].to(x.dtype)


def _head_major(x: Tensor, scale: Tensor | None) -> Tensor:
    """Token-major -> head-major and contiguous, as batched products want it, scaled on the way."""
    return (x if scale is None else _scaled(x, scale)).transpose(2, 3).contiguous()


def _merge(x: Tensor, groups: int) -> Tensor:
    """Token-major -> [batch, chunk, group, position, the group's heads * d_head]: one wide product per group."""
    return x.unflatten(3, (groups, -1)).flatten(4).transpose(2, 3)


def _split(merged: Tensor, shape: torch.Size) -> Tensor:
    """Undo `_merge`."""
    return merged.transpose(2, 3).reshape(shape)


def _carry(written: Tensor, through: Tensor, d_head: int) -> Tensor:
    """Return the state that enters each chunk [batch, chunk, group, state, heads * d_head]: 0, then what was left."""
    states = torch.empty_like(written)
    state = torch.zeros_like(written[:, 0], dtype=through.dtype)
    kept = _per_state(through, written.shape[2], d_head)
    for chunk in range(written.shape[1]):
        states[:, chunk] = state
        state.mul_(kept[:, chunk]).add_(written[:, chunk])
    return states


def _carry_back(d_states: Tensor, states: Tensor, through: Tensor, d_head: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of what each chunk wrote and of ``through``, given those of the states entering chunks."""
    d_written = torch.empty_like(d_states)
    d_state = torch.zeros_like(d_states[:, 0], dtype=through.dtype)
    kept = _per_state(through, states.shape[2], d_head)
    for chunk in reversed(range(states.shape[1])):
        d_written[:, chunk] = d_state
        d_state.mul_(kept[:, chunk]).add_(d_states[:, chunk])
    d_through = (d_written * states).sum(3).unflatten(-1, (-1, d_head)).sum(-1, dtype=through.dtype)
    return d_written, d_through.flatten(2)


def _per_state(through: Tensor, groups: int, d_head: int) -> Tensor:
    """[batch, chunk, head] -> [batch, chunk, group, 1, heads * d_head]."""
    return through.unflatten(2, (groups, -1)).repeat_interleave(d_head, dim=3)[:, :, :, None]


@functools.cache
def _cuda_kernel() -> Callable | None:
    """mamba_ssm's kernel; None, with a warning, where it is installed but broken."""
    if importlib.util.find_spec("mamba_ssm") is None:
        return None
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined  # type: ignore[import-not-found]
    except ImportError as error:
        warnings.warn(
            f"mamba_ssm is installed but cannot be imported ({error}); Mamba-2 runs in plain PyTorch, which is slower. "
            "Install a mamba_ssm built for this torch, or remove it.",
            stacklevel=2,
        )
        return None
    return mamba_chunk_scan_combined
