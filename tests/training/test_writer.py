"""Checkpoints written while a GPU takes the next steps: the same bits, none lost, what goes wrong is told."""

import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from groundscope.errors import TrainingError
from groundscope.training import session as session_module
from groundscope.training.checkpoints import checkpoint_folder, is_kept
from groundscope.training.writer import Writer, writes_beside


class Slow:
    """Writes a checkpoint when it may; ``began`` and ``ended`` hold the steps."""

    def __init__(self) -> None:
        self.may, self.write = threading.Event(), session_module.write_checkpoint
        self.began: list[int] = []
        self.ended: list[int] = []

    def __call__(self, *arguments, step: int, **settings):
        self.began.append(step)
        assert self.may.wait(20)
        self.write(*arguments, step=step, **settings)
        self.ended.append(step)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write as a training on a GPU does."""
    monkeypatch.setattr(session_module, "writes_beside", lambda device: True)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(session_module, "write_checkpoint", slow)
    return slow


def test_only_what_is_copied_from_a_device_is_written_beside():
    assert not writes_beside(torch.device("cpu"))
    assert writes_beside(torch.device("cuda", 1))


@pytest.mark.usefixtures("beside")
def test_written_beside_the_steps_or_between_them_the_bits_are_the_same(run, fingerprint, monkeypatch):
    there = fingerprint(run("beside"))
    monkeypatch.undo()
    assert there == fingerprint(run("between"))


@pytest.mark.usefixtures("beside")
def test_steps_are_taken_while_a_checkpoint_is_written(run, slow, interrupt_after, tmp_path: Path):
    """Three steps before the first state, which waits for the checkpoint."""
    after_three = interrupt_after(3)
    after_three.advance = lift_after(after_three.advance, slow)  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        run(progress=after_three)
    assert slow.began == slow.ended == [0]  # an error does not cut short what is being written
    assert is_kept(tmp_path / "run", 0)


def lift_after(advance, slow: Slow):
    def lifted(*arguments) -> None:
        assert slow.ended == []
        try:
            advance(*arguments)
        except InterruptedError:
            slow.may.set()
            raise

    return lifted


@pytest.mark.usefixtures("beside")
def test_a_state_is_written_when_the_checkpoints_before_it_are(run, slow, monkeypatch, tmp_path: Path):
    states: list[int] = []
    write_state = session_module.write_state
    slow.write = late(slow.write)

    def written(out, state, *rest) -> None:
        assert all(is_kept(out, step) for step in (0, 8, 16, 20) if step <= state.step)
        states.append(state.step)
        write_state(out, state, *rest)

    monkeypatch.setattr(session_module, "write_state", written)
    slow.may.set()
    run()
    assert states == [5, 10, 15]
    assert slow.ended == [0, 8, 16, 20]


def late(write):
    """Write a while after it was asked for, when the model has made more steps."""
    return lambda *arguments, **settings: (time.sleep(0.2), write(*arguments, **settings))


@pytest.mark.usefixtures("beside")
def test_what_is_written_is_what_was_when_it_was_asked_for(run, fingerprint, interrupt_after, recorded, monkeypatch):
    with monkeypatch.context() as patch:
        for write in ("write_checkpoint", "write_state"):
            patch.setattr(session_module, write, late(getattr(session_module, write)))
        with pytest.raises(InterruptedError):
            run("stopped", progress=interrupt_after(12))
    out = run("stopped", progress=recorded)
    assert any("going on from step 10" in line for line in recorded.lines)
    assert fingerprint(out) == fingerprint(run("whole"))


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("last", [16, 20])
def test_a_full_disk_is_told_and_a_later_call_goes_on(run, fingerprint, recorded, monkeypatch, tmp_path: Path, last):
    """Behind the last checkpoint, too, which the run is not finished without."""
    with monkeypatch.context() as patch:
        patch.setattr(session_module, "write_checkpoint", full_at(last))
        with pytest.raises(TrainingError, match=r"disk of .* is full"):
            run("full")
    assert not checkpoint_folder(tmp_path / "full", last).exists()
    out = run("full", progress=recorded)
    assert any("going on from step 15" in line for line in recorded.lines)
    assert fingerprint(out) == fingerprint(run("whole"))


def full_at(step_that_is_lost: int):
    """Write checkpoints until the disk is full."""
    write = session_module.write_checkpoint

    def full(*arguments, step: int, **settings) -> None:
        if step == step_that_is_lost:
            raise OSError(28, "No space left on device")
        write(*arguments, step=step, **settings)

    return late(full)


@pytest.mark.usefixtures("beside")
def test_a_stop_whose_state_is_not_written_is_not_said_to_have_one(run, recorded, signal_after, monkeypatch):
    monkeypatch.setattr(session_module, "write_state", lambda *_: full_at(0)(step=0))
    asked = signal_after(3, signal.SIGINT)
    asked.say = recorded.say  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run("stopped", progress=asked)
    assert not any("goes on from there" in line for line in recorded.lines)


@pytest.mark.usefixtures("beside")
def test_a_divergence_does_not_name_a_checkpoint_that_is_not_written(run, monkeypatch):
    monkeypatch.setattr(session_module, "write_checkpoint", full_at(0))
    monkeypatch.setattr(session_module, "clip_gradients", lambda *_: torch.tensor(float("inf")))
    with pytest.raises(TrainingError, match=r"disk of .* is full"):
        run()


def test_one_piece_is_under_way_and_its_error_reaches_the_next_call():
    order: list[str] = []
    may = threading.Event()

    def first() -> None:
        assert may.wait(20)
        order.append("first")
        raise ValueError("first failed")

    with Writer(beside=True) as writer:
        writer.write(first)
        order.append("beside")
        may.set()
        with pytest.raises(ValueError, match="first failed"):
            writer.write(lambda: order.append("second"))
    assert order == ["beside", "first"]


def test_what_a_caller_raises_is_not_hidden_by_what_writing_raised():
    def fail() -> None:
        raise ValueError

    def ends_badly() -> None:
        with Writer(beside=True) as writer:
            writer.write(fail)
            raise KeyError

    with pytest.raises(KeyError):
        ends_badly()
