"""GroundedLM of attention layers against Hugging Face's GPT-2, both ways."""

import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from groundscope.errors import ModelError
from groundscope.models import GroundedVLMConfig, build
from groundscope.models.convert import from_gpt2, gpt2_names, rename, to_gpt2

LENGTHS = (1, 7, 64, 512)


def a_gpt2(**changes) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 211, "n_positions": 512, "n_embd": 32, "n_layer": 3, "n_head": 4}
    model = GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None, **{**sizes, **changes})).eval()
    for parameter in model.parameters():  # biases and norms too, which are all alike at the start
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def theirs() -> GPT2LMHeadModel:
    return a_gpt2()


@pytest.mark.parametrize("length", LENGTHS)
def test_logits_and_loss_agree(theirs, length):
    ours = from_gpt2(theirs)
    ids = torch.randint(0, 211, (2, length))
    with torch.no_grad():
        assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=0)
        if length > 1:
            assert_close(ours(ids, labels=ids).loss, theirs(ids, labels=ids).loss, atol=1e-6, rtol=0)


@pytest.mark.parametrize("length", [7, 64, 512])
def test_gradients_agree_parameter_by_parameter(theirs, length):
    ours = from_gpt2(theirs)
    ids = torch.randint(0, 211, (2, length))
    for model in (ours, theirs):
        model.zero_grad()
        model(ids, labels=ids).loss.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters(remove_duplicate=False)}
    expected = dict(theirs.named_parameters(remove_duplicate=False))
    renamed = rename(gradients, gpt2_names(ours.config))
    assert renamed.keys() == expected.keys()
    for name, gradient in renamed.items():
        assert_close(gradient, expected[name].grad, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_there_and_back_is_the_same_model(theirs):
    back = to_gpt2(from_gpt2(theirs))
    assert back.state_dict().keys() == theirs.state_dict().keys()
    for name, weight in back.state_dict().items():
        assert torch.equal(weight, theirs.state_dict()[name]), name
    ids = torch.randint(0, 211, (1, 40))
    assert torch.equal(back(ids).logits, theirs(ids).logits)


def test_untied_and_half_width_are_kept():
    model = a_gpt2(tie_word_embeddings=False, n_inner=48).to(torch.bfloat16)
    ours = from_gpt2(model)
    assert ours.dtype == torch.bfloat16
    assert ours.config.d_mlp == 48
    assert torch.equal(ours.unembedding, model.lm_head.weight)
    assert not torch.equal(ours.unembedding, ours.embedding.weight)


def test_hidden_states_are_hugging_faces(theirs):
    ids = torch.randint(0, 211, (2, 9))
    found = from_gpt2(theirs)(ids, output_hidden_states=True).hidden_states
    expected = theirs(ids, output_hidden_states=True).hidden_states
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation_function": "relu"}, "activation_function=relu"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ({"embd_pdrop": 0.0}, "one dropout for both"),
    ],
)
def test_variants_that_differ_are_refused(change, said):
    with pytest.raises(ModelError, match=said):
        from_gpt2(a_gpt2(**change))


def test_logits_agree_at_the_papers_width():
    theirs = a_gpt2(n_embd=768, n_layer=2, n_head=12)
    ours = from_gpt2(theirs)
    ids = torch.randint(0, 211, (1, 256))
    with torch.no_grad():
        expected = theirs(ids).logits
        assert (ours(ids).logits - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_model_that_sees_is_not_made_blind_silently():
    config = GroundedVLMConfig(vocab_size=9, mixers=("attention",), d_model=32, d_patch=8, projector="linear")
    with pytest.raises(ModelError, match="reads words only, this model is shown pictures"):
        to_gpt2(build(config, 0))
