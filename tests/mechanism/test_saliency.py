"""Saliency against autograd on explicit matrices, its reductions, its memory, and what it leaves behind."""

import gc

import numpy as np
import pytest
import torch
from torch.nn import functional

from groundscope.errors import AnalysisError, RunError
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import Saliency, saliency
from groundscope.models.gate import Gate, gated
from groundscope.models.language_model import GroundedLM, GroundedLMConfig
from groundscope.models.lstm import GroundedLSTM, GroundedLSTMConfig

VOCAB, TIME, PROMPTS = 40, 8, 5


def build(*mixers, double=True):
    torch.manual_seed(1)
    config = GroundedLMConfig(
        vocab_size=VOCAB,
        mixers=mixers,
        d_model=24,
        n_heads=3,
        ssm_d_head=12,
        ssm_d_state=4,
        ssm_n_groups=2,
        initializer_range=0.3,
    )
    model = GroundedLM(config).eval()
    return model.double() if double else model


def build_prompts(scene=False):
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(VOCAB, (PROMPTS, TIME), generator=generator)
    targets = torch.randint(VOCAB, (PROMPTS,), generator=generator)
    mask = torch.zeros(PROMPTS, TIME, dtype=torch.bool)
    mask[:, 1:5] = True
    places = torch.tensor([1, 2, 3, 4, 2])
    return PromptBatch.with_ground_at(ids, targets, places, scene=mask if scene else None, numbers=10 + torch.arange(5))


def explicit_saliency(model, ids, target):
    """One prompt through the model's weights with A as its own tensor; I = A * dL/dA, [layer, head, time, time]."""
    x = model.embedding(ids) + model.positions.weight[: len(ids)]
    matrices = []
    for block in model.blocks:
        attention, heads = block.mixer, block.mixer.n_heads
        query, key, value = attention.qkv(block.norm(x)).view(len(ids), 3, heads, -1).permute(1, 2, 0, 3)
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        matrix = (scores + torch.full_like(scores[0], -torch.inf).triu(1)).softmax(-1)
        matrix.retain_grad()
        matrices.append(matrix)
        x = x + attention.out((matrix @ value).transpose(0, 1).flatten(1))
        x = x + block.mlp(block.mlp_norm(x))
    loss = functional.cross_entropy(model.norm(x)[-1] @ model.unembedding.T, target)
    loss.backward()
    return torch.stack([matrix * matrix.grad for matrix in matrices]), loss.item()


def test_maps_are_those_of_autograd_on_explicit_matrices():
    model, prompts = build("attention", "attention", "attention"), build_prompts()
    scores = saliency(model, prompts, keep_maps=[10, 11, 12, 13, 14])
    for i in range(PROMPTS):
        expected, loss = explicit_saliency(model, prompts.input_ids[i], prompts.targets[i])
        assert (scores.maps[i] - expected.flatten(0, 1)).abs().max() < 1e-12
        assert scores.surprisal[i].item() == pytest.approx(loss, abs=1e-12)


@pytest.mark.parametrize("mixers", [("mamba2", "mamba2"), ("mamba2", "attention", "mamba2")])
def test_maps_are_m_times_its_gradient_in_mamba2(mixers):
    model, prompts = build(*mixers, double=False), build_prompts()
    scores = saliency(model, prompts, keep_maps=[10, 11, 12, 13, 14])
    matrices = {}

    def keep(layer, matrix):
        matrix.retain_grad()
        matrices[layer] = matrix

    gates = {
        layer: Gate(values=torch.ones(1, 1, 1, 1), watch=lambda m, layer=layer: keep(layer, m))
        for layer in range(len(mixers))
    }
    with gated(model, gates):
        logits = model.hidden(prompts.input_ids)[:, -1] @ model.unembedding.T
    functional.cross_entropy(logits, prompts.targets, reduction="sum").backward()
    expected = torch.cat([matrices[layer] * matrices[layer].grad for layer in sorted(matrices)], dim=1)
    assert (scores.maps - expected).abs().max() < 1e-6 * expected.abs().max()
    assert len(scores.index) == sum(model.heads(layer) for layer in range(len(mixers)))


