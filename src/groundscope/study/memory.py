"""The memory that a study's largest training needs, about, where it trains, and how many this machine has room for."""

import os
from pathlib import Path

import torch

from groundscope.models.presets import Config
from groundscope.study.architecture import count_parameters, model_config
from groundscope.study.config import Study
from groundscope.study.devices import device_here
from groundscope.study.disk import CorpusSize, corpus_size
from groundscope.training.config import TrainConfig

PROCESS = 500_000_000
"""Bytes of a process that has loaded torch; a GPU that it computes on keeps about as many for itself."""
PARAMETER = 16
"""Bytes per parameter: the weight, its gradient and two moments in float32."""
ACTIVATION = 160
"""Bytes kept for the backward pass per token, layer and unit of width: what a 12-layer Transformer of width 768 was
measured to take at 2,048 tokens on a CPU in bfloat16 (5.4 GiB in all, with a vocabulary of 89,057)."""
MEMORY_INFO = Path("/proc/meminfo")
LIMIT, USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def memory_need(study: Study, run: Path) -> dict[str, int]:
    """Return, by kind of device, about how many bytes of its memory the largest training there takes.

    Analyses take less (they have budgets).
    """
    corpus = corpus_size(study, run)
    needs: dict[str, int] = {}
    for name, settings in study.models.items():
        config = study.training_of(name)
        need = _training(model_config(settings, corpus.vocabulary, corpus.chunk_length), config, corpus)
        device = device_here(config.device)
        needs[device] = max(need, needs.get(device, 0))
    return needs


def memory_free(device: str = "cpu") -> int:
    """Return the bytes that new processes may take, within the limit of a container where there is one.

    A GPU has memory of its own, Apple's has the machine's.
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    lines = MEMORY_INFO.read_text(encoding="ascii").splitlines() if MEMORY_INFO.is_file() else []
    known = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    known = known or [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if LIMIT.is_file() and (limit := LIMIT.read_text(encoding="ascii").strip()).isdigit():
        known.append(max(0, int(limit) - int(USED.read_text(encoding="ascii"))))
    return min(known)


def room_for(need: int, free: int) -> int:
    """How many trainings of ``need`` bytes fit into ``free``; at least one, which may fit better than estimated."""
    return max(1, free // need)


def _training(model: Config, config: TrainConfig, corpus: CorpusSize) -> int:
    tokens = config.batch_size // config.accumulate * corpus.chunk_length
    width, depth = getattr(model, "d_model"), getattr(model, "n_layers")  # noqa: B009  # every config of ours has them
    return PROCESS + PARAMETER * count_parameters(model) + ACTIVATION * tokens * width * depth
