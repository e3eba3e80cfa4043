"""A run that is stopped, however often and wherever, ends with the bits of one that was not."""

import shutil
import signal
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from groundscope.training import session as session_module


@pytest.mark.parametrize(
    ("arch", "precision"),
    [("transformer-4", "fp32"), ("transformer-4", "bf16"), ("lstm-4", "fp32"), ("mamba2-4", "bf16")],
)
def test_resumed_bits_are_those_of_an_uninterrupted_run(run, fingerprint, interrupt_after, arch, precision):
    sizes = {"ssm_d_head": 8, "ssm_d_state": 8} if arch == "mamba2-4" else {}
    settings = {"arch": arch, "precision": precision, "model": sizes}
    whole = fingerprint(run("whole", **settings))
    for stops in np.random.default_rng(4).integers(3, 10, (2, 3)):
        for stop in stops:
            with pytest.raises(InterruptedError):
                run("stopped", progress=interrupt_after(int(stop)), **settings)
        out = run("stopped", **settings)
        assert fingerprint(out) == whole
        shutil.rmtree(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_is_asked_for_loses_no_step(run, fingerprint, signal_after, recorded, tmp_path, number):
    """SIGTERM would end the tests, so it does here what Ctrl-C does."""
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run("stopped", progress=signal_after(12, number))
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (tmp_path / "stopped/state/step-00000012/card.json").is_file()
    out = run("stopped", progress=recorded)
    assert any("going on from step 12" in line for line in recorded.lines)
    assert fingerprint(out) == fingerprint(run("whole"))


def test_a_second_signal_stops_at_once(run, signal_after, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run("stopped", progress=signal_after(12, signal.SIGINT, signal.SIGINT))
    assert not (tmp_path / "stopped/state/step-00000012").exists()


def test_a_stop_in_the_last_step_still_finishes_the_run(run, fingerprint, signal_after, recorded):
    with pytest.raises(KeyboardInterrupt):
        run("stopped", progress=signal_after(20, signal.SIGINT))
    out = run("stopped", progress=recorded)
    assert "finished already" in recorded.lines[-1]
    assert fingerprint(out) == fingerprint(run("whole"))


@pytest.fixture
def stopped(run, interrupt_after, tmp_path):
    """A run that was stopped at step 12, with states of steps 5 and 10."""
    with pytest.raises(InterruptedError):
        run("stopped", progress=interrupt_after(12))
    assert [folder.name[-2:] for folder in sorted((tmp_path / "stopped/state").iterdir())] == ["05", "10"]
    return tmp_path / "stopped"


def test_a_damaged_state_costs_steps_not_the_result(run, stopped, fingerprint, recorded):
    newest = stopped / "state/step-00000010/state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    run("stopped", progress=recorded)
    assert any("state of step 10 is not used" in line and "damaged" in line for line in recorded.lines)
    assert any("going on from step 5" in line for line in recorded.lines)
    assert fingerprint(stopped) == fingerprint(run("whole"))


def test_without_a_whole_state_it_begins_again(run, stopped, fingerprint, recorded):
    for card in stopped.glob("state/*/card.json"):
        card.write_text("")
    run("stopped", progress=recorded)
    assert sum("is not used" in line for line in recorded.lines) == 2
    assert not any("going on" in line for line in recorded.lines)
    assert fingerprint(stopped) == fingerprint(run("whole"))


def test_a_lost_checkpoint_is_made_again(run, stopped, fingerprint, recorded):
    """A state of step 10 cannot bring back the checkpoint of step 8, the one of step 5 can."""
    shutil.rmtree(stopped / "checkpoints/step-00000008")
    run("stopped", progress=recorded)
    assert any("the checkpoint of step 8 is missing" in line for line in recorded.lines)
    assert any("going on from step 5" in line for line in recorded.lines)
    assert fingerprint(stopped) == fingerprint(run("whole"))


def test_what_a_kill_left_half_written_is_cleared(run, stopped, fingerprint):
    half = stopped / "checkpoints/.step-00000016.1a2b3c4d.partial"
    half.mkdir()
    (half / ".card.json.1a2b3c4d.partial").write_text("half")
    (stopped / "state/.step-00000015.1a2b3c4d.retired").mkdir()
    (stopped / ".loss.parquet.1a2b3c4d.partial").write_text("half")
    run("stopped")
    assert not [*stopped.rglob("*.partial"), *stopped.rglob("*.retired")]
    assert fingerprint(stopped) == fingerprint(run("whole"))


def test_states_can_be_kept_by_the_clock(run, interrupt_after, monkeypatch, tmp_path):
    """A clock that goes on by 7 seconds whenever it is read: 20 seconds have passed at every third step."""
    seconds = count(0.0, 7.0)
    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with pytest.raises(InterruptedError):
        run("stopped", progress=interrupt_after(10), state_every="20s")
    assert [folder.name[-2:] for folder in sorted((tmp_path / "stopped/state").iterdir())] == ["06", "09"]


def test_memory_can_be_saved_in_the_middle(run, stopped, recorded):
    run("stopped", progress=recorded, accumulate=3)
    assert any("going on from step 10" in line for line in recorded.lines)
    assert (stopped / "checkpoints/step-00000020/card.json").is_file()
