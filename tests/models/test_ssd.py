"""State-space duality: the chunked form, the matrix and the recurrence are one function; gradients are exact."""

import importlib.machinery
import importlib.util
import sys
import types

import pytest
import torch
from torch.testing import assert_close

from groundscope.models import ssd as module
from groundscope.models.ops import causal_conv_silu, rms_norm
from groundscope.models.ssd import ssd, ssd_matrix


def given(time: int, heads: int = 4, groups: int = 2, dtype: torch.dtype = torch.float64, batch: int = 2):
    generator = torch.Generator().manual_seed(time)

    def draw(*shape):
        return torch.randn(batch, time, *shape, generator=generator, dtype=dtype)

    x, b, c = draw(heads, 3), draw(groups, 5), draw(groups, 5)
    dt = torch.rand(batch, time, heads, generator=generator, dtype=dtype)
    a = -3 * torch.rand(heads, generator=generator, dtype=dtype)
    return [part.requires_grad_() for part in (x, dt, a, b, c)]


def recurrence(x, dt, a, b, c):
    """Mamba-2 by its definition: a state that decays and is written to, position by position."""
    per_group = x.shape[2] // b.shape[2]
    b, c = b.repeat_interleave(per_group, 2), c.repeat_interleave(per_group, 2)
    state = torch.zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[-1], dtype=x.dtype)
    outputs = []
    for t in range(x.shape[1]):
        decay = (dt[:, t] * a).exp()[..., None, None]
        state = state * decay + (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, :, None]
        outputs.append((state * c[:, t, :, None]).sum(-1))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("time", [1, 3, 4, 7, 8, 21])
@pytest.mark.parametrize(("heads", "groups"), [(2, 1), (4, 2), (3, 3)])
def test_chunks_matrix_and_recurrence_agree(time, heads, groups):
    x, dt, a, b, c = given(time, heads, groups)
    expected = recurrence(x, dt, a, b, c)
    for chunk in (1, 4, 64):
        assert_close(ssd(x, dt, a, b, c, chunk), expected)
    matrix = ssd_matrix(dt, a, b, c)
    assert_close((matrix @ x.transpose(1, 2)).transpose(1, 2), expected)
    rows = torch.tensor([time - 1, 0][: min(2, time)])
    assert_close(ssd_matrix(dt, a, b, c, rows), matrix[:, :, rows])


@pytest.mark.parametrize(("time", "groups", "chunk"), [(1, 1, 2), (5, 2, 2), (4, 1, 64)])
def test_gradients_are_the_derivatives(time, groups, chunk):
    assert torch.autograd.gradcheck(lambda *parts: ssd(*parts, chunk), given(time, 2, groups, batch=1))


def test_strong_decay_after_long_text_keeps_its_digits():
    """Steps so long that they wipe the state make sums large; what comes after must not lose digits to them."""
    x, dt, a, b, c = (part.detach() for part in given(300, dtype=torch.float32))
    dt[:, ::17] *= 300
    exact = recurrence(*(part.double() for part in (x, dt, a, b, c)))
    by_matrix = (ssd_matrix(dt, a, b, c) @ x.transpose(1, 2)).transpose(1, 2)
    scale = exact.abs().max()
    assert (by_matrix - exact).abs().max() / scale < 1e-6
    for chunk in (16, 64, 300):
        assert (ssd(x, dt, a, b, c, chunk) - exact).abs().max() / scale < 1e-6
    assert ssd_matrix(dt, a, b, c).isfinite().all()


def test_chunk_changes_speed_and_neither_results_nor_gradients():
    """Steps as Mamba-2 begins with; sums over a long chunk reach a hundred, of which fp32 has six digits only."""
    generator = torch.Generator().manual_seed(0)
    x, b, c = (torch.randn(1, 512, *shape, generator=generator) for shape in ((8, 4), (1, 16), (1, 16)))
    dt, a = torch.rand(1, 512, 8, generator=generator) * 0.1, -torch.linspace(1, 24, 8)
    readout = torch.randn(x.shape, generator=generator)

    def found(chunk: int, dtype: torch.dtype) -> list[torch.Tensor]:
        parts = [part.to(dtype).requires_grad_() for part in (x, dt, a, b, c)]
        y = ssd(*parts, chunk)
        return [y.detach(), *torch.autograd.grad((y * readout.to(dtype)).sum(), parts)]

    exact = found(64, torch.float64)
    for chunk in (16, 64, 256, 512):
        for name, one, other in zip(("y", "x", "dt", "a", "b", "c"), found(chunk, torch.float32), exact, strict=True):
            assert (one - other).abs().max() < 1e-6 * other.abs().max(), (chunk, name)


