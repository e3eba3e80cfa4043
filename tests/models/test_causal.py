"""Attention by blocks and the cheap dropout, against torch's own."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from groundscope.models import causal
from groundscope.models.causal import causal_attention
from groundscope.models.dropout import drop_signs, dropout, keep_mask, kept_scale


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


@pytest.mark.parametrize("time", [5, 200])
def test_dropout_within_attention_has_the_gradients_of_autograd(time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal, "_BLOCK", 64)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, time, 16, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)]
    torch.manual_seed(1)
    found = causal_attention(*parts, dropout=0.3)

    torch.manual_seed(1)
    keep = torch.zeros(6, time, time, dtype=torch.float64)
    for start in range(0, time, 64):
        end = min(start + 64, time)
        kept = drop_signs((6, end - start, end), 0.3, torch.float64).signbit().logical_not()
        keep[:, start:end, :end] = kept * kept_scale(0.3)
    query, key, value = (part.flatten(0, 1) for part in parts)
    scores = (query @ key.mT / 4).masked_fill(torch.ones(time, time, dtype=torch.bool).triu(1), -torch.inf)
    wanted = (scores.softmax(-1) * keep @ value).view(found.shape)

    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(*(torch.autograd.grad(out.sin().sum(), parts) for out in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (keep[:, :5, :5].tril() == 0).any(), "nothing was dropped"


def test_bf16_attention_is_as_exact_as_bf16() -> None:
    parts = [torch.randn(2, 3, 200, 16).requires_grad_() for _ in range(3)]
    exact = causal_attention(*parts)
    halves = [part.detach().bfloat16().requires_grad_() for part in parts]
    found = causal_attention(*halves)
    torch.testing.assert_close(found.float(), exact, atol=0.03, rtol=0.03)
    gradients = [torch.autograd.grad(out.sum(), of) for out, of in ((found, halves), (exact, parts))]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours.float(), theirs, atol=0.1, rtol=0.05)


def test_one_draw_decides_alike_in_every_precision() -> None:
    masks, signs = [], []
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        torch.manual_seed(0)
        masks.append(keep_mask((17, 33), 0.25, dtype))
        torch.manual_seed(0)
        signs.append(drop_signs((17, 33), 0.25, dtype))
        assert masks[-1].dtype == signs[-1].dtype == dtype
    for mask, sign in zip(masks, signs, strict=True):
        assert mask.unique().tolist() == pytest.approx([0, 4 / 3], rel=2**-8)
        assert torch.equal(mask == 0, sign.signbit())
        assert torch.equal(mask == 0, masks[0] == 0)
        assert not sign.any()


@pytest.mark.parametrize(("p", "dropped"), [(1.0, 100), (1e-9, 0)])
def test_all_or_nothing_may_be_dropped(p: float, dropped: int) -> None:
    assert (keep_mask((100,), p, torch.float32) == 0).sum() == dropped


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
