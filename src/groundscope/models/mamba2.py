"""Mamba-2's mixer in plain PyTorch: chunked for training, as a matrix for analysis.

State-space duality (Dao & Gu 2024, arXiv 2405.21060): per head,
``M[i, j] = (C_i . B_j) * exp(sum_{j < k <= i} dt_k A) * dt_j`` for ``j <= i``, and the mixer computes
``y = M x + D x``. What does not pass through M: the causal convolution of width ``d_conv`` that mixes neighbours
before B, C and x exist, the skip ``D x``, and the output gate ``z``. M's entries have either sign and its rows do
not sum to one.
"""

import functools
import math
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from groundscope.models.gate import Mixer, mix


class Mamba2(Mixer):
    """Mamba-2's mixer; the gate acts on M, so it scales what M mixes and leaves ``D x`` and ``z`` alone."""

    def __init__(
        self,
        d_model: int,
        *,
        expand: int = 2,
        d_head: int = 64,
        d_state: int = 128,
        n_groups: int = 1,
        d_conv: int = 4,
        chunk: int = 64,
        norm_eps: float = 1e-5,
    ):
        super().__init__()
        inner = expand * d_model
        self.inner, self.d_head, self.d_state, self.n_groups = inner, d_head, d_state, n_groups
        self.n_heads = inner // d_head
        self.chunk = chunk
        self.norm_eps = norm_eps
        convolved = inner + 2 * n_groups * d_state
        self.project = nn.Linear(d_model, inner + convolved + self.n_heads, bias=False)  # z, then x B C, then dt
        self.conv = nn.Conv1d(convolved, convolved, d_conv, groups=convolved, padding=d_conv - 1)
        self.dt_bias = nn.Parameter(torch.zeros(self.n_heads))
        self.A_log = nn.Parameter(torch.zeros(self.n_heads))
        self.D = nn.Parameter(torch.ones(self.n_heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Mix positions; every position sees itself and what came before."""
        batch, time, _ = x.shape
        group_width = self.n_groups * self.d_state
        z, convolved, dt = self.project(x).split([self.inner, self.inner + 2 * group_width, self.n_heads], dim=-1)
        convolved = functional.silu(self.conv(convolved.transpose(1, 2))[..., :time].transpose(1, 2))
        values, b, c = convolved.split([self.inner, group_width, group_width], dim=-1)
        values = values.reshape(batch, time, self.n_heads, self.d_head)
        b, c = (part.reshape(batch, time, self.n_groups, self.d_state) for part in (b, c))
        dt = functional.softplus(dt.float() + self.dt_bias)
        a = -self.A_log.float().exp()
        mixed = mix(
            self.gate,
            fused=lambda: ssd(values, dt, a, b, c, self.chunk).transpose(1, 2),
            matrix=lambda rows: ssd_matrix(dt, a, b, c, rows),
            values=values.transpose(1, 2),
        ).transpose(1, 2)
        y = mixed + self.D[:, None] * values
        y = y.reshape(batch, time, self.inner) * functional.silu(z)
        return self.out(self._norm(y))

    def _norm(self, y: Tensor) -> Tensor:
        grouped = y.unflatten(-1, (self.n_groups, -1))
        return functional.rms_norm(grouped, grouped.shape[-1:], eps=self.norm_eps).flatten(-2) * self.norm_weight

    @torch.no_grad()
    def initialise(self, n_residuals: int, generator: torch.Generator | None = None) -> None:
        """Draw the weights as Mamba-2's authors do (A in 1..16, steps dt in .001...1, both per head).

        ``n_residuals`` counts the branches that add to the residual stream; the output projection shrinks with it.
        """
        for layer in (self.project, self.out, self.conv):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
        self.out.weight /= math.sqrt(n_residuals)
        bound = 1 / math.sqrt(self.conv.kernel_size[0])
        nn.init.uniform_(cast(Tensor, self.conv.bias), -bound, bound, generator)
        nn.init.uniform_(self.A_log, 1, 16, generator).log_()
        nn.init.uniform_(self.dt_bias, math.log(1e-3), math.log(1e-1), generator)
        dt = self.dt_bias.exp().clamp(min=1e-4)
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        nn.init.ones_(self.D)
        nn.init.ones_(self.norm_weight)


def ssd_matrix(
    dt: Float[Tensor, "batch time head"],
    a: Float[Tensor, " head"],
    b: Float[Tensor, "batch time group state"],
    c: Float[Tensor, "batch time group state"],
    rows: Tensor | None = None,
) -> Float[Tensor, "batch head row time"]:
    """Return M itself, at the query positions ``rows`` (None: all): ``(C B^T) * decay * dt``; ``a`` is negative."""
    time, heads_per_group = dt.shape[1], dt.shape[2] // b.shape[2]
    keys = torch.arange(time, device=dt.device)
    rows = keys if rows is None else rows
    similarity = torch.einsum("brgn,bkgn->bgrk", c.index_select(1, rows), b)
    similarity = similarity.repeat_interleave(heads_per_group, dim=1)
    decay = _decay((dt * a).transpose(1, 2), rows)
    return similarity * decay * dt.transpose(1, 2)[:, :, None]


def _decay(log_decay: Float[Tensor, "batch head time"], rows: Tensor) -> Float[Tensor, "batch head row time"]:
    """Return ``exp(sum_{key < k <= row} log_decay_k)``, zero where the key is later than the row.

    The difference of two long sums loses digits; sums kept in two floats (high and low part) lose none.
    """
    sums = log_decay.double().cumsum(-1)
    high = sums.to(log_decay.dtype)
    low = (sums - high).detach().to(log_decay.dtype)
    between = (high[..., rows, None] - high[..., None, :]) + (low[..., rows, None] - low[..., None, :])
    future = torch.arange(sums.shape[-1], device=sums.device) > rows[:, None]
    return between.masked_fill(future, -torch.inf).exp()


def ssd(
    x: Float[Tensor, "batch time head d_head"],
    dt: Float[Tensor, "batch time head"],
    a: Float[Tensor, " head"],
    b: Float[Tensor, "batch time group state"],
    c: Float[Tensor, "batch time group state"],
    chunk: int,
) -> Float[Tensor, "batch time head d_head"]:
    """Return ``M x`` without M, in time linear in ``time`` (section 6 of the paper).

    Within a chunk the matrix form is used; between chunks a state [state, head, d_head] is carried. Decays are
    computed in fp32, products follow autocast.
    """
    kernel = _cuda_kernel() if x.is_cuda else None
    if kernel is not None:
        return kernel(x, dt, a, b, c, chunk)
    _, time, heads, d_head = x.shape
    groups = b.shape[2]
    padded = -(-time // chunk) * chunk
    if padded > time:  # a padded position has dt = 0: it neither writes to the state nor lets it decay
        x, b, c = (functional.pad(part, (0, 0, 0, 0, 0, padded - time)) for part in (x, b, c))
        dt = functional.pad(dt, (0, 0, 0, padded - time))
    x, dt, b, c = (part.unflatten(1, (-1, chunk)) for part in (x, dt, b, c))
    weighted = x * dt[..., None].to(x.dtype)
    sums = (dt * a).cumsum(2)  # [batch, chunk, position, head]

    # inside each chunk: the matrix form
    by_group = b.permute(0, 1, 3, 2, 4), c.permute(0, 1, 3, 2, 4)  # [batch, chunk, group, position, state]
    similarity = by_group[1] @ by_group[0].transpose(-1, -2)
    by_head = sums.transpose(2, 3)
    future = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    decay = (by_head[..., :, None] - by_head[..., None, :]).masked_fill(future, -torch.inf).exp()
    matrix = similarity.repeat_interleave(heads // groups, dim=2) * decay
    inside = (matrix @ weighted.transpose(2, 3)).transpose(2, 3)  # [batch, chunk, position, head, d_head]

    # between chunks: each chunk writes a state, states decay on their way to later chunks
    to_end = (sums[:, :, -1:] - sums).exp()
    written = _group_heads(weighted * to_end[..., None].to(x.dtype), groups)
    written = (by_group[0].transpose(-1, -2) @ written).float()  # [batch, chunk, group, state, heads * d_head]
    through = sums[:, :, -1].exp()  # [batch, chunk, head]
    through = through.unflatten(2, (groups, -1)).repeat_interleave(d_head, dim=3)[..., None, :]
    state = torch.zeros_like(written[:, 0])
    entering = [state]
    for step in range(written.shape[1] - 1):
        state = torch.addcmul(written[:, step], state, through[:, step])
        entering.append(state)
    carried = by_group[1] @ torch.stack(entering, dim=1)
    carried = carried.unflatten(-1, (-1, d_head)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4)
    y = inside + carried * sums.exp()[..., None].to(carried.dtype)
    return y.flatten(1, 2)[:, :time]


def _group_heads(x: Tensor, groups: int) -> Tensor:
    """[batch, chunk, position, head, d_head] -> [batch, chunk, group, position, heads of the group * d_head]."""
    return x.unflatten(3, (groups, -1)).flatten(4).transpose(2, 3)


@functools.cache
def _cuda_kernel() -> Callable | None:
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined  # type: ignore[import-not-found]
    except ImportError:
        return None
    return mamba_chunk_scan_combined
