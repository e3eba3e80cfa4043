"""Training survives SIGKILL at any moment: between steps, while a checkpoint is written, while a state is."""

import hashlib
import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from groundscope.models.presets import preset
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train
from groundscope.trajectory.checkpoints import Trajectory

STEPS = 120
CHUNKS = np.random.default_rng(0).integers(0, 300, (64, 32)).astype(np.int32)
CONFIG = TrainConfig(
    steps=STEPS,
    batch_size=8,
    warmup_steps=5,
    learning_rate=1e-3,
    checkpoints={"every": 7},  # type: ignore[arg-type]
    state_every=2,
    device="cpu",
)


@pytest.fixture(scope="module")
def processes():
    """Processes that are forked after the imports: a kill must not cost seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["groundscope.training.loop"])
    return context


def _start(processes, out: Path):
    model = preset("transformer-4", 300, n_layers=2, d_model=64, n_heads=2, n_positions=32)
    process = processes.Process(target=train, args=(CHUNKS, model, CONFIG, 42, out), kwargs={"arch": "tiny"})
    process.start()
    return process


def _finish(process) -> None:
    process.join(timeout=120)
    assert process.exitcode == 0


def _kill_when(process, happened) -> None:
    deadline = time.monotonic() + 60
    while not happened() and process.is_alive() and time.monotonic() < deadline:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed"


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits(processes, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _finish(_start(processes, whole))

    def states() -> set[str]:
        return {path.name for path in killed.glob("state/step-*")}

    for half_written in ("checkpoints/.step-*.partial", "state/.step-*.partial"):
        before = states()
        process = _start(processes, killed)
        _kill_when(process, lambda before=before: states() - before)  # it went on by a state at least
        process = _start(processes, killed)
        _kill_when(process, lambda pattern=half_written: any(killed.glob(f"{pattern}/*")))
    _finish(_start(processes, killed))

    assert [checkpoint.weight_hash for checkpoint in Trajectory.open(killed).checkpoints] == [
        checkpoint.weight_hash for checkpoint in Trajectory.open(whole).checkpoints
    ]
    Trajectory.open(killed).verify()
    tables = [hashlib.sha256((run / "loss.parquet").read_bytes()).hexdigest() for run in (whole, killed)]
    assert tables[0] == tables[1]
    assert not [*killed.rglob("*.partial"), *killed.rglob("*.retired")]
