"""Lenses: what they compute, what training does and leaves alone, and what is refused."""

import numpy as np
import pytest
import torch

from groundscope.errors import AnalysisError
from groundscope.mechanism.lens import LinearLens, LogitLens, TunedLens, lens_surprisal, predicting
from groundscope.mechanism.lens_divergence import lens_divergence
from groundscope.mechanism.lens_files import load_lens, save_lens
from groundscope.mechanism.lens_training import LensOptions, _clipped, lens_fit, train_lens
from groundscope.models import GroundedLMConfig, GroundedLSTMConfig, build, preset

VOCABULARY = 30


@pytest.fixture(params=["attention", "mamba2", "lstm"])
def model(request):
    if request.param == "lstm":
        config = GroundedLSTMConfig(vocab_size=VOCABULARY, n_layers=2, d_model=16)
    else:
        config = GroundedLMConfig(
            vocab_size=VOCABULARY, mixers=(request.param,) * 2, d_model=16, n_heads=2, ssm_d_head=8, ssm_d_state=4
        )
    model = build(config, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():  # far enough from the start that layers differ in what they say
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


@pytest.fixture
def chunks():
    return np.random.default_rng(0).integers(0, VOCABULARY, (24, 12)).astype(np.int32)


def quick(**changes):
    return LensOptions(**{"steps": 6, "tokens_per_step": 48, **changes})


def prompts():
    ids = torch.randint(0, VOCABULARY, (7, 9), generator=torch.Generator().manual_seed(3))
    return ids, torch.arange(7)


# --- what a lens computes ----------------------------------------------------------------------------------------


def test_an_untrained_tuned_lens_is_the_logit_lens(model):
    both = [lens_surprisal(model, kind.from_model(model), *prompts()) for kind in (LogitLens, TunedLens)]
    torch.testing.assert_close(*both, atol=0, rtol=0)


def test_the_last_column_is_the_models_own_surprisal(model):
    found = lens_surprisal(model, LogitLens.from_model(model), *prompts())
    log_p = model(prompts()[0]).logits[:, -1].log_softmax(-1)
    assert found.shape == (7, 3)
    torch.testing.assert_close(found[:, -1], -log_p[range(7), range(7)], atol=1e-6, rtol=0)


def test_a_lens_reads_each_layer_by_its_own_map(model):
    lens = TunedLens.from_model(model)
    with torch.no_grad():
        lens.weight.normal_(0, 0.3)
        lens.bias.normal_(0, 0.3)
    stream = model.residual_stream(prompts()[0])
    for layer in range(2):
        state = stream[layer]
        readable = model.final_norm(state + state @ lens.weight[layer].T + lens.bias[layer])
        expected = readable @ model.unembedding.T + (0 if model.output_bias is None else model.output_bias)
        torch.testing.assert_close(lens(model, state, layer), expected, atol=1e-5, rtol=0)
    by_layer = torch.stack([lens(model, stream[i][:, -1], i).log_softmax(-1) for i in range(2)], dim=1)
    picked = -by_layer[range(7), :, range(7)]
    torch.testing.assert_close(lens_surprisal(model, lens, *prompts())[:, :2], picked, atol=1e-5, rtol=0)


def test_the_linear_lens_is_an_affine_map_a_norm_and_the_unembedding(model):
    lens = LinearLens.from_model(model)
    with torch.no_grad():
        for parameter in lens.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    state = model.residual_stream(prompts()[0])[1]
    norm = torch.nn.LayerNorm(16)
    norm.weight.data, norm.bias.data = lens.norm_weight[1].data, lens.norm_bias[1].data
    expected = norm(state @ lens.weight[1].T + lens.bias[1]) @ model.unembedding.T
    expected = expected + (0 if model.output_bias is None else model.output_bias)
    torch.testing.assert_close(lens(model, state, 1), expected, atol=1e-5, rtol=0)


def test_batches_do_not_change_the_numbers(model):
    lens = LogitLens.from_model(model)
    whole = lens_surprisal(model, lens, *prompts())
    torch.testing.assert_close(lens_surprisal(model, lens, *prompts(), batch_size=2), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", [-1, 2])
def test_a_layer_without_a_lens_is_refused(model, layer):
    with pytest.raises(AnalysisError, match="2 is the model's own output"):
        LogitLens.from_model(model)(model, torch.zeros(1, 16), layer)


# --- the divergence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("part", [1, 7, 1000])
def test_the_divergence_and_its_gradient_are_those_of_the_full_logits(monkeypatch, softcap, biased, part):
    draw = torch.Generator().manual_seed(0)
    lens = torch.randn(3, 20, 8, generator=draw, dtype=torch.double, requires_grad=True)
    final = torch.randn(20, 8, generator=draw, dtype=torch.double)
    unembedding = torch.randn(50, 8, generator=draw, dtype=torch.double)
    bias = torch.randn(50, generator=draw, dtype=torch.double) if biased else None
    monkeypatch.setattr("groundscope.mechanism.lens_divergence._LOGITS_BYTES", part * 50 * 8)

    def log_softmax(states):
        logits = states @ unembedding.T + (0 if bias is None else bias)
        return (logits if softcap is None else softcap * torch.tanh(logits / softcap)).log_softmax(-1)

    p = log_softmax(final)
    expected = (p.exp() * (p - log_softmax(lens))).sum(-1).mean(-1)
    found = lens_divergence(lens, final, unembedding, bias, softcap)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weights = torch.tensor([1.0, 0.3, -2.0], dtype=torch.double)
    torch.testing.assert_close(
        torch.autograd.grad(found @ weights, lens)[0],
        torch.autograd.grad(expected @ weights, lens)[0],
        atol=1e-12,
        rtol=0,
    )


def test_bfloat16_products_are_close():
    draw = torch.Generator().manual_seed(0)
    lens, final = torch.randn(2, 64, 32, generator=draw), torch.randn(64, 32, generator=draw)
    unembedding = torch.randn(200, 32, generator=draw) / 4
    exact = lens_divergence(lens, final, unembedding)
    rough = lens_divergence(lens, final, unembedding.bfloat16())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, atol=2e-2, rtol=0)


# --- training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tuned", "linear"])
def test_training_lowers_the_divergence_on_chunks_it_did_not_see(model, chunks, kind):
    held_out = np.random.default_rng(9).integers(0, VOCABULARY, (8, 12)).astype(np.int32)
    lens, losses = train_lens(model, chunks, quick(kind=kind, learning_rate=0.02), seed=0)
    before = lens_fit(model, type(lens).from_model(model), held_out)
    after = lens_fit(model, lens, held_out)
    assert losses.shape == (6, 2)
    assert (after < before).all(), (before, after)


def test_the_first_loss_is_the_divergence_of_the_untrained_lens(model, chunks):
    _, losses = train_lens(model, chunks, quick(tokens_per_step=24 * 12, steps=1), seed=0)
    torch.testing.assert_close(losses[0], lens_fit(model, LogitLens.from_model(model), chunks), atol=1e-5, rtol=0)


def test_the_model_is_left_exactly_as_found(model, chunks):
    model.train()
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_lens(model, chunks, quick(), seed=0)
    assert model.training
    assert not frozen.requires_grad
    assert all(parameter.requires_grad for parameter in list(model.parameters())[1:])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_lens_and_another_another(model, chunks):
    one, again, other = (train_lens(model, chunks, quick(), seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one.weight, again.weight)
    assert not torch.equal(one.weight, other.weight)


def test_a_layer_with_a_steep_gradient_does_not_slow_the_others():
    gradients = [torch.tensor([[[30.0, 40.0]], [[0.3, 0.4]]]), torch.tensor([[0.0], [0.2]])]
    weight, bias = _clipped(gradients, 1.0)
    torch.testing.assert_close(weight, torch.tensor([[[0.6, 0.8]], [[0.3, 0.4]]]))
    torch.testing.assert_close(bias, torch.tensor([[0.0], [0.2]]))


def test_micro_batches_do_not_change_the_lens(model, chunks):
    whole, _ = train_lens(model, chunks, quick(), seed=0)
    parts, _ = train_lens(model, chunks, quick(), seed=0, budget=1)
    torch.testing.assert_close(parts.weight, whole.weight, atol=1e-4, rtol=1e-3)


def test_a_warm_start_goes_on_from_the_lens_and_does_not_change_it(model, chunks):
    first, _ = train_lens(model, chunks, quick(learning_rate=0.02), seed=0)
    kept = first.weight.clone()
    _, losses = train_lens(model, chunks, quick(steps=1, tokens_per_step=24 * 12), seed=1, start=first)
    assert torch.equal(first.weight, kept)
    torch.testing.assert_close(losses[0], lens_fit(model, first, chunks), atol=1e-5, rtol=0)


def test_a_regression_is_the_weighted_least_squares_solution(model, chunks):
    options = quick(begin="regression", steps=0, regression_tokens=24 * 12)
    lens, losses = train_lens(model, chunks, options, seed=0)
    assert losses.shape == (0, 2)
    stream = [state.detach().flatten(0, 1).double() for state in model.residual_stream(torch.from_numpy(chunks).long())]
    weight = 1 / stream[-1].square().mean(dim=1, keepdim=True).sqrt()
    for layer in range(2):
        states = torch.cat([stream[layer], torch.ones(len(stream[layer]), 1)], dim=1) * weight
        missing = (stream[-1] - stream[layer]) * weight
        solution = torch.linalg.lstsq(states, missing, driver="gelsd").solution
        here = torch.cat([lens.weight[layer].T, lens.bias[layer][None]]).double()
        best, found = ((states @ answer - missing).square().sum() for answer in (solution, here))
        assert found <= 1.01 * best + 1e-4, (layer, best, found)


def test_a_regression_begins_far_ahead(model, chunks):
    options = quick(begin="regression", steps=0, regression_tokens=24 * 12)
    lens, _ = train_lens(model, chunks, options, seed=0)
    assert (lens_fit(model, lens, chunks) < 0.7 * lens_fit(model, LogitLens.from_model(model), chunks)).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"begin": "regression", "regression_tokens": 25 * 12}, "reads 25 chunks; there are 24"),
        ({"begin": "regression", "kind": "linear"}, "begins at 'zero'"),
        ({"steps": 7}, "reads 28 chunks; there are 24. Ask for at most 6 steps"),
        ({"tokens_per_step": 11}, "less than one chunk of 12 tokens"),
    ],
)
def test_what_the_data_cannot_give_is_refused_before_training(model, chunks, changes, says):
    with pytest.raises(AnalysisError, match=says):
        train_lens(model, chunks, quick(**changes), seed=0)


