"""A run that is stopped, however often and wherever, ends with the bits of one that was not."""

import json
import shutil
import signal
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from groundscope.files import read_json, write_json
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


def test_states_after_damage_are_kept(run, stopped, interrupt_after, recorded):
    """Both states are of later steps than those that the next session writes, which must outlive them."""
    for state in stopped.glob("state/*/state.safetensors"):
        state.write_bytes(state.read_bytes()[:-1] + b"?")
    with pytest.raises(InterruptedError):
        run("stopped", progress=interrupt_after(8))
    assert [folder.name for folder in (stopped / "state").iterdir()] == ["step-00000005"]
    run("stopped", progress=recorded)
    assert any("going on from step 5" in line for line in recorded.lines)


def test_other_threads_are_told(run, stopped, recorded):
    torch.set_num_threads(2)
    run("stopped", progress=recorded)
    told = "threads 2, processes 1, device cpu, and was begun with threads 1"
    assert any(told in line for line in recorded.lines)


@pytest.mark.parametrize(("before", "told"), [("cuda", True), ("cpu", False), (None, False)])
def test_another_device_is_told_and_a_state_that_names_none_is_no_other(run, stopped, recorded, before, told):
    for card in stopped.glob("state/*/card.json"):
        known = read_json(card)
        known["machine"] = {name: value for name, value in (known["machine"] | {"device": before}).items() if value}
        write_json(card, known)
    run("stopped", progress=recorded)
    assert any("device cpu, and was begun with" in line for line in recorded.lines) is told


def test_a_lost_table_of_losses_is_told(run, fingerprint, recorded):
    whole = run("whole")
    before = fingerprint(whole)
    (whole / "loss.parquet").write_text("damaged")
    run("whole", progress=recorded)
    assert any("loss.parquet is missing or damaged: it is trained again" in line for line in recorded.lines)
    assert fingerprint(whole) == before


def test_lost_weights_are_made_again(run, fingerprint):
    whole = run("whole")
    before = fingerprint(whole)
    (whole / "checkpoints/step-00000008/model.safetensors").unlink()
    run("whole")
    assert fingerprint(whole) == before


def test_what_others_keep_in_the_folder_stays(run, tmp_path):
    for name in (".config.partial", "mine/.step-00000016.1a2b3c4d.partial"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "precious").write_text("mine")
    run()
    assert len(list((tmp_path / "run").rglob("precious"))) == 2


def test_a_damaged_list_of_sessions_stops_nothing(run, stopped):
    (stopped / "speed.json").write_text("[]")
    run("stopped")
    assert json.loads((stopped / "speed.json").read_text())["sessions"]


def test_a_lost_checkpoint_is_made_again(run, stopped, fingerprint, recorded):
    """A state of step 10 cannot bring back the checkpoint of step 8, the one of step 5 can."""
    shutil.rmtree(stopped / "checkpoints/step-00000008")
    run("stopped", progress=recorded)
    assert any("the checkpoint of step 8 is missing" in line for line in recorded.lines)
    assert any("going on from step 5" in line for line in recorded.lines)
    assert fingerprint(stopped) == fingerprint(run("whole"))


def test_a_kill_between_giving_up_a_place_and_filling_it_loses_nothing(run, stopped, recorded, fingerprint):
    place = max((stopped / "state").glob("step-*"))
    place.rename(place.with_name(f".{place.name}.1a2b3c4d.retired"))
    run("stopped", progress=recorded)
    assert any(f"going on from step {int(place.name[5:])}" in line for line in recorded.lines)
    assert not [*stopped.rglob("*.retired")]
    assert fingerprint(stopped) == fingerprint(run("whole"))


def test_what_a_kill_left_half_written_is_cleared(run, stopped, fingerprint):
    half = stopped / "checkpoints/.step-00000016.1a2b3c4d.partial"
    half.mkdir()
    (half / ".card.json.1a2b3c4d.partial").write_text("half")
    place = max((stopped / "state").glob("step-*"))
    (stopped / f"state/.{place.name}.1a2b3c4d.retired").mkdir()
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
