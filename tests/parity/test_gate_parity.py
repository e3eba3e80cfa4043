"""Saliency and ablation through the gate against what they are by definition, on Hugging Face's own models."""

import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from groundscope.models import Gate, GroundedLMConfig, build, gated
from groundscope.models.convert import from_gpt2, to_mamba2
from groundscope.models.mamba2 import Mamba2

VOCAB, HEADS, LAYERS = 97, 4, 3
LENGTHS = (2, 7, 64)


@pytest.fixture(scope="module")
def theirs() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=LAYERS, n_head=HEADS, attn_implementation="eager",
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def surprisal(logits: torch.Tensor, target: int) -> torch.Tensor:
    return -logits[:, -1].log_softmax(-1)[:, target]


@pytest.mark.parametrize("length", LENGTHS)
def test_saliency_is_plain_autograds_on_eager_gpt2(theirs, length):
    ids = torch.randint(0, VOCAB, (3, length))
    output = theirs(ids, output_attentions=True)
    gradients = torch.autograd.grad(surprisal(output.logits, 5).sum(), output.attentions)
    expected = [attention * gradient for attention, gradient in zip(output.attentions, gradients, strict=True)]

    ours = from_gpt2(theirs)
    gates = {layer: Gate(torch.ones(3, HEADS, length, length, requires_grad=True)) for layer in range(LAYERS)}
    with gated(ours, gates):
        loss = surprisal(ours(ids).logits, 5).sum()
    for found, want in zip(torch.autograd.grad(loss, [gate.values for gate in gates.values()]), expected, strict=True):
        assert want.abs().max() > 1e-3
        assert_close(found, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("length", LENGTHS)
def test_ablation_is_zeroing_the_heads_slice_before_the_output_projection(theirs, length):
    ids = torch.randint(0, VOCAB, (2, length))
    ours = from_gpt2(theirs)
    layer, head, width = 1, 2, 32 // HEADS

    def zero_slice(_module, inputs):
        state = inputs[0].clone()
        state[..., head * width : (head + 1) * width] = 0
        return (state,)

    handle = theirs.transformer.h[layer].attn.c_proj.register_forward_pre_hook(zero_slice)
    try:
        expected = theirs(ids).logits
    finally:
        handle.remove()
    values = torch.ones(1, HEADS, 1, 1)
    values[:, head] = 0
    with gated(ours, {layer: Gate(values)}):
        assert_close(ours(ids).logits, expected, atol=1e-6, rtol=1e-6)
    assert (theirs(ids).logits - expected).abs().max() > 1e-3


def test_all_heads_off_leaves_the_projections_bias(theirs):
    ours = from_gpt2(theirs)
    mixer, x, parts = ours.mixers[0], torch.randn(1, 9, 32), []
    with gated(ours, {0: Gate(torch.zeros(1, 1, 1, 1))}):
        assert_close(mixer(x), mixer.out.bias.expand(1, 9, 32))
    for head in range(HEADS):
        values = torch.zeros(1, HEADS, 1, 1)
        values[:, head] = 1
        with gated(ours, {0: Gate(values)}):
            parts.append(mixer(x) - mixer.out.bias)
    assert_close(sum(parts) + mixer.out.bias, mixer(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("length", [5, 19])
def test_mamba2s_saliency_is_autograds_on_a_naive_matrix(groups, length):
    """The mixer written anew, position by position, with autograd on each entry of M."""
    torch.manual_seed(0)
    mixer = Mamba2(16, d_head=8, d_state=6, n_groups=groups, chunk=8).eval()
    mixer.initialise(1, torch.Generator().manual_seed(0))
    x, readout = torch.randn(2, length, 16), torch.randn(16)

    inner, heads = 32, 4
    z, conv_in, dt = mixer.project(x).split([inner, inner + 2 * groups * 6, heads], dim=-1)
    padded = torch.cat([torch.zeros(2, 3, conv_in.shape[-1]), conv_in], dim=1)
    conv = torch.stack(
        [(padded[:, t : t + 4] * mixer.conv_weight.T).sum(1) + mixer.conv_bias for t in range(length)], dim=1
    )
    conv = conv * conv.sigmoid()
    value = conv[..., :inner].reshape(2, length, heads, 8)
    b = conv[..., inner : inner + groups * 6].reshape(2, length, groups, 6)
    c = conv[..., inner + groups * 6 :].reshape(2, length, groups, 6)
    step = (dt + mixer.dt_bias).exp().log1p()
    matrix = torch.zeros(2, heads, length, length)
    for head in range(heads):
        group = head // (heads // groups)
        for row in range(length):
            for key in range(row + 1):
                decay = (-mixer.A_log[head].exp() * step[:, key + 1 : row + 1, head].sum(1)).exp()
                similarity = (c[:, row, group] * b[:, key, group]).sum(-1)
                matrix[:, head, row, key] = similarity * decay * step[:, key, head]
    matrix = matrix.detach().requires_grad_()
    y = torch.einsum("bhrk,bkhp->brhp", matrix, value) + mixer.D[:, None] * value
    y = (y.reshape(2, length, inner) * z * z.sigmoid()).reshape(2, length, groups, -1)
    y = (y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt()).reshape(2, length, inner) * mixer.norm_weight
    output = y @ mixer.out.weight.T
    (gradient,) = torch.autograd.grad((output[:, -1] @ readout).sum(), [matrix])

    seen = []
    mixer.gate = Gate(torch.ones(2, heads, length, length, requires_grad=True), watch=seen.append)
    found = mixer(x)
    (saliency,) = torch.autograd.grad((found[:, -1] @ readout).sum(), [mixer.gate.values])
    assert_close(found, output, atol=1e-5, rtol=1e-5)
    assert_close(seen[0], matrix.detach(), atol=1e-6, rtol=1e-5)
    assert_close(saliency, matrix.detach() * gradient, atol=1e-6, rtol=0)
    assert saliency.abs().max() > 1e-3


def test_a_gated_mamba2_is_still_hugging_faces_at_ones():
    ours = build(GroundedLMConfig(vocab_size=VOCAB, mixers=("mamba2",) * 2, d_model=16, ssm_d_head=8), 0).eval()
    ids = torch.randint(0, VOCAB, (2, 30))
    with torch.no_grad(), gated(ours, {0: Gate(torch.ones(1, 1, 30, 30)), 1: Gate(torch.ones(1, 1, 1, 1))}):
        assert_close(ours(ids).logits, to_mamba2(ours)(ids).logits, atol=1e-5, rtol=1e-6)