def test_lenses_are_judged_and_trained_only_where_a_word_is_predicted():
    sizes = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_patch": 16, "projector": "none", "n_positions": 8}
    model = build(preset("vlm-4", VOCABULARY, **sizes), 1).eval()
    model.show(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)))
    chunks = np.random.default_rng(0).integers(0, VOCABULARY, (12, 8)).astype(np.int32)
    chunks[:, 1:4] = VOCABULARY + np.random.default_rng(1).integers(0, 6, (12, 3))
    ids = torch.from_numpy(chunks).long()
    assert predicting(ids, VOCABULARY).tolist() == [[False] * 3 + [True] * 5] * 12
    with torch.no_grad():
        stream = model.residual_stream(ids)
        final = model(ids).logits[:, 3:].log_softmax(-1).flatten(0, 1)
        read = [LogitLens.from_model(model)(model, state, 0)[:, 3:].log_softmax(-1).flatten(0, 1) for state in stream]
    by_hand = torch.stack([(final.exp() * (final - layer)).sum(-1).mean() for layer in read[:-1]])
    torch.testing.assert_close(lens_fit(model, LogitLens.from_model(model), chunks), by_hand)
    first = train_lens(model, chunks, quick(steps=1, tokens_per_step=96))[1][0]
    torch.testing.assert_close(first, by_hand)
    lens, _ = train_lens(model, chunks, quick(begin="regression", steps=0, regression_tokens=96), seed=0)
    first, last = (stream[layer][:, 3:].flatten(0, 1).double() for layer in (0, -1))
    weight = 1 / last.square().mean(dim=1, keepdim=True).sqrt()
    states, missing = torch.cat([first, torch.ones(len(first), 1)], dim=1) * weight, (last - first) * weight
    best = torch.linalg.lstsq(states, missing, driver="gelsd").solution
    found = torch.cat([lens.weight[0].T, lens.bias[0][None]]).double()
    lost, least = ((states @ answer - missing).square().sum() for answer in (found, best))
    assert lost <= 1.01 * least + 1e-4


