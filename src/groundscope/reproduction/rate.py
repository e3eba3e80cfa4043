"""How many operations a second a CPU core carries in training: as trainings here have shown, else as measured now."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from transformers import AutoConfig

from groundscope.errors import GroundscopeError
from groundscope.files import read_json
from groundscope.models.presets import Config, preset
from groundscope.progress import counted
from groundscope.reproduction.cost import flops
from groundscope.study.architecture import count_parameters
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train
from groundscope.training.run import read_run

SPEED = "speed.json"
MEASURED = preset("transformer-4", 10_000, d_model=128, n_heads=4, n_positions=256, dropout=0.0)
"""The model that is trained where nothing was: as narrow as at small scale."""
MEASURED_STEPS = 4


class Rate(NamedTuple):
    """Operations per second and core, and what says so."""

    flops: float
    source: str


REFERENCE = Rate(75e9, "the trainings of results/childes-architectures did on another machine")
"""All twelve together, one thread each."""


def recorded_rate(runs: Path) -> Rate | None:
    """Return the rate of all trainings on a CPU below ``runs`` together; None where there are none."""
    flops_done = core_seconds = trainings = 0
    for training in sorted({file.parent for file in runs.glob(f"*/**/{SPEED}")}):
        done, seconds = _done(training)
        flops_done, core_seconds, trainings = flops_done + done, core_seconds + seconds, trainings + (seconds > 0)
    if not core_seconds:
        return None
    return Rate(flops_done / core_seconds, f"{counted(trainings, 'training')} below {runs} did")


def measured_rate() -> Rate:
    """Train a narrow Transformer for a few steps on one thread, about two seconds, and return its rate.

    Processor time counts, so that what else the machine does just now is left out, and so is the time to begin.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one_step, several = (_processor_seconds(steps) for steps in (1, 1 + MEASURED_STEPS))
    finally:
        torch.set_num_threads(threads)
    return Rate(
        flops(MEASURED, count_parameters(MEASURED), MEASURED.n_positions, _steps(MEASURED_STEPS))
        / max(several - one_step, 1e-3),
        "a narrow Transformer was measured to train here just now",
    )


def _processor_seconds(steps: int) -> float:
    chunks = np.random.default_rng(0).integers(0, MEASURED.vocab_size, (64, MEASURED.n_positions), dtype=np.int32)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        train(chunks, MEASURED, _steps(steps), 0, Path(folder) / "training", arch="measured")
        return time.process_time() - begun


def _steps(steps: int) -> TrainConfig:
    return TrainConfig(steps=steps, schedule="constant", warmup_steps=0, checkpoints=(steps,), device="cpu")


def _done(training: Path) -> tuple[float, float]:
    """Operations that a training has done on CPUs, and its seconds times cores; nothing where that cannot be read."""
    sessions = list(_on_cpu(training))
    if not sessions:
        return 0.0, 0.0
    with suppress(GroundscopeError, ValueError, KeyError, TypeError):
        card = read_run(training)
        model = dict(card.model)
        config = cast(Config, AutoConfig.for_model(model.pop("model_type"), **model))
        per_step = flops(config, count_parameters(config), card.corpus.length, card.training) / card.training.steps
        steps = sum(session["last_step"] - session["first_step"] for session in sessions)
        cores = sum(session["seconds"] * session["threads"] * session["processes"] for session in sessions)
        return per_step * steps, cores
    return 0.0, 0.0


def _on_cpu(training: Path) -> Iterator[dict]:
    with suppress(GroundscopeError, KeyError, TypeError):
        yield from (session for session in read_json(training / SPEED)["sessions"] if session["device"] == "cpu")
