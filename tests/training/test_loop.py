import json
import sys
from types import ModuleType

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from groundscope.errors import GroundscopeError, TrainingError
from groundscope.models.presets import build, preset
from groundscope.training import session as session_module
from groundscope.training.run import only_writer


def _weights(run, step):
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def test_it_learns_and_keeps_the_steps_it_was_asked_for(run):
    out = run(steps=60, model={"dropout": 0.0})
    assert sorted(folder.name for folder in (out / "checkpoints").iterdir()) == [
        f"step-{step:08d}" for step in (0, 8, 16, 24, 32, 40, 48, 56, 60)
    ]
    losses = pl.read_parquet(out / "loss.parquet")
    assert losses["step"].to_list() == list(range(60))
    assert losses["tokens_seen"].to_list() == [step * 6 * 16 for step in range(60)]
    assert losses["loss_nats"][0] == pytest.approx(np.log(50), abs=0.1)
    assert losses["loss_nats"][-5:].mean() < losses["loss_nats"][:5].mean() - 0.3
    assert not (out / "state").exists()


def test_losses_and_updates_are_those_of_a_plain_loop(run, chunks):
    """Against the obvious program: transformers' loss, torch's AdamW and clipping, no Fabric, no fused kernels."""
    out = run(model={"dropout": 0.0}, weight_decay=0.1, accumulate=2, clip=0.5)
    losses = pl.read_parquet(out / "loss.parquet")

    config = preset("transformer-4", 50, n_layers=2, d_model=16, n_heads=2, n_positions=16, dropout=0.0)
    model = build(config, seed=1)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    plain = [weight for weight in model.parameters() if weight.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], fused=False, foreach=False
    )
    from groundscope.training.order import DataOrder

    order = DataOrder(len(chunks), 6, seed=1)
    for step in range(20):
        tokens = torch.from_numpy(chunks[order.chunks_at(step)]).long()
        loss = model(tokens, labels=tokens).loss
        assert losses["loss_nats"][step] == pytest.approx(loss.item(), abs=2e-5)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5, foreach=False)
        assert losses["gradient_norm"][step] == pytest.approx(norm.item(), rel=1e-3)
        for group in optimizer.param_groups:
            group["lr"] = losses["learning_rate"][step]
        optimizer.step()
    for name, weight in _weights(out, 20).items():
        torch.testing.assert_close(weight, model.state_dict()[name], atol=1e-4, rtol=1e-3)


def test_step_0_is_the_model_of_the_seed(run):
    out = run()
    config = preset("transformer-4", 50, n_layers=2, d_model=16, n_heads=2, n_positions=16)
    built = build(config, seed=1).state_dict()
    for name, weight in _weights(out, 0).items():
        assert torch.equal(weight, built[name])