def test_a_start_of_another_kind_or_model_is_refused(model, chunks):
    with pytest.raises(AnalysisError, match="'tuned' lens cannot start from a 'linear' lens"):
        train_lens(model, chunks, quick(), seed=0, start=LinearLens.from_model(model))
    with pytest.raises(AnalysisError, match="made for another model"):
        train_lens(model, chunks, quick(), seed=0, start=TunedLens(3, 16))


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TunedLens, LinearLens])
@pytest.mark.parametrize("bias", [True, False])
def test_a_lens_comes_back_from_disk_as_it_was(model, tmp_path, kind, bias):
    lens = kind.from_model(model, bias=bias)
    with torch.no_grad():
        for parameter in lens.parameters():
            parameter.normal_()
    save_lens(tmp_path / "lens", lens, model, base_model="mine", revision="step10", notes={"steps": 6})
    again = load_lens(tmp_path / "lens", model)
    assert type(again) is kind
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in lens.state_dict().items())


def test_a_lens_of_another_or_damaged_unembedding_is_refused(model, tmp_path):
    save_lens(tmp_path / "lens", TunedLens.from_model(model), model, base_model="mine", revision="step10")
    with torch.no_grad():
        model.unembedding[VOCABULARY // 2, 8] += 1e-6  # an entry, and a size, that the library's own hash cannot see
    with pytest.raises(AnalysisError, match=r"another unembedding.*belongs to mine at step10"):
        load_lens(tmp_path / "lens", model)


def test_damaged_and_incomplete_lenses_are_refused(model, tmp_path):
    folder = tmp_path / "lens"
    with pytest.raises(AnalysisError, match="There is no lens"):
        load_lens(folder, model)
    save_lens(folder, TunedLens.from_model(model), model)
    params = folder / "params.safetensors"
    whole = params.read_bytes()
    params.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AnalysisError, match="cannot be read safely"):
        load_lens(folder, model)
    params.unlink()
    with pytest.raises(AnalysisError, match=r"neither params\.safetensors nor params\.pt"):
        load_lens(folder, model)


def test_a_pickle_that_holds_more_than_tensors_is_refused(model, tmp_path):
    save_lens(tmp_path / "lens", TunedLens.from_model(model), model, library_pickle=True)
    (tmp_path / "lens" / "params.safetensors").unlink()
    assert isinstance(load_lens(tmp_path / "lens", model), TunedLens)
    torch.save({"0.weight": print}, tmp_path / "lens" / "params.pt")
    with pytest.raises(AnalysisError, match="cannot be read safely"):
        load_lens(tmp_path / "lens", model)
