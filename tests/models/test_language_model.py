"""GroundedLM and GroundedLSTM as language models: their promises, Hugging Face's conventions, and what they refuse."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

from groundscope.errors import ModelError
from groundscope.models import (
    GroundedLM,
    GroundedLMConfig,
    GroundedLSTM,
    GroundedLSTMConfig,
    GroundedVLMConfig,
    build,
    linear_cross_entropy,
)

VOCAB = 60
KINDS = {
    "attention": GroundedLMConfig(vocab_size=VOCAB, mixers=("attention",) * 2, d_model=32, n_heads=4, n_positions=40),
    "mamba2": GroundedLMConfig(vocab_size=VOCAB, mixers=("mamba2",) * 2, d_model=32, ssm_d_head=16, ssm_chunk=8),
    "hybrid": GroundedLMConfig(vocab_size=VOCAB, mixers=("mamba2", "attention"), d_model=32, n_heads=4, ssm_mlp=True),
    "untied": GroundedLMConfig(vocab_size=VOCAB, mixers=("attention",), d_model=32, tie_word_embeddings=False),
    "lstm": GroundedLSTMConfig(vocab_size=VOCAB, n_layers=2, d_model=32),
    "untied lstm": GroundedLSTMConfig(vocab_size=VOCAB, n_layers=1, d_model=32, tie_word_embeddings=False),
}  # fmt: skip
IDS = torch.randint(0, VOCAB, (2, 13), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def model(request):
    return build(request.param, 1).eval()


def test_the_promises_hold_together(model):
    stream = model.residual_stream(IDS)
    assert len(stream) == model.n_layers + 1
    assert all(state.shape == (2, 13, 32) for state in stream)
    hidden = model.hidden(IDS)
    assert torch.equal(model.final_norm(stream[-1]), hidden)
    bias = 0 if model.output_bias is None else model.output_bias
    assert_close(model(IDS).logits, hidden @ model.unembedding.T + bias)
    assert len(model.mixers) in (0, model.n_layers)
    expected = {GroundedLM: [m.n_heads for m in model.mixers], GroundedLSTM: [0] * model.n_layers}[type(model)]
    assert [model.heads(layer) for layer in range(model.n_layers)] == expected


def test_tied_means_one_matrix(model):
    tied = model.config.tie_word_embeddings
    assert (model.unembedding is model.embedding.weight) == tied


def test_the_loss_is_hugging_faces_and_the_chunked_one(model):
    labels = IDS.clone()
    labels[0, 5:8] = -100
    output = model(IDS, labels=labels)
    expected = cross_entropy(output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert_close(output.loss, expected)
    hidden = model.hidden(IDS)[:, :-1].flatten(0, 1)
    assert_close(
        linear_cross_entropy(hidden, model.unembedding, labels[:, 1:].flatten(), model.output_bias), expected,
        atol=1e-6, rtol=1e-6,
    )  # fmt: skip


def test_no_position_sees_what_comes_after(model):
    changed = IDS.clone()
    changed[:, 9] = (changed[:, 9] + 1) % VOCAB
    before, after = model(IDS).logits, model(changed).logits
    assert_close(after[:, :9], before[:, :9], atol=1e-6, rtol=1e-6)
    assert (after[:, 9:] - before[:, 9:]).abs().amax(-1).min() > 1e-6


def test_padding_on_the_right_is_harmless_and_on_the_left_refused(model):
    mask = torch.ones_like(IDS)
    mask[1, 10:] = 0
    assert_close(model(IDS, attention_mask=mask).logits[1, :10], model(IDS[1:, :10]).logits[0], atol=1e-6, rtol=1e-5)
    with pytest.raises(ModelError, match="Pad on the right"):
        model(IDS, attention_mask=mask.flip(1))


def test_ids_outside_the_vocabulary_are_named(model):
    wrong = IDS.clone()
    wrong[1, 2] = VOCAB
    with pytest.raises(ModelError, match=f"0 to {VOCAB - 1}, got 0 to {VOCAB}.*another vocabulary"):
        model(wrong)


def test_attention_weights_are_answered_by_the_gate_only(model):
    with pytest.raises(ModelError, match="watch"):
        model(IDS, output_attentions=True)


def test_the_trainer_of_hugging_face_is_to_scale_the_loss(model):
    """Who takes any keyword is thought to divide by the Trainer's num_items_in_batch, unless it says no."""
    assert model.accepts_loss_kwargs is False


