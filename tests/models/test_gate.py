"""The one gate: what it does to each mixer, what it refuses, and that it leaves no trace."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from groundscope.errors import ModelError
from groundscope.models import Gate, GroundedLMConfig, build, gated, preset

BATCH, TIME, HEADS, VOCAB = 2, 11, 4, 40
IDS = torch.randint(0, VOCAB, (BATCH, TIME), generator=torch.Generator().manual_seed(1))
MIXERS = ("attention", "mamba2")


@pytest.fixture(scope="module")
def model():
    """A hybrid of one attention and one Mamba-2 layer, four heads of 8 each, chunks shorter than the input."""
    config = GroundedLMConfig(
        vocab_size=VOCAB,
        mixers=MIXERS,
        d_model=32,
        n_heads=HEADS,
        ssm_expand=1,
        ssm_d_head=8,
        ssm_d_state=5,
        ssm_chunk=4,
    )
    model = build(config, 0).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


@pytest.fixture(params=[0, 1], ids=MIXERS)
def layer(request) -> int:
    return request.param


def run(model, gates=None):
    with gated(model, gates or {}):
        return model(IDS).logits


def matrix_of(model, layer):
    seen = []
    run(model, {layer: Gate(torch.ones(1, 1, 1, 1), watch=seen.append)})
    return seen[0]


def test_ones_leave_the_logits_alone(model, layer):
    plain = run(model)
    for shape in [(1, 1, 1, 1), (BATCH, HEADS, TIME, TIME), (1, HEADS, 1, TIME), (1, 1, TIME, 1)]:
        assert_close(run(model, {layer: Gate(torch.ones(shape))}), plain, atol=1e-6, rtol=1e-5)


def test_the_gates_gradient_is_the_matrix_times_its_gradient(model, layer):
    values = torch.ones(BATCH, HEADS, TIME, TIME, requires_grad=True)
    seen = []
    with gated(model, {layer: Gate(values, watch=seen.append)}):
        loss = model(IDS).logits[:, -1].log_softmax(-1)[:, 3].sum()
    of_gate, of_matrix = torch.autograd.grad(loss, [values, seen[0]])
    assert of_gate.abs().max() > 1e-4
    assert_close(of_gate, seen[0] * of_matrix, atol=1e-9, rtol=1e-5)


def test_rows_alone_give_the_same_gradient_as_the_whole(model, layer):
    rows = torch.tensor([TIME - 1, 4])
    whole = torch.ones(BATCH, HEADS, TIME, TIME, requires_grad=True)
    some = torch.ones(BATCH, HEADS, 2, TIME, requires_grad=True)
    gradients = []
    for gate in (Gate(whole), Gate(some, rows=rows)):
        loss = run(model, {layer: gate})[:, -1].log_softmax(-1)[:, 3].sum()
        gradients += torch.autograd.grad(loss, [gate.values])
    assert_close(gradients[1], gradients[0][:, :, rows], atol=1e-7, rtol=1e-4)


def test_zero_in_rows_cuts_only_these_rows(model, layer):
    rows = torch.tensor([6])
    values = torch.ones(BATCH, HEADS, TIME, TIME)
    values[:, 2, 6] = 0
    whole = run(model, {layer: Gate(values)})
    cut = torch.ones(1, HEADS, 1, 1)
    cut[:, 2] = 0
    for gate in (Gate(cut, rows=rows), Gate(cut.expand(1, HEADS, 1, TIME), rows=rows)):
        found = run(model, {layer: gate})
        assert_close(found, whole, atol=1e-6, rtol=1e-5)
        assert_close(found[:, :6], run(model)[:, :6], atol=1e-6, rtol=1e-5)
        assert (found[:, 6:] - run(model)[:, 6:]).abs().max() > 1e-3


def test_a_gate_constant_over_keys_equals_the_same_gate_written_out(model, layer):
    values = torch.rand(BATCH, HEADS, 1, 1, generator=torch.Generator().manual_seed(5))
    assert_close(
        run(model, {layer: Gate(values)}),
        run(model, {layer: Gate(values.expand(BATCH, HEADS, TIME, TIME))}),
        atol=1e-6,
        rtol=1e-5,
    )


def test_each_example_has_its_own_gate(model, layer):
    values = torch.ones(BATCH, HEADS, 1, 1)
    values[1, 0] = 0
    found = run(model, {layer: Gate(values)})
    assert_close(found[0], run(model)[0], atol=1e-6, rtol=1e-5)
    with gated(model, {layer: Gate(values[1:])}):
        assert_close(found[1], model(IDS[1:]).logits[0], atol=1e-6, rtol=1e-5)


REMOVED = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]])[:, :, None, None].float()
OFFSET = torch.randn(3, HEADS, TIME, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "gate",
    [
        Gate(REMOVED, offset=OFFSET),
        Gate(REMOVED, offset=OFFSET[:, :, :1]),
        Gate(REMOVED),
        Gate(REMOVED.expand(3, HEADS, TIME, TIME)),
        Gate(REMOVED, rows=torch.tensor([2, TIME - 1])),
        Gate(REMOVED, watch_output=lambda output: None),
    ],
    ids=["offset", "constant offset", "removal", "written out", "rows", "watched"],
)
def test_runs_of_one_example_and_the_end_alone_are_the_same_numbers(model, layer, gate):
    mixer, x = model.mixers[layer], torch.randn(BATCH, TIME, 32, generator=torch.Generator().manual_seed(3))
    of = torch.tensor([1, 0, 1])
    with torch.no_grad():
        with gated(model, {layer: gate}):
            one_each = mixer(x[of])
        with gated(model, {layer: replace(gate, example=of)}):
            assert_close(mixer(x), one_each, atol=1e-6, rtol=1e-5)
            assert_close(mixer.at_the_end(x), one_each[:, -1], atol=1e-6, rtol=1e-5)
        assert_close(mixer.at_the_end(x), mixer(x)[:, -1], atol=1e-6, rtol=1e-5)


def test_zero_and_the_outputs_as_offset_change_nothing(model, layer):
    """Mean and resample ablation are a gate of 0 and an offset: with the outputs themselves nothing changes."""
    seen = []
    plain = run(model, {layer: Gate(torch.ones(1, 1, 1, 1), watch_output=seen.append)})
    gate = Gate(torch.zeros(1, 1, 1, 1), offset=seen[0])
    assert_close(run(model, {layer: gate}), plain, atol=1e-6, rtol=1e-5)
    rows = torch.tensor([3, 9])
    gate = Gate(torch.zeros(1, 1, 1, 1), rows=rows, offset=seen[0][:, :, rows])
    assert_close(run(model, {layer: gate}), plain, atol=1e-6, rtol=1e-5)
    assert (run(model, {layer: Gate(torch.zeros(1, 1, 1, 1))}) - plain).abs().max() > 1e-3


def test_watchers_see_the_same_by_either_path(model, layer):
    fused, written_out, matrices = [], [], []
    run(model, {layer: Gate(torch.zeros(1, 1, 1, 1), watch_output=fused.append)})
    gate = Gate(torch.zeros(1, 1, TIME, TIME), watch=matrices.append, watch_output=written_out.append)
    run(model, {layer: gate})
    assert fused[0].shape == (BATCH, HEADS, TIME, 8)
    assert matrices[0].shape == (BATCH, HEADS, TIME, TIME)
    assert_close(fused[0], written_out[0], atol=1e-6, rtol=1e-5)
    assert matrices[0].triu(1).abs().max() == 0


def test_attentions_rows_sum_to_one_and_mamba2s_do_not(model):
    assert_close(matrix_of(model, 0).sum(-1), torch.ones(BATCH, HEADS, TIME))
    assert (matrix_of(model, 1) < 0).float().mean() > 0.1


def test_the_model_is_restored_also_after_an_error(model, layer):
    plain = run(model)
    with pytest.raises(RuntimeError, match="stop"), gated(model, {layer: Gate(torch.zeros(1, 1, 1, 1))}):
        raise RuntimeError("stop")
    assert all(mixer.gate is None for mixer in model.mixers)
    assert torch.equal(run(model), plain)


def test_nesting_is_refused_and_the_outer_gate_stays(model):
    outer = Gate(torch.zeros(1, 1, 1, 1))
    with gated(model, {0: outer}):
        with pytest.raises(ModelError, match="already gated"), gated(model, {1: outer}):
            pass
        assert model.mixers[0].gate is outer


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Gate(torch.ones(3, 1, 1, 1)), r"values must have shape \(2, 4, 11, 11\).*got \(3, 1, 1, 1\)"),
        (Gate(torch.ones(1, 1, 1, 1), offset=torch.ones(1, 1, 1, 9)), r"offset must have shape \(2, 4, 11, 8\)"),
        (Gate(torch.ones(1, 1, 1, 1), rows=torch.tensor([11])), "row 11, but the input has rows 0 to 10"),
        (Gate(torch.ones(1, 1, 1, 1), rows=torch.tensor([1, 1])), "each must be given once"),
        (Gate(torch.ones(1, 1, 1, 1), rows=torch.tensor([-1])), "0 or more"),
    ],
)
def test_gates_that_do_not_fit_are_refused_by_shape(model, layer, gate, said):
    with pytest.raises(ModelError, match=said):
        run(model, {layer: gate})
    assert model.mixers[layer].gate is None


@pytest.mark.parametrize("missing", [-1, 2])
def test_layers_that_do_not_exist_are_named(model, missing):
    with pytest.raises(ModelError, match=f"no layer {missing} to gate.*0 to 1"):
        run(model, {missing: Gate(torch.ones(1, 1, 1, 1))})


def test_training_mode_and_models_without_matrices_are_refused(model):
    with pytest.raises(ModelError, match="eval"), gated(build(model.config, 0), {}):
        pass
    lstm = build(preset("lstm-4", VOCAB, d_model=8), 0).eval()
    with pytest.raises(ModelError, match="no heads to gate"), gated(lstm, {0: Gate(torch.ones(1, 1, 1, 1))}):
        pass


def test_no_graph_is_left_behind(model, layer):
    values = torch.ones(BATCH, HEADS, TIME, TIME, requires_grad=True)
    torch.autograd.grad(run(model, {layer: Gate(values)}).sum(), [values])
    assert values.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