@pytest.mark.parametrize("time", [64, 100])
def test_bf16_is_close_to_exact(time):
    parts = [part.detach() for part in given(time, dtype=torch.float32)]
    exact = [part.clone().requires_grad_() for part in parts]
    x, dt, a, b, c = parts
    rough = [part.requires_grad_() for part in (x.bfloat16(), dt, a, b.bfloat16(), c.bfloat16())]
    readout = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    found, want = ssd(*rough, 32), ssd(*exact, 32)
    assert found.dtype == torch.bfloat16
    assert (found - want).norm() < 0.02 * want.norm()
    ours = torch.autograd.grad((found.float() * readout).sum(), rough)
    for one, other in zip(ours, torch.autograd.grad((want * readout).sum(), exact), strict=True):
        assert (one - other).norm() < 0.03 * other.norm()


def install(monkeypatch, *stand_ins: types.ModuleType) -> None:
    """Let mamba_ssm be there with the modules given and no others."""
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        package = types.ModuleType(name)
        package.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, package)
    for stand_in in stand_ins:
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


def test_mamba_ssms_kernel_is_called_as_it_is_declared(monkeypatch):
    """On CUDA the installed kernel runs; here a stand-in with its signature shows what it would be given."""

    def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, dt_softplus=False):
        assert chunk_size == 4
        assert (D, z, dt_bias, dt_softplus) == (None, None, None, False)
        return recurrence(x, dt, A, B, C)

    stand_in = types.ModuleType("mamba_ssm.ops.triton.ssd_combined")
    stand_in.mamba_chunk_scan_combined = mamba_chunk_scan_combined
    install(monkeypatch, stand_in)
    module._cuda_kernel.cache_clear()
    try:
        parts = given(9)
        assert_close(module._cuda_kernel()(*parts, 4), ssd(*parts, 4))
    finally:
        module._cuda_kernel.cache_clear()


def test_without_mamba_ssm_there_is_no_kernel(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    module._cuda_kernel.cache_clear()
    try:
        assert module._cuda_kernel() is None
    finally:
        module._cuda_kernel.cache_clear()


def test_a_broken_mamba_ssm_is_told_of_once(monkeypatch):
    install(monkeypatch)
    module._cuda_kernel.cache_clear()
    try:
        with pytest.warns(UserWarning, match="installed but cannot be imported.*plain PyTorch"):
            assert module._cuda_kernel() is None
        assert module._cuda_kernel() is None
    finally:
        module._cuda_kernel.cache_clear()


@pytest.mark.parametrize(("dtype", "uses"), [(torch.float32, False), (torch.bfloat16, True), (torch.float16, True)])
def test_the_kernel_is_for_half_precision_only(monkeypatch, dtype, uses):
    """There may be no CUDA here: inputs that say they are on it."""
    parts = [part.detach().to(dtype) for part in given(9)]
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    monkeypatch.setattr(module, "_cuda_kernel", lambda: lambda x, *rest: torch.full_like(x, 7))
    assert bool((ssd(*parts, 4) == 7).all()) == uses


@pytest.mark.parametrize("time", [1, 2, 6])
def test_convolution_is_torchs_and_its_gradients_exact(time):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, time, 3), (3, 4), (3,))
    )
    expected = torch.nn.functional.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=3, groups=3)
    expected = torch.nn.functional.silu(expected[..., :time].transpose(1, 2))
    assert_close(causal_conv_silu(x, weight, bias), expected)
    assert torch.autograd.gradcheck(causal_conv_silu, (x, weight, bias))


@pytest.mark.parametrize("groups", [(), (2,)])
def test_rms_norm_is_torchs_and_its_gradients_exact(groups):
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 3, *groups, 5), (*groups, 5))
    )
    assert_close(rms_norm(x, weight, 1e-5), torch.nn.functional.rms_norm(x, (5,), eps=1e-5) * weight)
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-5), (x, weight))
    one = x[0, 0].detach().requires_grad_()  # a single vector, or one of each group
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-5), (one, weight))
