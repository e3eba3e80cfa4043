"""GroundedLM of Mamba-2 layers against Hugging Face's Mamba2ForCausalLM: chunked, as a matrix, and both ways."""

import pytest
import torch
from torch.testing import assert_close
from transformers import Mamba2Config, Mamba2ForCausalLM

from groundscope.errors import ModelError
from groundscope.models import Gate, GroundedLMConfig, build, gated
from groundscope.models.convert import from_mamba2, mamba2_names, rename, to_gpt2, to_mamba2

LENGTHS = (1, 7, 64, 512, 513)


def a_mamba2(n_groups: int = 1, **changes) -> Mamba2ForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_heads": 8, "head_dim": 8, "state_size": 16, "num_hidden_layers": 2}
    config = Mamba2Config(
        vocab_size=211, n_groups=n_groups, chunk_size=32, pad_token_id=None, bos_token_id=None, eos_token_id=None,
        **sizes, **changes,
    )  # fmt: skip
    model = Mamba2ForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module", params=[1, 2], ids=["one group", "two groups"])
def theirs(request) -> Mamba2ForCausalLM:
    return a_mamba2(request.param)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("form", ["chunks", "matrix"])
def test_logits_agree(theirs, length, form):
    ours = from_mamba2(theirs)
    ids = torch.randint(0, 211, (2, length))
    gates = {layer: Gate(torch.ones(1, 1, length, length)) for layer in range(2)} if form == "matrix" else {}
    with torch.no_grad(), gated(ours, gates):
        assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("length", [3, 7, 64, 130, 512])
def test_gradients_agree_parameter_by_parameter(theirs, length):
    ours = from_mamba2(theirs)
    ids = torch.randint(0, 211, (2, length))
    for model in (ours, theirs):
        model.zero_grad()
        model(ids, labels=ids).loss.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters(remove_duplicate=False)}
    expected = dict(theirs.named_parameters(remove_duplicate=False))
    renamed = rename(gradients, mamba2_names(ours.config))
    assert renamed.keys() == expected.keys()
    for name, gradient in renamed.items():
        scale = expected[name].grad.abs().max().item()
        assert_close(
            gradient, expected[name].grad, atol=1e-5 * scale, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("chunk", [32, 256])
def test_logits_agree_at_the_papers_width(chunk):
    """As Hugging Face draws it: half of its 24 heads forget within few tokens, so sums in a chunk grow long."""
    sizes = {"hidden_size": 768, "num_heads": 24, "head_dim": 64, "state_size": 128, "num_hidden_layers": 3}
    torch.manual_seed(0)
    config = Mamba2Config(
        vocab_size=500, n_groups=1, chunk_size=32, pad_token_id=None, bos_token_id=None, eos_token_id=None, **sizes
    )
    theirs = Mamba2ForCausalLM(config).eval()
    ours = from_mamba2(theirs)
    for mixer in ours.mixers:
        mixer.chunk = chunk
    ids = torch.randint(0, 500, (1, 256))
    with torch.no_grad():
        expected = theirs(ids).logits
        assert (ours(ids).logits - expected).abs().max() < 1e-5 * expected.abs().max()


def test_there_and_back_is_the_same_model(theirs):
    ours = from_mamba2(theirs)
    assert ours.config.ssm_chunk == theirs.config.chunk_size == 32
    back = to_mamba2(ours)
    assert back.config.chunk_size == 32
    assert back.state_dict().keys() == theirs.state_dict().keys()
    for name, weight in back.state_dict().items():
        assert torch.equal(weight, theirs.state_dict()[name]), name


def test_a_model_of_ours_becomes_one_of_theirs():
    ours = build(GroundedLMConfig(vocab_size=50, mixers=("mamba2",) * 2, d_model=32, ssm_d_head=16), 3).eval()
    ids = torch.randint(0, 50, (2, 20))
    with torch.no_grad():
        assert_close(to_mamba2(ours)(ids).logits, ours(ids).logits, atol=1e-5, rtol=1e-6)


def test_what_the_other_side_cannot_hold_is_refused():
    hybrid = build(GroundedLMConfig(vocab_size=9, mixers=("mamba2", "attention"), d_model=32), 0)
    with pytest.raises(ModelError, match="this model has mamba2, attention"):
        to_mamba2(hybrid)
    with pytest.raises(ModelError, match="this model has mamba2, attention"):
        to_gpt2(hybrid)
    with pytest.raises(ModelError, match="use_bias=True"):
        from_mamba2(a_mamba2(use_bias=True))
    with pytest.raises(ModelError, match="bounds its steps"):
        from_mamba2(a_mamba2(time_step_limit=(0.0, 0.1)))