def test_maps_are_finite_differences_of_the_loss_in_the_gate():
    model, prompts = build("attention", "attention"), build_prompts()
    scores = saliency(model, prompts, keep_maps=[11])
    for layer, head, row, key in [(0, 1, 6, 2), (1, 2, 7, 3), (0, 0, 7, 0)]:
        losses = []
        for step in (-1e-5, 1e-5):
            values = torch.ones(1, 3, TIME, TIME, dtype=torch.float64)
            values[0, head, row, key] += step
            with gated(model, {layer: Gate(values=values)}), torch.no_grad():
                logits = model.hidden(prompts.input_ids[1:2])[:, -1] @ model.unembedding.T
            losses.append(functional.cross_entropy(logits, prompts.targets[1:2]).item())
        slope = (losses[1] - losses[0]) / 2e-5
        assert scores.maps[0, scores.index.position(layer, head), row, key].item() == pytest.approx(slope, rel=1e-5)


def test_scores_are_reductions_of_the_maps():
    prompts = build_prompts(scene=True)
    scores = saliency(build("attention", "attention"), prompts, keep_maps=range(10, 15))
    maps, ground = scores.maps.numpy(), prompts.ground.numpy()
    for i in range(PROMPTS):
        last = maps[i, :, -1]
        np.testing.assert_allclose(scores.flow[i], np.abs(last[:, ground[i]]).sum(1))
        np.testing.assert_allclose(scores.signed_flow[i], last[:, ground[i]].sum(1))
        np.testing.assert_allclose(scores.scene_flow[i], np.abs(last[:, 1:5]).sum(1))
        np.testing.assert_allclose(scores.into_last[i], np.abs(last).sum(1))
        np.testing.assert_allclose(scores.total[i], np.abs(maps[i]).sum((1, 2)))
        strips = np.abs(maps[i]).sum(2)[:, 1:-1]
        np.testing.assert_allclose(scores.strip[i], strips.max(1))
        np.testing.assert_array_equal(scores.strip_row[i], np.where(strips.max(1) > 0, strips.argmax(1) + 1, -1))
        by_layer = last.reshape(2, 3, TIME).sum(1)
        np.testing.assert_allclose(scores.layer_flow[i], np.abs(by_layer[:, ground[i]]).sum(1))
    assert (maps * np.triu(np.ones((TIME, TIME)), 1) == 0).all()
    assert (scores.strip[:, 3:] == 0).all(), "in the last layer only the last row reaches the loss"


def test_a_ground_of_several_positions_is_a_sum_of_magnitudes():
    prompts = build_prompts()
    wide = PromptBatch(prompts.input_ids, prompts.targets, torch.arange(TIME).expand(PROMPTS, -1) < 3)
    scores = saliency(build("attention"), wide, keep_maps=range(PROMPTS))
    torch.testing.assert_close(scores.flow, scores.maps[:, :, -1, :3].abs().sum(-1))


def test_the_last_row_alone_gives_the_same_flows():
    model, prompts = build("attention", "attention"), build_prompts(scene=True)
    whole, last = saliency(model, prompts), saliency(model, prompts, rows="last", keep_maps=[12])
    for name in ("flow", "signed_flow", "scene_flow", "into_last", "layer_flow", "surprisal"):
        torch.testing.assert_close(getattr(last, name), getattr(whole, name))
    torch.testing.assert_close(last.total, whole.into_last)
    assert last.maps.shape == (1, 6, 1, TIME)


def test_chosen_layers_have_the_same_numbers():
    model, prompts = build("attention", "attention", "attention"), build_prompts()
    whole, some = saliency(model, prompts), saliency(model, prompts, layers=[2, 1])
    assert some.index.names == whole.index.names[3:]
    torch.testing.assert_close(some.total, whole.total[:, 3:])
    torch.testing.assert_close(some.layer_flow, whole.layer_flow[:, 1:])


