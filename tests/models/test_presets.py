"""The paper's architectures by name, and weights from a seed alone."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from groundscope.errors import ModelError
from groundscope.models import PRESETS, GroundedLM, GroundedLMConfig, GroundedLSTM, build, preset

A, M = "attention", "mamba2"
# transformers' own count: embeddings, positions, n blocks, the final norm
GPT2_BLOCK = 12 * 768**2 + 13 * 768
# Mamba-2 at 768: in_proj, convolution, dt_bias A D, gated norm, out_proj, the block's norm
MAMBA2_BLOCK = 768 * (2 * 1536 + 256 + 24) + (1536 + 256) * 5 + 3 * 24 + 1536 + 1536 * 768 + 768


def count(config) -> int:
    with torch.device("meta"):
        model = (GroundedLM if isinstance(config, GroundedLMConfig) else GroundedLSTM)(config)
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_paper_s_twelve_layers_have_the_authors_count():
    """154.2M at the authors' 89,057 entries: GPT-2's 1,024 positions are in it, although chunks are 512 long."""
    found = count(preset("transformer-12", 89_057))
    assert found == 89_057 * 768 + 1024 * 768 + 12 * GPT2_BLOCK + 2 * 768
    assert round(found / 1e6, 1) == 154.2
    with torch.device("meta"):
        theirs = GPT2LMHeadModel(GPT2Config(vocab_size=89_057))
    assert found == sum(parameter.numel() for parameter in theirs.parameters())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transformer-4", 100 * 768 + 1024 * 768 + 4 * GPT2_BLOCK + 2 * 768),
        ("transformer-18", 100 * 768 + 1024 * 768 + 18 * GPT2_BLOCK + 2 * 768),
        ("mamba2-4", 100 * 768 + 4 * MAMBA2_BLOCK + 768),
        ("mamba2-12", 100 * 768 + 12 * MAMBA2_BLOCK + 768),
        ("hybrid-middle", 100 * 768 + 1024 * 768 + 8 * GPT2_BLOCK + 4 * MAMBA2_BLOCK + 2 * 768),
        ("hybrid-even", 100 * 768 + 1024 * 768 + 6 * GPT2_BLOCK + 6 * MAMBA2_BLOCK + 2 * 768),
        ("lstm-4", 100 * 768 + 4 * (8 * 768**2 + 8 * 768) + 100),
    ],
)
def test_parameter_counts(name, expected):
    assert count(preset(name, 100)) == expected


def test_the_layers_are_the_papers():
    assert preset("hybrid-middle", 9).mixers == (A, A, A, M, M, M, M, A, A, A, A, A)  # 4 to 7, counted from 1
    assert preset("hybrid-even", 9).mixers == (A, M) * 6
    assert preset("hybrid-middle", 9, n_layers=6).mixers == (A, M, M, A, A, A)
    assert preset("mamba2-4", 9).mixers == (M,) * 4
    assert preset("transformer-18", 9).mixers == (A,) * 18
    assert preset("transformer-4", 9, mixers=[M, A, M]).mixers == (M, A, M)


def test_overrides_reach_the_config_and_heads_follow_the_width():
    config = preset("transformer-12", 9, d_model=128, n_layers=2, dropout=0.0)
    assert (config.n_layers, config.d_model, config.n_heads, config.d_mlp) == (2, 128, 2, 512)
    assert (config.dropout, config.attention_dropout) == (0.0, 0.0)
    assert preset("mamba2-4", 9).dropout == 0
    assert preset("mamba2-4", 9, dropout=0.2).dropout == 0.2


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ModelError, match=r"no model preset 'transformer12'.*Did you mean 'transformer-12'"):
        preset("transformer12", 9)
    with pytest.raises(ModelError, match=r"no setting 'n_head'.*Did you mean 'n_heads'"):
        preset("transformer-4", 9, n_head=2)
    with pytest.raises(ModelError, match="no setting 'n_heads'"):
        preset("lstm-4", 9, n_heads=2)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"d_model": -32}, "d_model should be a whole number of at least 1, given: -32."),
        ({"d_model": 64.5}, "d_model should be a whole number of at least 1, given: 64.5."),
        ({"n_layers": True}, "n_layers should be a whole number of at least 1, given: True."),
        ({"n_heads": 0}, "n_heads should be a whole number of at least 1, given: 0."),
        ({"n_heads": 7}, "does not divide into n_heads=7"),
        ({"dropout": 2}, "dropout should be a number of at least 0 and below 1, given: 2."),
        ({"attention_dropout": "a lot"}, "attention_dropout should be a number of at least 0 and below 1"),
        ({"norm_eps": "1e-5"}, "norm_eps should be a number above 0, given: '1e-5'. It is text; write 1.0e-05"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings should be true or false, given: 'no'."),
        ({"mixers": "attention"}, "mixers should be a list of names"),
        ({"mixers": [5]}, "mixers should be a list of names"),
        ({"mixers": []}, "mixers is empty"),
        ({"vocab_size": 5}, "vocab_size is no setting"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_built(settings, complaint):
    with pytest.raises(ModelError) as error:
        preset("transformer-4", 9, **settings)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="d_model should be"):
        preset("lstm-4", 9, d_model=0)


def test_a_pattern_of_ones_own_leaves_what_else_the_preset_sets():
    pattern = ("mamba2", "attention", "mamba2")
    mixed = preset("mamba2-4", 9, mixers=pattern)
    assert mixed.mixers == pattern
    assert mixed.dropout == preset("mamba2-4", 9).dropout == 0
    assert preset("mamba2-4", 9, mixers=pattern, dropout=0.2).dropout == 0.2


@pytest.mark.parametrize("name", PRESETS)
def test_weights_are_a_function_of_the_seed_alone(name):
    config = preset(name, 40, d_model=32, n_layers=3)
    torch.manual_seed(1)
    first = build(config, 42)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again, other = build(config, 42), build(config, 43)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was moved"
    for (key, one), two, three in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert one.isfinite().all(), key
        assert torch.equal(one, two), key
        assert one.unique().numel() <= 2 or not torch.equal(one, three), key  # constants are no draws


def test_layers_that_two_architectures_share_start_equal():
    plain = build(preset("transformer-12", 40, d_model=32, n_layers=4), 7)
    hybrid = build(preset("hybrid-even", 40, d_model=32, n_layers=4), 7)
    for layer in (0, 2):
        for one, two in zip(plain.blocks[layer].parameters(), hybrid.blocks[layer].parameters(), strict=True):
            assert torch.equal(one, two)
    assert torch.equal(plain.embedding.weight, hybrid.embedding.weight)


def test_gpt2s_spread_and_mamba2s_steps():
    model = build(preset("hybrid-even", 500, d_model=128, n_layers=4), 0)
    attention, mamba = model.mixers[0], model.mixers[1]
    assert abs(model.embedding.weight.std().item() - 0.02) < 5e-4
    assert abs(attention.qkv.weight.std().item() - 0.02) < 5e-4
    assert abs(attention.out.weight.std().item() - 0.02 / 8**0.5) < 5e-4
    assert abs(model.blocks[0].mlp.out.weight.std().item() - 0.02 / 8**0.5) < 5e-4
    steps = torch.nn.functional.softplus(mamba.dt_bias)
    assert steps.min() >= 1e-4
    assert steps.max() <= 0.1 + 1e-6
    assert mamba.A_log.exp().min() >= 1
    assert mamba.A_log.exp().max() <= 16


def test_heads_of_mamba2_begin_where_they_are_told():
    told = {"ssm_dt_min": 0.01, "ssm_dt_max": 1.0, "ssm_a_min": 0.1, "ssm_a_max": 0.2}
    mamba = build(preset("mamba2-4", 50, d_model=128, ssm_d_head=8, **told), 0).mixers[0]
    steps = torch.nn.functional.softplus(mamba.dt_bias)
    assert 0.01 - 1e-6 <= steps.min() < 0.1 < steps.max() <= 1 + 1e-6
    assert 0.1 <= mamba.A_log.exp().min() <= mamba.A_log.exp().max() <= 0.2
    with pytest.raises(ModelError, match=r"ssm_dt_min=.* is above ssm_dt_max="):
        preset("mamba2-4", 50, ssm_dt_min=0.5)
