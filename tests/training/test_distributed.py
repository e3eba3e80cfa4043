"""Several processes, started as a user would with torchrun, do what one does with the whole batch."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

SCRIPT = """
import signal
import sys
import time
from pathlib import Path
import numpy as np
from groundscope.errors import StoppedError
from groundscope.models.presets import preset
from groundscope.training import session as session_module
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train
from groundscope.training.session import Session

chunks, out = np.load(sys.argv[1], mmap_mode="r"), Path(sys.argv[2])
model = preset("transformer-4", 50, n_layers=2, d_model=16, n_heads=2, n_positions=16, dropout=0.0)
update, write_state = Session._update, session_module.write_state

def late(*state):
    time.sleep(0.5)
    write_state(*state)

def stopping(self, step, batch, *wishes):
    if step == 12:
        raise InterruptedError
    return update(self, step, batch, *wishes)

def asked(self, step, batch, *wishes):
    if step == 3 and self.fabric.global_rank == 1:
        signal.raise_signal(signal.SIGINT)
    return update(self, step, batch, *wishes)

for strategy in ("ddp", "fsdp"):
    config = TrainConfig(steps=20, batch_size=6, warmup_steps=3, learning_rate=3e-3, checkpoints={"every": 8},
                         state_every=5, precision="fp32", device="cpu", strategy=strategy)
    train(chunks, model, config, 1, out / strategy, arch="transformer-4")
    for interruption, write in ((stopping, write_state), (asked, late)):
        folder = out / f"{strategy}-{interruption.__name__}"
        Session._update, session_module.write_state = interruption, write
        try:
            train(chunks, model, config, 1, folder, arch="transformer-4")
        except (InterruptedError, KeyboardInterrupt, StoppedError):
            Session._update, session_module.write_state = update, write_state
            there = (folder / "state" / "step-00000006").is_dir()
            assert there or interruption is stopping, "a process left while another was writing"
        train(chunks, model, config, 1, folder, arch="transformer-4")
"""


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory, chunks):
    folder = tmp_path_factory.mktemp("torchrun")
    np.save(folder / "chunks.npy", chunks)
    (folder / "train.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "train.py", "chunks.npy", "."],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_as_one_with_the_whole_batch(torchrun, run, strategy):
    one, two = run(model={"dropout": 0.0}), torchrun / strategy
    losses = [pl.read_parquet(out / "loss.parquet") for out in (one, two)]
    assert losses[0]["step"].equals(losses[1]["step"])
    for column, tolerance in (("loss_nats", 1e-4), ("gradient_norm", 1e-3)):
        assert (losses[0][column] - losses[1][column]).abs().max() < tolerance
    for checkpoint in sorted((one / "checkpoints").iterdir()):
        theirs = load_file(two / "checkpoints" / checkpoint.name / "model.safetensors")
        for name, weight in load_file(checkpoint / "model.safetensors").items():
            assert (weight - theirs[name]).abs().max() < 2e-4


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize(("interruption", "resumed"), [("stopping", 10), ("asked", 6)])
def test_stopped_processes_go_on_to_the_same_bits(torchrun, fingerprint, strategy, interruption, resumed):
    """A signal to one process alone stops both where they next agree, after a state of that step."""
    out = torchrun / f"{strategy}-{interruption}"
    sessions = json.loads((out / "speed.json").read_text())["sessions"]
    assert [session["first_step"] for session in sessions] == [0, resumed]
    assert fingerprint(out) == fingerprint(torchrun / strategy)
