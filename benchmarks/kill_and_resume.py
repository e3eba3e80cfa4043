"""Kill a training run at random moments, start it again, and compare the bits with a run that was left alone.

    python benchmarks/kill_and_resume.py [--trials 20] [--seed 0]

Each trial trains into a new folder, is sent SIGKILL at a moment drawn evenly from the run's whole duration (its start
and its writes included), is started again by the same call and runs to its end. It passes when every
checkpoint's hash and the loss table's bytes are those of the uninterrupted run.
"""

import argparse
import hashlib
import json
import multiprocessing
import signal
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from groundscope.models.presets import preset
from groundscope.training.config import Every, TrainConfig
from groundscope.training.loop import train
from groundscope.trajectory.checkpoints import Trajectory

VOCABULARY, LENGTH = 500, 64
CONFIG = TrainConfig(
    steps=60,
    batch_size=8,
    warmup_steps=10,
    learning_rate=1e-3,
    checkpoints=Every(every=6),
    state_every=4,
    device="cpu",
)
PROCESSES = multiprocessing.get_context("forkserver")  # forked after the imports: a start costs no seconds


@dataclass(frozen=True)
class Trial:
    """What one kill met and whether the run recovered."""

    killed_after: float  # seconds
    checkpoints: int  # on the disk at the kill
    half_written: str  # what was being written
    resumed_from: int  # step
    identical: bool


def start(out: Path) -> BaseProcess:
    chunks = np.random.default_rng(0).integers(0, VOCABULARY, (64, LENGTH)).astype(np.int32)
    model = preset("transformer-4", VOCABULARY, n_layers=2, d_model=64, n_heads=2, n_positions=LENGTH)
    process = PROCESSES.Process(target=train, args=(chunks, model, CONFIG, 42, out), kwargs={"arch": "small"})
    process.start()
    return process


def finish(out: Path) -> None:
    process = start(out)
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"The run in {out} ended with status {process.exitcode}.")


def final_bits(out: Path) -> list[str]:
    trajectory = Trajectory.open(out)
    trajectory.verify()
    table = hashlib.sha256((out / "loss.parquet").read_bytes()).hexdigest()
    return [*(checkpoint.weight_hash for checkpoint in trajectory.checkpoints), table]


def one_trial(folder: Path, random: np.random.Generator, duration: float, expected: list[str]) -> Trial:
    while True:  # until a kill comes before the run's own end
        out, seconds = folder / str(random.integers(2**32)), random.uniform(0, duration)
        process = start(out)
        process.join(timeout=seconds)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            break
    written = len([*out.glob("checkpoints/step-*/card.json")])
    half = sorted({path.name.split(".")[1] for path in out.glob("*/.*.partial")})
    finish(out)
    sessions = json.loads((out / "speed.json").read_text())["sessions"]
    return Trial(seconds, written, ", ".join(half), sessions[-1]["first_step"], final_bits(out) == expected)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--trials", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=0)
    asked = arguments.parse_args()
    PROCESSES.set_forkserver_preload(["groundscope.training.loop"])
    table = Table("kill", "after", "checkpoints there", "half written", "resumed from step", "same bits")
    with tempfile.TemporaryDirectory() as folder:
        finish(Path(folder) / "warm-up")
        began = time.perf_counter()
        finish(Path(folder) / "whole")
        duration = time.perf_counter() - began
        expected = final_bits(Path(folder) / "whole")
        random = np.random.default_rng(asked.seed)
        trials = []
        for number in range(1, asked.trials + 1):
            trial = one_trial(Path(folder), random, duration, expected)
            trials.append(trial)
            table.add_row(
                str(number),
                f"{trial.killed_after:.2f} s",
                str(trial.checkpoints),
                trial.half_written or "-",
                str(trial.resumed_from),
                "yes" if trial.identical else "NO",
            )
    console = Console()
    console.print(table)
    passed = sum(trial.identical for trial in trials)
    console.print(
        f"{passed} of {len(trials)} killed runs ended with the hashes of the uninterrupted one "
        f"({CONFIG.steps} steps, {duration:.1f} s, a state every {CONFIG.state_every} steps, loss table and "
        f"{len(expected) - 1} checkpoints compared)."
    )
    raise SystemExit(passed != len(trials))


if __name__ == "__main__":
    main()
