import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from groundscope.behaviour import surprisal as module
from groundscope.behaviour.prompts import render, targets
from groundscope.behaviour.surprisal import surprisal, surprisal_cube
from groundscope.models.pretrained import PretrainedLM


def test_surprisal_is_that_of_the_full_logits(any_model, vocabulary):
    ids = torch.randint(len(vocabulary), (9, 11), generator=torch.Generator().manual_seed(0))
    wanted = torch.arange(5, 12)
    with torch.no_grad():
        expected = -torch.log_softmax(any_model(ids).logits[:, -1].double(), dim=-1)[:, wanted]
    torch.testing.assert_close(surprisal(any_model, ids, wanted).double(), expected, atol=1e-5, rtol=0)


def test_a_models_soft_cap_bounds_its_logits():
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
    config = Gemma2Config(**sizes, intermediate_size=24, num_key_value_heads=1, final_logit_softcapping=0.5)
    model = PretrainedLM(Gemma2ForCausalLM(config).eval())
    ids, wanted = torch.arange(12).view(2, 6), torch.tensor([3, 9])
    with torch.no_grad():
        expected = -torch.log_softmax(model(ids).logits[:, -1], dim=-1)[:, wanted]
    torch.testing.assert_close(surprisal(model, ids, wanted), expected, atol=1e-5, rtol=0)


def test_probabilities_over_the_vocabulary_sum_to_one(any_model, vocabulary):
    ids = torch.zeros(3, 4, dtype=torch.int64)
    whole = surprisal(any_model, ids, torch.arange(len(vocabulary)))
    torch.testing.assert_close(torch.exp(-whole).sum(dim=1), torch.ones(3))


def test_batching_does_not_change_the_numbers(model, vocabulary, nouns, contexts, monkeypatch):
    forms = [noun.form for noun in nouns]
    prompts = [render(context, forms, vocabulary) for context in contexts.shared]
    assert len({p.ids.shape[1] for p in prompts}) > 1, "contexts of several lengths go in together"
    wanted = targets(forms, vocabulary)
    together = surprisal_cube(model, prompts, wanted)
    monkeypatch.setattr(module, "BATCH_TOKENS", 1)
    alone = torch.stack([surprisal(model, p.ids, wanted) for p in prompts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_half_precision_stays_near(model, vocabulary):
    ids = torch.randint(len(vocabulary), (4, 9), generator=torch.Generator().manual_seed(1))
    wanted = torch.arange(20)
    full = surprisal(model, ids, wanted)
    half = surprisal(model, ids, wanted, precision=torch.bfloat16)
    assert half.dtype == torch.float32
    assert 0 < (full - half).abs().max() < 0.1


def test_nothing_is_left_behind(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    found = surprisal(model, torch.zeros(1, 3, dtype=torch.int64), torch.tensor([1]))
    assert not found.requires_grad
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in model.named_parameters())


def test_a_certain_model_has_no_surprisal(model, vocabulary):
    class Sure(type(model)):
        @property
        def output_bias(self):
            bias = torch.full((len(vocabulary),), -100.0)
            bias[7] = 100.0
            return bias

    model.__class__, plain = Sure, model.__class__
    try:
        found = surprisal(model, torch.zeros(1, 3, dtype=torch.int64), torch.tensor([7, 8]))
    finally:
        model.__class__ = plain
    assert found[0, 0] == pytest.approx(0, abs=1e-6)
    assert found[0, 1] > 150
