"""Saliency and ablation against Hugging Face's eager models: autograd on attentions, zeroed slices before o_proj."""

import pytest
import torch
import transformers as hf
from torch.nn import functional

from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.intervention import ablate, removal_effects
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.models.convert import from_gpt2
from groundscope.models.pretrained import PretrainedLM

VOCAB, PROMPTS, HEADS, LAYERS = 61, 3, 4, 3
LENGTHS = (2, 9, 40, 113)
SIZES = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = hf.GPT2Config(**SIZES, n_embd=32, n_layer=LAYERS, n_head=HEADS, n_positions=128)
LLAMA = hf.LlamaConfig(
    **SIZES,
    hidden_size=32,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=2,
    intermediate_size=48,
)


def eager(kind, config):
    torch.manual_seed(0)
    model = kind(config).double().eval()  # or rounding between batch sizes would be larger than the tolerance
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08)
    return model


@pytest.fixture(scope="module", params=["ours", "wrapped gpt2", "wrapped llama with grouped keys"])
def pair(request):
    """Our side, Hugging Face's eager model, and its output projections."""
    if "llama" in request.param:
        theirs = eager(hf.LlamaForCausalLM, LLAMA)
        return PretrainedLM(theirs), theirs, [block.self_attn.o_proj for block in theirs.model.layers]
    theirs = eager(hf.GPT2LMHeadModel, GPT2)
    ours = from_gpt2(theirs).eval() if request.param == "ours" else PretrainedLM(theirs)
    return ours, theirs, [block.attn.c_proj for block in theirs.transformer.h]


def prompts_of(time):
    generator = torch.Generator().manual_seed(time)
    ids = torch.randint(VOCAB, (PROMPTS, time), generator=generator)
    targets = torch.randint(VOCAB, (PROMPTS,), generator=generator)
    return PromptBatch.with_ground_at(ids, targets, torch.full((PROMPTS,), min(3, time - 2)))


@pytest.mark.parametrize("time", LENGTHS)
def test_saliency_is_autograd_on_the_attentions_of_the_eager_model(pair, time):
    ours, theirs, _ = pair
    prompts = prompts_of(time)
    found = saliency(ours, prompts, keep_maps=range(PROMPTS))
    for i in range(PROMPTS):  # one prompt at a time
        output = theirs(prompts.input_ids[i : i + 1], output_attentions=True)
        loss = functional.cross_entropy(output.logits[:, -1], prompts.targets[i : i + 1])
        gradients = torch.autograd.grad(loss, output.attentions)
        pairs = zip(output.attentions, gradients, strict=True)
        expected = torch.cat([attention * gradient for attention, gradient in pairs], dim=1)[0]
        assert (found.maps[i] - expected).abs().max() < 1e-6
        assert found.surprisal[i].item() == pytest.approx(loss.item(), abs=1e-6)
        by_layer = expected.view(LAYERS, HEADS, time, time).sum(1)[:, -1, prompts.ground[i]].abs()
        assert (found.layer_flow[i] - by_layer.sum(-1)).abs().max() < 1e-6


@pytest.mark.parametrize("time", LENGTHS)
def test_ablation_is_zeroing_the_heads_slice_before_the_output_projection(pair, time):
    ours, theirs, projections = pair
    prompts = prompts_of(time)
    sets = torch.rand(PROMPTS, LAYERS * HEADS, generator=torch.Generator().manual_seed(1)) < 0.3
    found = ablate(ours, prompts, torch.arange(PROMPTS), sets).surprisal
    for i in range(PROMPTS):
        assert found[i].item() == pytest.approx(zeroed(theirs, projections, prompts, i, sets[i]), abs=1e-6)


def test_every_head_alone(pair):
    ours, theirs, projections = pair
    prompts = prompts_of(9)
    effects, index = removal_effects(ours, prompts), HeadIndex.of(ours)
    nothing = torch.zeros(len(index), dtype=torch.bool)
    for head in range(len(index)):
        alone = nothing.clone()
        alone[head] = True
        expected = zeroed(theirs, projections, prompts, 0, alone) - zeroed(theirs, projections, prompts, 0, nothing)
        assert effects[0, head].item() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def zeroed(model, projections, prompts, i, removed):
    hooks = []
    for layer, projection in enumerate(projections):

        def zero(module, args, layer=layer):
            keep = ~removed[layer * HEADS : (layer + 1) * HEADS]
            return ((args[0].unflatten(-1, (HEADS, -1)) * keep[:, None]).flatten(-2),)

        hooks.append(projection.register_forward_pre_hook(zero))
    logits = model(prompts.input_ids[i : i + 1], use_cache=False).logits[:, -1]
    for hook in hooks:
        hook.remove()
    return functional.cross_entropy(logits, prompts.targets[i : i + 1]).item()
