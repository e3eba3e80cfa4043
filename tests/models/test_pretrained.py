"""Wrapping Hugging Face models: what is found in them, what is refused, and that nothing is left behind."""

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from groundscope.errors import ModelError
from groundscope.models import GroundedLMConfig, build
from groundscope.models.gate import Gate, gated
from groundscope.models.hub import from_pretrained
from groundscope.models.pretrained import PretrainedLM
from groundscope.models.wording import word_listed, word_prompt

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SPECIALS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
IDS = torch.tensor([[3, 7, 12, 5, 9], [4, 4, 31, 30, 8]])


def tiny(kind=hf.LlamaForCausalLM, config=hf.LlamaConfig, **changes):
    torch.manual_seed(0)
    return kind(config(**{**SIZES, **SPECIALS, **changes})).eval()


def everything(model):
    """All that a wrapper could leave behind in a model."""
    return (
        {name: sorted(vars(module)) for name, module in model.named_modules()},
        [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()],
        [(parameter.requires_grad, parameter.sum().item()) for parameter in model.parameters()],
        [part.training for part in model.modules()],
        model.config._attn_implementation,
        model.config.to_dict(),
    )


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_left_behind(implementation, training):
    model = tiny().train(training)
    model.set_attn_implementation(implementation)
    before = everything(model)
    lm = PretrainedLM(model).eval()
    with gated(lm, {0: Gate(torch.zeros(1, 2, 1, 1), watch=lambda _: None)}):
        lm(IDS)
        lm.hidden(IDS)
        assert model.config._attn_implementation == implementation, "only the call itself may see another function"
    lm.residual_stream(IDS)
    model.train(training)
    assert everything(model) == before


def test_nothing_is_left_behind_after_an_error():
    model = tiny()
    before = everything(model)
    lm = PretrainedLM(model)

    def fail(_):
        raise RuntimeError("a watch that fails")

    with pytest.raises(RuntimeError, match="watch"), gated(lm, {1: Gate(torch.ones(1, 1, 1, 1), watch=fail)}):
        lm(IDS)
    assert everything(model) == before
    torch.testing.assert_close(lm(IDS).logits, model(IDS).logits, atol=0, rtol=0)


def test_two_wrapped_models_do_not_see_each_others_gates():
    one, other = PretrainedLM(tiny()), PretrainedLM(tiny())
    whole = other(IDS).logits
    with gated(one, {0: Gate(torch.zeros(1, 1, 1, 1))}):
        assert not torch.equal(one(IDS).logits, whole)
        torch.testing.assert_close(other(IDS).logits, whole, atol=0, rtol=0)


def test_a_gate_that_the_wrapper_does_not_own_leaves_the_wrapped_model_alone():
    model = tiny()
    lm = PretrainedLM(model)
    alone = model(IDS).logits
    with gated(lm, {0: Gate(torch.zeros(1, 1, 1, 1))}):
        torch.testing.assert_close(model(IDS).logits, alone, atol=0, rtol=0)


def test_gradients_reach_the_weights_as_in_the_model_itself():
    model = tiny()
    loss = model(IDS, labels=IDS).loss
    (expected,) = torch.autograd.grad(loss, [model.get_input_embeddings().weight])
    lm = PretrainedLM(model)
    with gated(lm, {0: Gate(torch.ones(1, 1, 1, 1), watch=lambda _: None)}):
        loss = lm(IDS, labels=IDS).loss
    (found,) = torch.autograd.grad(loss, [model.get_input_embeddings().weight])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)


