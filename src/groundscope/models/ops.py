"""Operations with hand-written gradients, where autograd's take several times the passes over memory."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def causal_conv_silu(
    x: Float[Tensor, "batch time channel"],
    weight: Float[Tensor, "channel width"],
    bias: Float[Tensor, " channel"],
) -> Float[Tensor, "batch time channel"]:
    """Return ``silu(bias + sum_k weight[:, k] * x[t - width + 1 + k])``: each channel's last ``width`` positions.

    A depthwise convolution of so few positions is that many shifted products; no transposes are needed then.
    """
    return _CausalConvSiLU.apply(x, weight, bias)  # type: ignore[return-value]


class _CausalConvSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, weight, bias) -> Tensor:
        taps = weight.to(x.dtype).T.contiguous()
        before = bias.to(x.dtype).expand(x.shape).clone()
        for tap, past, now in _taps(x.shape[1], weight.shape[1]):
            before[:, now].addcmul_(x[:, past], taps[tap])
        ctx.save_for_backward(x, weight, before)
        return functional.silu(before)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor):  # type: ignore[override]
        x, weight, before = ctx.saved_tensors
        gradient = torch.ops.aten.silu_backward(gradients[0].to(x.dtype), before)
        taps = weight.to(x.dtype).T.contiguous()
        d_x, d_weight = torch.zeros_like(gradient), torch.zeros_like(weight)
        for tap, past, now in _taps(x.shape[1], weight.shape[1]):
            d_x[:, past].addcmul_(gradient[:, now], taps[tap])
            d_weight[:, tap] = (x[:, past] * gradient[:, now]).sum((0, 1))
        return d_x, d_weight, gradient.sum((0, 1)).to(weight.dtype)


def _taps(time: int, width: int) -> Iterator[tuple[int, slice, slice]]:
    """For each tap: its index, the positions it reads, and the positions it adds to."""
    for tap in range(max(0, width - time), width):
        lag = width - 1 - tap
        yield tap, slice(0, time - lag), slice(lag, time)


def rms_norm(
    x: Float[Tensor, "*shape width"], weight: Float[Tensor, "*groups width"], eps: float
) -> Float[Tensor, "*shape width"]:
    """Return ``x / sqrt(mean(x^2) + eps) * weight``, the mean over the last dimension; ``shape`` ends in ``groups``."""
    return _RMSNorm.apply(x, weight, eps)  # type: ignore[return-value]


class RMSNorm(nn.Module):
    """`rms_norm` with its weight."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape width"]:
        """Normalise each vector."""
        return rms_norm(x, self.weight, self.eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, weight, eps) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=weight.dtype)
        scale = (length.square() / x.shape[-1] + eps).rsqrt_().to(x.dtype)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight.to(x.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor):  # type: ignore[override]
        x, weight, scale = ctx.saved_tensors
        normed = x * scale
        gradient = gradients[0].to(x.dtype)
        d_weight = (gradient * normed).reshape(-1, *weight.shape).sum(0).to(weight.dtype)
        gradient = gradient * weight.to(x.dtype)
        along = (gradient * normed).mean(-1, keepdim=True)
        return gradient.addcmul_(normed, along, value=-1).mul_(scale), d_weight, None
