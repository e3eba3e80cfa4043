"""The loss without all logits, against torch's on the full logits."""

import math
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from groundscope.errors import ModelError
from groundscope.models import linear_cross_entropy, loss

TOKENS, WIDTH, VOCAB = 37, 12, 53


@pytest.fixture(params=[5, 1024], ids=["parts", "whole"])
def _parts(request, monkeypatch):
    monkeypatch.setattr(loss, "_PART_TOKENS", request.param)
    monkeypatch.setattr(loss, "_PART_BYTES", 0)


def given(scale: float = 1.0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator, dtype=dtype) * scale
    matrix = torch.randn(VOCAB, WIDTH, generator=generator, dtype=dtype)
    bias = torch.randn(VOCAB, generator=generator, dtype=dtype)
    targets = torch.randint(0, VOCAB, (TOKENS,), generator=generator)
    return hidden.requires_grad_(), matrix.requires_grad_(), bias.requires_grad_(), targets


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("ignored", [0, 9])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0], ids=["flat", "plain", "peaked"])
def test_value_and_gradients_are_torchs(with_bias, ignored, scale):
    hidden, matrix, bias, targets = given(scale)
    targets[:ignored] = -100
    inputs = [hidden, matrix, *([bias] if with_bias else [])]
    found = linear_cross_entropy(hidden, matrix, targets, bias if with_bias else None)
    expected = cross_entropy(hidden @ matrix.T + (bias if with_bias else 0), targets)
    assert_close(found, expected, atol=1e-6, rtol=1e-6)
    ours = torch.autograd.grad(found * 3, inputs)
    theirs = torch.autograd.grad(expected * 3, inputs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= 1e-6 * other.norm()


@pytest.mark.usefixtures("_parts")
def test_logits_far_from_zero_neither_overflow_nor_vanish():
    hidden, matrix, bias, targets = given(dtype=torch.float64)
    for shift in (-500.0, 500.0):
        far = (bias + shift).detach().requires_grad_()
        found = linear_cross_entropy(hidden, matrix, targets, far)
        expected = cross_entropy(hidden @ matrix.T + far, targets)
        assert_close(found, expected, atol=1e-12, rtol=0)
        assert torch.autograd.grad(found, far)[0].isfinite().all()


def test_fp64_stays_fp64():
    hidden, matrix, _, targets = given(dtype=torch.float64)
    found = linear_cross_entropy(hidden, matrix, targets)
    expected = cross_entropy(hidden @ matrix.T, targets)
    assert_close(found, expected, atol=1e-14, rtol=1e-14)
    for one, other in zip(*(torch.autograd.grad(value, (hidden, matrix)) for value in (found, expected)), strict=True):
        assert_close(one, other, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("logit", [0.0, 15.0])
def test_fp16_holds_neither_large_logits_nor_a_vocabularys_sum(logit):
    """exp(15) is above 65,504, and so is the count of 70,000 equal words."""
    hidden = torch.ones(2, 1, dtype=torch.float16, requires_grad=True)
    matrix = torch.full((70_000, 1), logit, dtype=torch.float16, requires_grad=True)
    found = linear_cross_entropy(hidden, matrix, torch.tensor([3, 5]))
    assert_close(found.item(), math.log(70_000), atol=1e-5, rtol=0)
    d_matrix = torch.autograd.grad(found, matrix)[0]
    assert_close(d_matrix[3].item(), -0.5, atol=1e-3, rtol=0)
    assert d_matrix.isfinite().all()


def test_a_second_walk_back_is_refused_in_words():
    hidden, matrix, _, targets = given()
    found = linear_cross_entropy(hidden, matrix, targets)
    found.backward(retain_graph=True)
    with pytest.raises(ModelError, match="compute it again"):
        found.backward()


def test_it_compiles_whole():
    """In a process of its own, without the checks of shapes that tests put around functions: they break graphs."""
    program = """
import torch
from groundscope.models import linear_cross_entropy
hidden, matrix = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
targets = torch.arange(7)
compiled = torch.compile(linear_cross_entropy, backend="aot_eager", fullgraph=True)
found, expected = (torch.autograd.grad(f(hidden, matrix, targets), (hidden, matrix))
                   for f in (compiled, linear_cross_entropy))
for one, other in zip(found, expected, strict=True):
    torch.testing.assert_close(one, other)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_under_bf16_autocast_it_is_as_exact_as_bf16_logits():
    hidden, matrix, _, targets = given()
    exact = cross_entropy(hidden @ matrix.T, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(hidden, matrix, targets)
        theirs = cross_entropy((hidden @ matrix.T).float(), targets)
    assert found.dtype == torch.float32
    assert_close(found, exact, atol=0.02, rtol=0)
    inputs = [hidden, matrix]
    exacts, founds, theirss = (torch.autograd.grad(value, inputs) for value in (exact, found, theirs))
    for want, got, bf16 in zip(exacts, founds, theirss, strict=True):
        assert got.dtype == torch.float32
        assert (got - want).norm() < 2 * (bf16 - want).norm()


def test_only_the_gradients_asked_for_are_made():
    hidden, matrix, bias, targets = given()
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, matrix, targets, bias).requires_grad
    found = linear_cross_entropy(hidden.detach(), matrix, targets, bias.detach())
    (gradient,) = torch.autograd.grad(found, matrix)
    assert gradient.shape == matrix.shape


def test_nothing_counted_is_nan_as_in_torch():
    hidden, matrix, _, targets = given()
    assert linear_cross_entropy(hidden, matrix, targets.fill_(-100)).isnan()


def test_parts_are_of_equal_size_and_within_the_limit():
    assert loss._part_size(4096, 20_000, torch.bfloat16, loss._PART_BYTES) == 1366  # 3 parts below 64 MiB
    assert loss._part_size(4096, 89_057, torch.bfloat16, loss._PART_BYTES) == 1024  # fewer cost more than they save
    assert loss._part_size(8192, 80_731, torch.bfloat16, loss._PART_BYTES_ELSEWHERE) == 4096  # two parts on a GPU
    assert loss._part_size(10, 89_057, torch.float32, loss._PART_BYTES) == 10
    assert loss._part_size(0, 10, torch.float32, loss._PART_BYTES) == 0


def test_the_logits_never_exist_together():
    """Peak memory, by what torch's allocator was asked for at one time: well below one full matrix of logits."""
    tokens, vocab = 4096, 8000
    hidden, matrix = torch.randn(tokens, 4), torch.randn(vocab, 4, requires_grad=True)
    targets = torch.randint(0, vocab, (tokens,))
    with torch.profiler.profile(profile_memory=True) as profile:
        linear_cross_entropy(hidden, matrix, targets)
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= loss._PART_BYTES
    assert largest < tokens * vocab * 4 / 1.9
