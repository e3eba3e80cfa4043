"""What a step measured on a GPU is sent for at once, and waited for when it is read."""

import pytest
import torch
from torch import Tensor

from groundscope.training import underway
from groundscope.training.underway import Underway


def test_what_a_cpu_measured_is_read_as_it_is():
    assert Underway(torch.tensor([1.0, 2.5])).read() == [1.0, 2.5]


def test_a_copy_is_sent_for_at_once_and_waited_for_when_it_is_read(monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []

    class Event:
        def record(self):
            done.append("record")

        def synchronize(self):
            done.append("wait")

    class Pinned(Tensor):
        def copy_(self, source: Tensor, non_blocking: bool = False) -> Tensor:
            done.append(f"copy, non_blocking={non_blocking}")
            return super().copy_(source)

    def empty(*shape, dtype, pin_memory):
        assert pin_memory, "from memory that can be swapped out a copy waits"
        return torch.zeros(*shape, dtype=dtype).as_subclass(Pinned)

    monkeypatch.setattr(Tensor, "is_cuda", True)
    monkeypatch.setattr(underway.torch.cuda, "Event", Event)
    monkeypatch.setattr(underway.torch, "empty", empty)
    values = torch.tensor([1.0, 2.5])
    sent = Underway(values)
    assert done == ["copy, non_blocking=True", "record"]
    values.zero_()  # the device goes on
    assert sent.read() == [1.0, 2.5]
    assert done[-1] == "wait"
