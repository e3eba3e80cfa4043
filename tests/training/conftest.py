import hashlib
import signal
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from groundscope.models.presets import preset
from groundscope.progress import Progress
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train

VOCABULARY = 50
LENGTH = 16


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def chunks() -> np.ndarray:
    """Text with something to learn: each token follows from the one before it, or is noise."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, VOCABULARY, (40, LENGTH))
    for place in range(1, LENGTH):
        known = random.random(len(tokens)) < 0.8
        tokens[known, place] = (tokens[known, place - 1] * 7 + 3) % VOCABULARY
    return tokens.astype(np.int32)


@pytest.fixture(scope="session")
def small_config() -> Callable[..., TrainConfig]:
    """A run of seconds; settings of TrainConfig by name."""
    return _small_config


def _small_config(**changes) -> TrainConfig:
    settings = {
        "steps": 20,
        "batch_size": 6,
        "warmup_steps": 3,
        "learning_rate": 3e-3,
        "checkpoints": {"every": 8},
        "state_every": 5,
        "precision": "fp32",
        "device": "cpu",
    }
    return TrainConfig.model_validate(settings | changes)


@pytest.fixture
def run(chunks, tmp_path) -> Callable[..., Path]:
    """Train a tiny model into a folder of the test; settings of TrainConfig by name."""

    def run(name="run", *, seed=1, arch="transformer-4", model=None, progress=None, data=chunks, **changes) -> Path:
        sizes = {"n_layers": 2, "d_model": 16, "dropout": 0.1} | (model or {})
        if arch.startswith("transformer"):
            sizes = {"n_heads": 2, "n_positions": LENGTH} | sizes
        config = preset(arch, VOCABULARY, **sizes)
        train(data, config, _small_config(**changes), seed, tmp_path / name, arch=arch, progress=progress)
        return tmp_path / name

    return run


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[Path], dict[str, str]]:
    """SHA-256 of every file that two identical runs share to the bit."""

    def fingerprint(run: Path) -> dict[str, str]:
        files = [*run.glob("checkpoints/*/*"), run / "loss.parquet", run / "run.json"]
        return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}

    return fingerprint


@pytest.fixture
def interrupt_after() -> Callable[[int], Progress]:
    """A progress that raises InterruptedError when so many steps of a session are done."""
    return _InterruptAfter


@pytest.fixture
def signal_after() -> Callable[..., Progress]:
    """A progress that sends signals to this process when so many steps of a session are done."""
    return _SignalAfter


@pytest.fixture
def recorded() -> "_Recorded":
    """A progress that keeps what was said in ``lines``."""
    return _Recorded()


class _InterruptAfter(Progress):
    def __init__(self, steps: int):
        super().__init__(quiet=True)
        self.left = steps

    @contextmanager
    def task(self, label: str, total: int, done: int = 0):
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.left -= amount
        if self.left == 0:
            raise InterruptedError


class _SignalAfter(_InterruptAfter):
    def __init__(self, steps: int, *numbers: int):
        super().__init__(steps)
        self.numbers = numbers

    def advance(self, amount: int = 1, note: str = "") -> None:
        try:
            super().advance(amount, note)
        except InterruptedError:
            for number in self.numbers:
                signal.raise_signal(number)


class _Recorded(Progress):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)