def test_position_ids_may_say_what_is_so_and_nothing_else(model):
    counted = torch.arange(13)[None]
    assert torch.equal(model(IDS, position_ids=counted).logits, model(IDS).logits)
    packed = torch.tensor([[*range(6), *range(7)]])
    with pytest.raises(ModelError, match=r"do not count.*a row of its own"):
        model(IDS, position_ids=packed)


def test_logits_are_kept_where_asked_and_never_beside_a_loss(model):
    logits = model(IDS).logits
    assert_close(model(IDS, logits_to_keep=4).logits, logits[:, -4:])
    assert_close(model(IDS, logits_to_keep=torch.tensor([3, 5])).logits, logits[:, [3, 5]])
    for keep in (4, torch.tensor([3, 5])):
        with pytest.raises(ModelError, match="leave logits_to_keep out"):
            model(IDS, labels=IDS, logits_to_keep=keep)


def test_it_generates_and_greedily_so(model):
    ids = IDS[:, :4]
    generated = model.generate(ids, max_new_tokens=5, do_sample=False)
    assert generated.shape == (2, 9)
    assert torch.equal(generated[:, :4], ids)
    assert torch.equal(model(generated[:, :-1]).logits[:, -1].argmax(-1), generated[:, -1])


def test_saved_models_are_loaded_by_hugging_faces_auto_classes(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors",
    ]  # fmt: skip
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is type(model.config)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_training_in_bf16_goes_down_and_drops_at_random(model):
    model = build(model.config, 2)
    assert model.training
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(12):
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.hidden(IDS)[:, :-1].flatten(0, 1)
            loss = linear_cross_entropy(hidden, model.unembedding, IDS[:, 1:].flatten(), model.output_bias)
        loss.backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    assert not torch.equal(model.hidden(IDS), model.hidden(IDS))


def test_inputs_longer_than_the_positions_are_refused_and_mamba2_has_no_such_limit():
    long = torch.zeros(1, 41, dtype=torch.long)
    with pytest.raises(ModelError, match="41 tokens long, the model has n_positions=40"):
        build(KINDS["attention"], 0)(long)
    assert build(KINDS["mamba2"], 0).eval()(long).logits.shape == (1, 41, VOCAB)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mixers": ("attention", "mamba")}, "Layer 1 wants mixer 'mamba'.*Did you mean 'mamba2'"),
        ({"mixers": ()}, "at least one layer"),
        ({"d_model": 30, "n_heads": 4}, "d_model=30 does not divide into n_heads=4"),
        ({"mixers": ("mamba2",), "d_model": 24}, "48 wide, which does not divide into heads of ssm_d_head=64"),
        (
            {"mixers": ("mamba2",), "d_model": 96, "ssm_n_groups": 2},
            "3 Mamba-2 heads do not divide into ssm_n_groups=2",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(ModelError, match=said):
        GroundedLMConfig(vocab_size=9, **settings)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        (GroundedLMConfig, "n_head", "n_heads"),
        (GroundedLMConfig, "attn_dropout", "attention_dropout"),
        (GroundedVLMConfig, "projectr", "projector"),
        (GroundedLSTMConfig, "n_layer", "n_layers"),
    ],
)
def test_misspelt_settings_are_refused_and_what_hugging_face_keeps_is_not(kind, wrong, right):
    with pytest.raises(ModelError, match=f"A {kind.__name__} has no setting '{wrong}'. Did you mean '{right}'"):
        kind(**{wrong: 1})
    theirs = {"num_labels": 3, "torch_dtype": "float32", "pruned_heads": {}, "num_beams": 2, "bos_token_id": 1}
    assert kind(**theirs, max_position_embeddings=9, auto_map={}).num_labels == 3


def test_an_lstm_needs_a_layer():
    with pytest.raises(ModelError, match="n_layers should be a whole number of at least 1"):
        GroundedLSTMConfig(n_layers=0)


def test_an_lstm_is_torchs_stacked_lstm():
    model = build(GroundedLSTMConfig(vocab_size=VOCAB, n_layers=3, d_model=16), 0).eval()
    stacked = torch.nn.LSTM(16, 16, num_layers=3, batch_first=True)
    for layer, own in enumerate(model.layers):
        for name, weight in own.named_parameters():
            getattr(stacked, name.replace("_l0", f"_l{layer}")).data.copy_(weight.data)
    assert_close(stacked(model.residual_stream(IDS)[0])[0], model.hidden(IDS))