def test_batches_do_not_matter():
    model, prompts = build("attention", "attention"), build_prompts()
    whole = saliency(model, prompts, keep_maps=[14, 10])
    parts = saliency(model, prompts, keep_maps=[14, 10], batch_size=2)
    joined = Saliency.join([saliency(model, prompts[:1]), saliency(model, prompts[1:])])
    torch.testing.assert_close(parts.maps, whole.maps)
    assert parts.kept.tolist() == whole.kept.tolist() == [10, 14]
    for other in (parts, joined):
        torch.testing.assert_close(other.total, whole.total)
        assert other.numbers.tolist() == [10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("can't allocate memory: 9 GB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_batches_shrink_when_memory_runs_out(monkeypatch, error):
    model, prompts = build("attention"), build_prompts()
    expected, embed, sizes = saliency(model, prompts).total, model.embed, []

    def hungry(ids):
        sizes.append(len(ids))
        if len(ids) > 1:
            raise error
        return embed(ids)

    monkeypatch.setattr(model, "embed", hungry)
    torch.testing.assert_close(saliency(model, prompts).total, expected)
    assert sizes == [5, 2, 1, 1, 1, 1, 1]


def test_one_prompt_too_many_is_said(monkeypatch):
    model = build("attention")

    def hungry(ids):
        raise MemoryError

    monkeypatch.setattr(model, "embed", hungry)
    with pytest.raises(RunError, match="single prompt"):
        saliency(model, build_prompts())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_other_errors_are_not_taken_for_memory(monkeypatch):
    model = build("attention")
    monkeypatch.setattr(model, "embed", lambda ids: ids.missing)
    with pytest.raises(AttributeError):
        saliency(model, build_prompts())


def test_the_model_is_left_as_found():
    model = build("attention", "mamba2", double=False).train()
    model.blocks[1].eval()
    model.positions.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    saliency(model, build_prompts())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(mixer.gate is None for mixer in model.mixers)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_it_works_where_gradients_are_off():
    model, prompts = build("attention"), build_prompts()
    with torch.no_grad():
        scores = saliency(model, prompts)
    assert (scores.total > 0).all()
    assert not scores.total.requires_grad


def test_half_precision_gives_nearly_the_same():
    prompts = build_prompts()
    exact, half = saliency(build("attention"), prompts), saliency(build("attention").bfloat16(), prompts)
    assert half.total.dtype == torch.float32
    assert (half.total - exact.total).abs().max() < 0.05 * exact.total.max()


def test_nothing_of_a_call_stays_in_memory():
    model, prompts = build("attention", "mamba2", double=False), build_prompts()

    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    saliency(model, prompts)
    before = tensors()
    for _ in range(3):
        saliency(model, prompts, keep_maps=[10])
    assert tensors() == before


def test_further_inputs_follow_their_prompts(monkeypatch):
    model, prompts = build("attention"), build_prompts()
    hidden, seen = model.hidden, []

    def looking(ids, *, picture):
        seen.append(picture)
        return hidden(ids)

    monkeypatch.setattr(model, "hidden", looking)
    pictures = torch.arange(PROMPTS)
    saliency(
        model,
        PromptBatch(prompts.input_ids, prompts.targets, prompts.ground, extras={"picture": pictures}),
        batch_size=2,
    )
    assert torch.equal(torch.cat(seen), pictures)


def test_an_lstm_has_no_heads():
    model = GroundedLSTM(GroundedLSTMConfig(vocab_size=VOCAB, d_model=16, n_layers=1)).eval()
    scores = saliency(model, build_prompts())
    assert scores.total.shape == (PROMPTS, 0)
    assert scores.layer_flow.shape == (PROMPTS, 0)
    assert (scores.surprisal > 0).all()


def test_unknown_layers_are_refused():
    with pytest.raises(AnalysisError, match="layers 0 to 0"):
        saliency(build("attention"), build_prompts(), layers=[1])


def test_prompts_without_ground_are_refused():
    ids, targets = torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    with pytest.raises(AnalysisError, match=r"Prompt 1 .* no ground before"):
        PromptBatch.with_ground_at(ids, targets, torch.tensor([2, 3]))
    with pytest.raises(AnalysisError, match="position 4"):
        PromptBatch.with_ground_at(ids, targets, torch.tensor([2, 4]))
    with pytest.raises(AnalysisError, match="part of the scene"):
        PromptBatch.with_ground_at(ids, targets, torch.tensor([1, 1]), scene=torch.zeros(2, 4, dtype=torch.bool))


def test_mismatches_follow_their_prompt():
    prompts = build_prompts()
    mismatch = torch.arange(PROMPTS * 2 * TIME).view(PROMPTS, 2, TIME) % VOCAB
    prompts = PromptBatch(prompts.input_ids, prompts.targets, prompts.ground, mismatch=mismatch)
    everything = prompts.with_mismatches()
    assert torch.equal(everything.input_ids[3], prompts.input_ids[1])
    assert torch.equal(everything.input_ids[5], mismatch[1, 1])
    assert torch.equal(everything.targets, prompts.targets.repeat_interleave(3))
