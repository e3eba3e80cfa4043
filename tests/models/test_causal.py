"""Attention by blocks and the cheap dropout, against torch's own."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from groundscope.models.causal import causal_attention
from groundscope.models.dropout import dropout, keep_mask


@pytest.mark.parametrize("time", [1, 7, 128, 129, 300])
def test_blocks_equal_the_fused_kernel_with_gradients(time: int) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, time, 16, generator=generator).requires_grad_() for _ in range(3)]
    found = causal_attention(*parts)
    wanted = scaled_dot_product_attention(*parts, is_causal=True)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    ours = torch.autograd.grad(found.sin().sum(), parts)
    theirs = torch.autograd.grad(wanted.sin().sum(), parts)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_the_future_is_not_seen_under_dropout() -> None:
    query, key = (torch.randn(1, 2, 200, 8).requires_grad_() for _ in range(2))
    value = torch.zeros(1, 2, 200, 8)
    value[:, :, 150:] = 1
    mixed = causal_attention(query, key, value, dropout=0.5)
    assert mixed[:, :, :150].abs().max() == 0
    assert mixed[:, :, 199].abs().min() > 0


def test_dropout_drops_as_many_as_it_says_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    mask = keep_mask((1000, 1001), 0.1, torch.float32)
    dropped = (mask == 0).double().mean().item()
    assert abs(dropped - 0.1) < 4 * (0.09 / mask.numel()) ** 0.5
    assert abs(mask.double().mean().item() - 1) < 0.002
    pairs = (mask[:, :-1] == 0) & (mask[:, 1:] == 0)  # neighbours share a draw, and must not share a fate
    assert abs(pairs.double().mean().item() - 0.01) < 0.0005


def test_dropout_obeys_mode_and_generator() -> None:
    x = torch.ones(50, 7)
    assert dropout(x, 0.3, training=False) is x
    assert dropout(x, 0.0, training=True) is x
    torch.manual_seed(3)
    first = dropout(x, 0.3, training=True)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(x, 0.3, training=True))
    assert not torch.equal(first, dropout(x, 0.3, training=True))
