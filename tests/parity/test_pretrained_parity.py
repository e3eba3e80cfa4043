"""Hugging Face models under the gate against themselves: eager logits, plain autograd, zeroed slices before o_proj."""

import pytest
import torch
import transformers as hf

from groundscope.models.gate import Gate, gated
from groundscope.models.pretrained import PretrainedLM

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
WINDOW = 7  # shorter than most contexts below, so that sliding windows show
FAMILIES = {
    "gpt2": (
        hf.GPT2LMHeadModel,
        hf.GPT2Config(vocab_size=61, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2),
        "c_proj",
    ),
    "pythia": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(**SIZES), "dense"),
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**SIZES), "o_proj"),
    "llama-gqa": (hf.LlamaForCausalLM, hf.LlamaConfig(**GROUPED), "o_proj"),
    "olmo2": (hf.Olmo2ForCausalLM, hf.Olmo2Config(**GROUPED), "o_proj"),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config(**GROUPED), "o_proj"),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config(**GROUPED, head_dim=16), "o_proj"),
    "gemma2": (
        hf.Gemma2ForCausalLM,
        hf.Gemma2Config(**GROUPED, head_dim=16, sliding_window=WINDOW, attn_logit_softcapping=2.0),
        "o_proj",
    ),
    "gemma3": (hf.Gemma3ForCausalLM, hf.Gemma3TextConfig(**GROUPED, head_dim=16, sliding_window=WINDOW), "o_proj"),
    "mistral": (hf.MistralForCausalLM, hf.MistralConfig(**GROUPED, sliding_window=WINDOW), "o_proj"),
    "gpt-oss": (
        hf.GptOssForCausalLM,
        hf.GptOssConfig(**GROUPED, head_dim=16, sliding_window=WINDOW, num_local_experts=2, num_experts_per_tok=2),
        "o_proj",
    ),
}
LENGTHS = (2, 9, 40, 113)


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request):
    kind, config, projection = FAMILIES[request.param]
    torch.manual_seed(0)
    eager = kind(config).eval()
    with torch.no_grad():
        for parameter in eager.parameters():  # weights at which attention is far from uniform
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08)
    eager.set_attn_implementation("eager")
    return eager, PretrainedLM(eager), projection


def tokens(length):
    return torch.randint(3, 61, (2, length), generator=torch.Generator().manual_seed(length))


def ones(lm, time, **kwargs):
    return {layer: Gate(torch.ones(2, lm.heads(layer), time, time), **kwargs) for layer in range(lm.n_layers)}


def assert_equal(found, expected):
    """Equal to 1e-6 in the norm of the difference over the norm of the whole; float32's own rounding is 1e-7."""
    error = (found - expected).norm() / expected.norm()
    assert error < 1e-6, f"relative error {error:.1e}"


@pytest.mark.parametrize("length", LENGTHS)
def test_logits_under_gates_of_ones_equal_eager(family, length):
    eager, lm, _ = family
    ids = tokens(length)
    with torch.no_grad():
        expected = eager(ids).logits
        with gated(lm, ones(lm, length)):
            assert_equal(lm(ids).logits, expected)
        middle = {1: ones(lm, length)[1]}  # the layers without a gate take their fused path
        with gated(lm, middle):
            assert_equal(lm(ids).logits, expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_saliency_equals_autograd_on_the_attention_weights(family, length):
    eager, lm, _ = family
    ids, target = tokens(length), torch.tensor([5, 7])

    out = eager(ids, output_attentions=True)
    loss = -out.logits[:, -1].log_softmax(-1)[range(2), target].sum()
    expected = [a * g for a, g in zip(out.attentions, torch.autograd.grad(loss, out.attentions), strict=True)]

    gates = ones(lm, length)
    for gate in gates.values():
        gate.values.requires_grad_(True)
    with gated(lm, gates):
        loss = -lm(ids).logits[:, -1].log_softmax(-1)[range(2), target].sum()
    found = torch.autograd.grad(loss, [gate.values for gate in gates.values()])
    for layer, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert mine.abs().max() > 1e-6 or length == 2, f"layer {layer} carries nothing, the test would be empty"
        assert_equal(mine, theirs)


@pytest.mark.parametrize("length", LENGTHS)
def test_removing_a_head_equals_zeroing_its_slice_before_the_output_projection(family, length):
    eager, lm, projection = family
    ids = tokens(length)
    for layer, head in ((0, 3), (2, 1)):
        module = getattr(lm.mixers[layer].attention, projection)
        width = (module.weight.shape[0] if projection == "c_proj" else module.in_features) // 4

        def zero(_, args, head=head, width=width):
            changed = args[0].clone()
            changed[..., head * width : (head + 1) * width] = 0
            return (changed,)

        hook = module.register_forward_pre_hook(zero)
        with torch.no_grad():
            expected = eager(ids).logits
        hook.remove()
        keep = torch.ones(1, 4, 1, 1)
        keep[:, head] = 0
        full = keep.expand(1, 4, length, length).clone()  # the matrix path, which must agree with the scaled fused path
        with torch.no_grad():
            assert not torch.allclose(eager(ids).logits, expected)
            for values in (keep, full):
                with gated(lm, {layer: Gate(values)}):
                    assert_equal(lm(ids).logits, expected)


def test_rows_and_watches_see_the_eager_weights(family):
    eager, lm, _ = family
    ids = tokens(11)
    expected = eager(ids, output_attentions=True).attentions[1][:, :, [3, 10]]
    seen = []
    gate = Gate(torch.ones(1, 1, 1, 1), rows=torch.tensor([3, 10]), watch=lambda m: seen.append(m.detach()))
    with gated(lm, {1: gate}), torch.no_grad():
        lm.hidden(ids)
    assert_equal(seen[0], expected)


def test_the_stream_is_what_the_model_itself_reports(family):
    eager, lm, _ = family
    ids = tokens(9)
    with torch.no_grad():
        stream, hidden, logits = lm.residual_stream(ids), lm.hidden(ids), eager(ids).logits
        reported = eager(ids, output_hidden_states=True).hidden_states
    assert len(stream) == lm.n_layers + 1 == len(reported)
    for mine, theirs in zip(stream[:-1], reported[:-1], strict=True):
        assert_equal(mine, theirs)
    assert_equal(lm.final_norm(stream[-1]), reported[-1])
    linear = hidden @ lm.unembedding.T
    capped = linear if lm.softcap is None else lm.softcap * torch.tanh(linear / lm.softcap)
    assert_equal(capped, logits)
