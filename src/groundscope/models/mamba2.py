"""Mamba-2's mixer in plain PyTorch: chunked for training, as a matrix for analysis.

Per head ``y = M x + D x`` with the M of `ssd`, then ``RMSNorm(y * silu(z))`` and a projection. What does not pass
through M, and so is touched by no gate: the causal convolution of width ``d_conv`` that mixes neighbours before
B, C and x exist, the skip ``D x``, and the output gate ``z``. M's entries have either sign and its rows do not sum
to one.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from groundscope.models.gate import Mixer, mix
from groundscope.models.ops import causal_conv_silu, rms_norm
from groundscope.models.ssd import ssd, ssd_matrix


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
        self.conv_weight = nn.Parameter(torch.zeros(convolved, d_conv))
        self.conv_bias = nn.Parameter(torch.zeros(convolved))
        self.dt_bias = nn.Parameter(torch.zeros(self.n_heads))
        self.A_log = nn.Parameter(torch.zeros(self.n_heads))
        self.D = nn.Parameter(torch.ones(self.n_heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "run time d_model"]:
        """Mix positions; every position sees itself and what came before."""
        z, convolved, dt = self.project(x).split([self.inner, len(self.conv_bias), self.n_heads], dim=-1)
        values, dt, a, b, c = self._parts(convolved, dt)
        mixed = mix(
            self.gate,
            fused=lambda: ssd(values, dt, a, b, c, self.chunk).transpose(1, 2),
            matrix=lambda rows: ssd_matrix(dt, a, b, c, rows),
            values=values.transpose(1, 2),
        ).transpose(1, 2)
        return self._put_out(mixed, values, z)

    def at_the_end(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "run d_model"]:
        """Return ``self(x)[:, -1]``: M has one row there, and nothing after it sees another position."""
        if self.gate is not None and not self.gate.is_removal:
            return super().at_the_end(x)
        output_gate, others = self.project.weight.tensor_split([self.inner])
        values, dt, a, b, c = self._parts(*functional.linear(x, others).split([len(self.conv_bias), self.n_heads], -1))
        at_end, last = values.transpose(1, 2), torch.tensor([x.shape[1] - 1], device=x.device)
        mixed = mix(
            None if self.gate is None else self.gate.at_the_end,
            fused=lambda: ssd_matrix(dt, a, b, c, last).to(at_end.dtype) @ at_end,
            matrix=lambda _: ssd_matrix(dt, a, b, c, last),
            values=at_end,
        ).transpose(1, 2)
        return self._put_out(mixed, values[:, -1:], functional.linear(x[:, -1:], output_gate))[:, 0]

    def _parts(
        self, convolved: Float[Tensor, "batch time channel"], dt: Float[Tensor, "batch time head"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What is mixed and what M is made of, from their projections: values by head, dt, a, B and C by group."""
        group_width = self.n_groups * self.d_state
        convolved = causal_conv_silu(convolved, self.conv_weight, self.conv_bias)
        values, b, c = convolved.split([self.inner, group_width, group_width], dim=-1)
        values = values.unflatten(-1, (self.n_heads, self.d_head))
        b, c = (part.unflatten(-1, (self.n_groups, self.d_state)) for part in (b, c))
        return values, functional.softplus(dt.float() + self.dt_bias), -self.A_log.float().exp(), b, c

    def _put_out(
        self,
        mixed: Float[Tensor, "run time head d_head"],
        values: Float[Tensor, "batch time head d_head"],
        z: Float[Tensor, "batch time inner"],
    ) -> Float[Tensor, "run time d_model"]:
        """What does not pass M: the skip ``D x``, the output gate, the norm and the projection."""
        if self.gate is not None and self.gate.example is not None:
            values, z = values[self.gate.example], z[self.gate.example]
        y = torch.addcmul(mixed, values, self.D[:, None].to(values.dtype)).flatten(2) * functional.silu(z)
        grouped = y.unflatten(-1, (self.n_groups, -1))
        normed = rms_norm(grouped, self.norm_weight.view(self.n_groups, -1), self.norm_eps)
        return self.out(normed.flatten(-2))

    @torch.no_grad()
    def initialise(
        self,
        n_residuals: int,
        generator: torch.Generator | None = None,
        *,
        dt: tuple[float, float] = (1e-3, 1e-1),
        a: tuple[float, float] = (1.0, 16.0),
    ) -> None:
        """Draw the weights as Mamba-2's authors do: A in ``a``, steps in ``dt`` (evenly in their logarithm), per head.

        ``n_residuals`` counts the branches that add to the residual stream; the output projection shrinks with it.
        """
        for weight in (self.project.weight, self.out.weight, self.conv_weight):
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        self.out.weight /= math.sqrt(n_residuals)
        bound = 1 / math.sqrt(self.conv_weight.shape[1])
        nn.init.uniform_(self.conv_bias, -bound, bound, generator)
        nn.init.uniform_(self.A_log, *a, generator).log_()
        nn.init.uniform_(self.dt_bias, math.log(dt[0]), math.log(dt[1]), generator)
        steps = self.dt_bias.exp().clamp(min=1e-4)
        self.dt_bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
        nn.init.ones_(self.D)
        nn.init.ones_(self.norm_weight)
