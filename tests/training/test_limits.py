import errno
from types import SimpleNamespace

import pytest
import torch

from groundscope.errors import TrainingError
from groundscope.training import memory
from groundscope.training.memory import DiskNeed, explain_shortage, refuse_full_disk, size


def test_need_is_counted_in_bytes(small_config):
    need = DiskNeed.of(1000, checkpoints=43, states_there=0, config=small_config())
    assert need.total == 43 * 4000 + 3 * 12_000
    half = DiskNeed.of(1000, checkpoints=43, states_there=2, config=small_config(keep="bf16"))
    assert half.total == 43 * 2000 + 1 * 12_000


def test_a_run_that_the_disk_cannot_hold_is_refused_before_it_trains(run, tmp_path, monkeypatch):
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(TrainingError, match=r"needs \d+ bytes.*has 10000 bytes free.*keep: bf16.*checkpoints"):
        run()
    assert not (tmp_path / "run" / "checkpoints").exists()
    monkeypatch.undo()
    run(keep="bf16")  # what was advised is possible in the same folder


def test_enough_disk_is_said_not_refused(run, recorded, monkeypatch):
    run(progress=recorded)
    assert any(": 4 checkpoints of" in line and "are free" in line for line in recorded.lines)


def test_bf16_is_not_advised_twice(tmp_path, small_config):
    need = DiskNeed(1, 2**60, 0, 0)
    with pytest.raises(TrainingError) as refusal:
        refuse_full_disk(need, tmp_path, small_config(keep="bf16"))
    assert "keep: bf16" not in str(refusal.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_out_of_memory_names_the_next_accumulate(error, tmp_path, small_config):
    with (
        pytest.raises(TrainingError, match=r"accumulate: 3 \(now 2\)"),
        explain_shortage(small_config(batch_size=12, accumulate=2), 1, tmp_path),
    ):
        raise error


def test_out_of_memory_with_one_sequence_per_part(tmp_path, small_config):
    with (
        pytest.raises(TrainingError, match="shorter chunks"),
        explain_shortage(small_config(batch_size=12, accumulate=6), 2, tmp_path),
    ):
        raise MemoryError


def test_a_disk_that_fills_up_is_explained(tmp_path, small_config):
    with pytest.raises(TrainingError, match="full"), explain_shortage(small_config(), 1, tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_pass(tmp_path, small_config):
    with pytest.raises(RuntimeError, match="shapes"), explain_shortage(small_config(), 1, tmp_path):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(("count", "text"), [(999, "999 B"), (617e6, "617 MB"), (26.5e9, "26.5 GB"), (3e13, "30 TB")])
def test_sizes_read_well(count, text):
    assert size(int(count)) == text