@pytest.mark.parametrize("arch", ["transformer-4", "lstm-4", "mamba2-4"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_call_same_bits_other_seed_other_bits(run, fingerprint, arch, precision):
    sizes = {"ssm_d_head": 8, "ssm_d_state": 8} if arch == "mamba2-4" else {}
    settings = {"arch": arch, "precision": precision, "steps": 6, "model": sizes}
    first, again, other = run("a", **settings), run("b", **settings), run("c", seed=2, **settings)
    assert fingerprint(first) == fingerprint(again)
    losses = [pl.read_parquet(out / "loss.parquet")["loss_nats"].to_list() for out in (first, other)]
    assert losses[0] != losses[1]


def test_the_callers_random_numbers_are_left_alone(run):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(steps=4)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_differs_between_steps_and_follows_from_the_seed(run):
    """With a learning rate of almost 0 and one batch for all steps only dropout moves the loss."""
    one = np.tile(np.arange(16, dtype=np.int32), (6, 1))
    losses = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = run(name, seed=seed, steps=5, learning_rate=1e-12, model={"dropout": 0.5}, data=one)
        losses[name] = pl.read_parquet(out / "loss.parquet")["loss_nats"].to_list()
    assert len(set(losses["a"])) == 5
    assert losses["a"] == losses["b"] != losses["c"]


def test_checkpoints_load_through_transformers(run, chunks):
    out = run()
    for step in (0, 20):
        model = AutoModelForCausalLM.from_pretrained(out / "checkpoints" / f"step-{step:08d}")
        tokens = torch.from_numpy(chunks[:4]).long()
        with torch.no_grad():
            logits = model.eval()(tokens).logits
        assert logits.shape == (4, 16, 50)
        assert torch.equal(model.state_dict()["embedding.weight"], _weights(out, step)["embedding.weight"])


def test_bf16_halves_what_is_kept_and_is_the_rounded_fp32(run):
    full, half = run("full"), run("half", keep="bf16")
    for name, weight in _weights(full, 20).items():
        kept = _weights(half, 20)[name]
        assert kept.dtype == torch.bfloat16
        assert torch.equal(kept, weight.bfloat16())
    assert json.loads((half / "checkpoints/step-00000020/card.json").read_text())["dtype"] == "bf16"


def test_a_finished_run_returns_at_once(run, recorded, monkeypatch):
    out = run()
    monkeypatch.setattr(session_module.Session, "run", lambda *_: pytest.fail("it trained again"))
    before = (out / "loss.parquet").stat().st_mtime_ns
    run(progress=recorded)
    assert (out / "loss.parquet").stat().st_mtime_ns == before
    assert "finished already" in recorded.lines[-1]


def test_a_changed_setting_is_refused_by_name(run, chunks):
    run()
    with pytest.raises(GroundscopeError, match=r"training\.learning_rate was 0\.003, now 0\.004.*new folder"):
        run(learning_rate=4e-3)
    with pytest.raises(GroundscopeError, match="seed was 1, now 2"):
        run(seed=2)
    with pytest.raises(GroundscopeError, match=r"model\.d_model was 16, now 32"):
        run(model={"d_model": 32})
    with pytest.raises(GroundscopeError, match=r"corpus\.sha256"):
        run(data=chunks[::-1].copy())
    run(state_every=2)  # changes nothing


def test_two_processes_cannot_train_in_one_folder(run, tmp_path):
    with only_writer(tmp_path / "run"), pytest.raises(GroundscopeError, match="Another process"):
        run()


def test_divergence_stops_and_keeps_the_last_good_checkpoint(run, monkeypatch, tmp_path):
    forward = session_module.NextTokenLoss.forward
    calls = iter(range(100))

    def diverging(self, tokens):
        return forward(self, tokens) * (float("nan") if next(calls) == 11 else 1.0)

    monkeypatch.setattr(session_module.NextTokenLoss, "forward", diverging)
    with pytest.raises(TrainingError, match=r"step 11: loss nan.*learning rate 0\.00\d+; the checkpoint of step 8"):
        run()
    out = tmp_path / "run"
    assert sorted(folder.name for folder in (out / "checkpoints").iterdir()) == ["step-00000000", "step-00000008"]
    assert all(torch.isfinite(weight).all() for weight in _weights(out, 8).values())
    assert pl.read_parquet(out / "loss.parquet").height == 11


def test_a_step_whose_gradient_explodes_is_not_kept(run, monkeypatch, tmp_path):
    """The loss is fine and the update is not: the weights after it must not become a checkpoint."""
    clip = session_module.clip_gradients
    calls = iter(range(100))

    def exploding(model, limit):
        norm = clip(model, limit)
        return norm * (float("inf") if next(calls) == 7 else 1.0)

    monkeypatch.setattr(session_module, "clip_gradients", exploding)
    with pytest.raises(TrainingError, match="gradient norm inf"):
        run()
    assert not (tmp_path / "run/checkpoints/step-00000008").exists()


@pytest.mark.parametrize("settings", [{}, {"state_every": 8, "checkpoints": (0, 16)}], ids=["checkpoint", "state"])
def test_weights_that_an_update_breaks_are_not_kept(run, monkeypatch, tmp_path, settings):
    """Loss and gradient of the step are sound; only the weights tell, for the next step's loss comes too late."""
    build = session_module.make_optimizer

    def breaking(model, config):
        optimizer = build(model, config)
        step, calls = optimizer.step, iter(range(100))

        def broken_step(*args, **kwargs):
            result = step(*args, **kwargs)
            if next(calls) == 7:
                optimizer.param_groups[0]["params"][0].data.view(-1)[3] = float("inf")
            return result

        optimizer.step = broken_step
        return optimizer

    monkeypatch.setattr(session_module, "make_optimizer", breaking)
    with pytest.raises(TrainingError, match=r"step 7: its update left weights that are not finite.*step 0 is kept"):
        run(**settings)
    out = tmp_path / "run"
    assert [folder.name for folder in (out / "checkpoints").iterdir()] == ["step-00000000"]
    assert not (out / "state/step-00000008").exists()


def test_a_batch_that_no_memory_holds_is_said_to_be_one(run):
    with pytest.raises(TrainingError, match=r"Out of memory.*accumulate: 2"):
        run(batch_size=2**48)


def test_metrics_also_go_to_a_tracker(run, monkeypatch):
    logged, asked = [], []

    class Logger:
        def log(self, metrics, step):
            logged.append((step, metrics))

        def finish(self):
            logged.append("finished")

    tracker = ModuleType("a_tracker")
    tracker.init = lambda **about: asked.append(about) or Logger()
    monkeypatch.setitem(sys.modules, "a_tracker", tracker)
    out = run(track="a_tracker")
    losses = pl.read_parquet(out / "loss.parquet")["loss_nats"].to_list()
    assert [metrics["loss_nats"] for _, metrics in logged[:-1]] == losses
    assert [step for step, _ in logged[:-1]] == list(range(20))
    assert logged[-1] == "finished"
    assert asked[0]["resume"] == "allow"
    assert asked[0]["name"].startswith("transformer-4-seed-1-")


def test_a_tracker_that_fails_is_left_and_training_goes_on(run, monkeypatch, recorded):
    class Logger:
        def log(self, metrics, step):
            if step == 3:
                raise ConnectionError("no network")
            assert step < 3

        def finish(self):
            pytest.fail("it was given up")

    tracker = ModuleType("a_tracker")
    tracker.init = lambda *, id, **about: Logger()
    monkeypatch.setitem(sys.modules, "a_tracker", tracker)
    out = run(track="a_tracker", progress=recorded)
    assert pl.read_parquet(out / "loss.parquet").height == 20
    assert sum("ConnectionError: no network" in line for line in recorded.lines) == 1


@pytest.mark.parametrize("module", ["os", "", "../x"])
def test_a_tracker_that_is_none_is_named(run, module):
    with pytest.raises(TrainingError, match=r"has no init\(\)"):
        run(track=module)


@pytest.mark.parametrize("shape", [(0, 16), (5, 0), (5, 1)])
def test_chunks_without_anything_to_predict_are_refused(run, shape):
    with pytest.raises(GroundscopeError, match="two tokens or more"):
        run(data=np.zeros(shape, dtype=np.int32))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(run, seed):
    with pytest.raises(GroundscopeError, match="from 0 to"):
        run(seed=seed)


def test_a_device_that_is_not_there_is_named(run):
    with pytest.raises(TrainingError, match=r"device: mps.*device: auto"):
        run(device="mps")


def test_a_file_is_no_folder_for_a_run(run, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(GroundscopeError, match="cannot be a run's folder"):
        run()


def test_a_tracker_that_is_not_installed_is_named(run):
    with pytest.raises(GroundscopeError, match=r"no_such_tracker.*not installed"):
        run(track="no_such_tracker")