def test_padding_on_the_left_is_honoured_under_a_gate():
    lm = PretrainedLM(tiny())
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), IDS], dim=1)
    mask = torch.cat([torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with gated(lm, {0: Gate(torch.ones(1, 1, 8, 8)), 1: Gate(torch.ones(1, 1, 8, 8))}):
        found = lm(padded, attention_mask=mask, position_ids=positions).logits[:, 3:]
    torch.testing.assert_close(found, lm(IDS).logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["granite", "cohere", "gemma2"])
def test_logits_follow_from_hidden_where_a_model_scales_or_bounds_them(kind):
    model = {
        "granite": lambda: tiny(hf.GraniteForCausalLM, hf.GraniteConfig, logits_scaling=8.0),
        "cohere": lambda: tiny(hf.CohereForCausalLM, hf.CohereConfig, logit_scale=0.25),
        "gemma2": lambda: tiny(
            hf.Gemma2ForCausalLM, hf.Gemma2Config, num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5
        ),
    }[kind]()
    lm = PretrainedLM(model)
    logits = lm.hidden(IDS) @ lm.unembedding.T
    if lm.softcap is not None:
        logits = lm.softcap * torch.tanh(logits / lm.softcap)
    torch.testing.assert_close(logits, model(IDS).logits, atol=1e-6, rtol=0)
    assert (lm.softcap is not None) == (kind == "gemma2")


def test_a_scaled_unembedding_is_made_once_and_again_when_the_weights_change():
    lm = PretrainedLM(tiny(hf.CohereForCausalLM, hf.CohereConfig, logit_scale=0.25))
    with torch.inference_mode():
        first = lm.unembedding
    assert lm.unembedding is first
    states = torch.ones(1, 16, requires_grad=True)
    (states @ first.T).sum().backward()  # what was made without gradients serves those of others
    torch.testing.assert_close(states.grad[0], first.sum(0))
    with torch.no_grad():
        lm.get_output_embeddings().weight.mul_(2)
    torch.testing.assert_close(lm.unembedding, 2 * first)
    assert lm.double().unembedding.dtype == torch.float64


def test_layers_without_attention_have_no_heads_and_refuse_gates():
    config = {
        "num_key_value_heads": 1,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 2,
        "mamba_d_state": 4,
    }
    lm = PretrainedLM(tiny(hf.JambaForCausalLM, hf.JambaConfig, **config))
    assert [lm.heads(layer) for layer in range(lm.n_layers)] == [0, 2]
    with (
        pytest.raises(ModelError, match="Layer 0 of this JambaForCausalLM"),
        gated(lm, {0: Gate(torch.ones(1, 1, 1, 1))}),
    ):
        lm(IDS)


def test_a_model_without_mixing_matrices_has_none():
    config = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_heads": 4, "head_dim": 8, "n_groups": 1}
    torch.manual_seed(0)
    lm = PretrainedLM(hf.Mamba2ForCausalLM(hf.Mamba2Config(**config, state_size=8)).eval())
    assert (lm.mixers, lm.heads(0), lm.n_layers) == ([], 0, 2)
    torch.testing.assert_close(lm.hidden(IDS) @ lm.unembedding.T, lm(IDS).logits, atol=1e-6, rtol=0)


def test_attention_that_cannot_be_gated_says_so_and_reads_all_the_same():
    torch.manual_seed(0)
    lm = PretrainedLM(hf.BloomForCausalLM(hf.BloomConfig(vocab_size=40, hidden_size=16, n_layer=2, n_head=2)).eval())
    with pytest.raises(ModelError, match="BloomForCausalLM does not let its attention function be chosen"):
        _ = lm.mixers
    assert len(lm.residual_stream(IDS)) == 3


def test_hidden_states_are_the_stream_and_attentions_are_refused():
    lm = PretrainedLM(tiny())
    states = lm(IDS, output_hidden_states=True).hidden_states
    assert len(states) == 3
    torch.testing.assert_close(states[-1], lm.hidden(IDS), atol=0, rtol=0)
    with pytest.raises(ModelError, match="watch"):
        lm(IDS, output_attentions=True)


def test_models_that_see_the_future_are_refused():
    with pytest.raises(ModelError, match="BertLMHeadModel is not causal"):
        PretrainedLM(tiny(hf.BertLMHeadModel, hf.BertConfig))


def test_a_gate_refuses_cached_keys():
    lm = PretrainedLM(tiny())
    past = lm.model(IDS, use_cache=True).past_key_values
    with (
        pytest.raises(ModelError, match="use_cache=False"),
        gated(lm, {0: Gate(torch.ones(1, 1, 1, 1))}),
    ):
        lm(IDS[:, :1], past_key_values=past)


# --- loading -----------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    tiny().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_loads_in_eval_mode_with_the_same_numbers(saved):
    lm = from_pretrained(saved)
    assert isinstance(lm, PretrainedLM)
    assert not lm.training
    torch.testing.assert_close(lm(IDS).logits, tiny()(IDS).logits, atol=0, rtol=0)


def test_our_own_checkpoints_load_as_themselves(tmp_path):
    config = GroundedLMConfig(vocab_size=20, mixers=("attention", "mamba2"), d_model=16, n_heads=2, ssm_d_head=8)
    model = build(config, seed=0).eval()
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    assert type(again) is type(model)
    torch.testing.assert_close(again.hidden(IDS % 20), model.hidden(IDS % 20), atol=0, rtol=0)


def test_missing_weights_are_refused_not_invented(tmp_path):
    hf.LlamaModel(hf.LlamaConfig(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lacks weights of a LlamaForCausalLM \(lm_head.weight"):
        from_pretrained(tmp_path)


def test_damaged_weights_are_named(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:64])
    with pytest.raises(ModelError, match="damaged"):
        from_pretrained(saved)


def test_models_of_another_kind_are_refused(tmp_path):
    hf.T5Config(vocab_size=10, d_model=8, d_ff=8, num_layers=1, num_heads=1).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not a causal language model that transformers knows"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("no-one/nothing", {"revision": "step1000"}, "at revision 'step1000' could not be loaded.*hf download"),
        ("./nowhere", {}, "no such folder"),
        ("a/b/c", {}, "no such folder"),
        ("SAVED", {"revision": "step1000"}, "is a folder: it has no revision"),
        ("SAVED", {"dtype": "float23"}, "Did you mean 'float32'"),
        ("SAVED", {"device": "gpu"}, "no device 'gpu'"),
        ("SAVED", {"device": "cuda:63"}, "no device 'cuda:63' here"),
        ("SAVED", {"device": "meta"}, "no device 'meta' here"),
        ("EMPTY", {}, "it has no config.json"),
    ],
)
def test_what_cannot_be_loaded_is_explained(saved, tmp_path, name, options, says):
    folders = {"SAVED": saved, "EMPTY": tmp_path}
    with pytest.raises(ModelError, match=says):
        from_pretrained(folders.get(name, name), **options)


# --- text --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer():
    """Cuts at spaces; 'hippo' is one word and 'hippopotamus' three pieces; starts a text with <s>."""
    pieces = ["<s>", "<unk>", "I", "saw", "a", "ball", "hippo", "##pot", "##amus", "the", "Ball"]
    inner = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")


def test_a_prompt_says_its_conventions_and_where_the_ground_stands(tokenizer):
    wording = word_prompt(tokenizer, "I saw a ball the ball a", "hippo", "ball")
    assert wording.ids == (0, 2, 3, 4, 5, 9, 5, 4)
    assert wording.ground == (6,), "the last of two"
    assert wording.target == (6,)
    assert wording.convention == "the prompt starts with <s>, as its tokenizer does; the target follows after one space"


def test_words_of_several_pieces_are_refused_with_their_pieces_or_allowed(tokenizer):
    with pytest.raises(ModelError, match=r"3 pieces, \['hippo', '##pot', '##amus'\]"):
        word_prompt(tokenizer, "I saw a", "hippopotamus")
    assert word_prompt(tokenizer, "I saw a", "hippopotamus", target_pieces="sum").target == (6, 7, 8)


def test_a_ground_of_several_pieces_has_all_their_positions(tokenizer):
    assert word_prompt(tokenizer, "I saw a hippopotamus the", "ball", "hippopotamus").ground == (4, 5, 6)


def test_a_ground_is_a_word_before_it_is_a_part_of_one(tokenizer):
    assert word_prompt(tokenizer, "I saw hippo hippopotamus the", "ball", "hippo").ground == (3,)
    assert word_prompt(tokenizer, "I saw a hippopotamus the", "ball", "hippo").ground == (4,)


def test_texts_that_cannot_be_scored_are_refused(tokenizer):
    with pytest.raises(ModelError, match="does not hold the ground 'horse'"):
        word_prompt(tokenizer, "I saw a", "ball", "horse")
    with pytest.raises(ModelError, match="does not cut ' ' off"):
        word_prompt(tokenizer, "I saw a", " ")
    with pytest.raises(ModelError, match="target is empty"):
        word_prompt(tokenizer, "I saw a", "")
    with pytest.raises(ModelError, match=r"does not know 'zebra': it reads \['<unk>'\]"):
        word_prompt(tokenizer, "I saw a", "zebra")
    with pytest.raises(ModelError, match="without a tokenizer"):
        word_prompt(None, "I saw a", "ball")


def test_a_prompt_of_our_own_tokens_is_taken_as_it_is():
    tokens = ["<doc>", "<CHI>", "a<ENV>", "horse<ENV>", "the<LAN>", "horse<LAN>"]
    wording = word_listed(tokens, "<CHI> a<ENV> horse<ENV> <CHI> the<LAN>", "horse<LAN>", "horse<ENV>")
    assert (wording.ids, wording.ground, wording.target) == ((1, 2, 3, 1, 4), (2,), (5,))
    with pytest.raises(ModelError, match=r"no 'hors<ENV>'\. Did you mean 'horse<ENV>'"):
        word_listed(tokens, "<CHI> a<ENV> hors<ENV>", "horse<LAN>")
    with pytest.raises(ModelError, match=r"no 'Look'\. A word is written with its channel: horse<ENV> is shown"):
        word_listed(tokens, "Look at the horse, the", "horse", "horse")  # as one would ask another's model
    with pytest.raises(ModelError, match="does not hold the ground"):
        word_listed(tokens, "<CHI> a<ENV>", "horse<LAN>", "horse<ENV>")


@pytest.mark.real
def test_a_real_model_reads_a_ground(real_data):
    lm = from_pretrained(real_data / "weights" / "stories15M")
    wording = word_prompt(lm.tokenizer, "Lily saw a big red ball. She wanted to play with the", "ball", "ball")
    log_p = lm(torch.tensor([wording.ids])).logits[0, -1].log_softmax(-1)
    assert -log_p[list(wording.target)].item() < 0.1
    other = word_prompt(lm.tokenizer, "Lily saw a big red hat. She wanted to play with the", "ball", "hat")
    assert -lm(torch.tensor([other.ids])).logits[0, -1].log_softmax(-1)[list(other.target)].item() > 1
