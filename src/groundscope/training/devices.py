"""Where a run trains: device, precision and the processes that share it, through Lightning Fabric."""

import logging
import os
import platform
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from groundscope.errors import TrainingError
from groundscope.training.config import TrainConfig


def launch(config: TrainConfig) -> Fabric:
    """Return a launched Fabric: one device, or this process's part of what torchrun started.

    ``torchrun --nproc-per-node N`` gives N processes, one device each; without it there is one. Raises TrainingError
    for a kind of device that is not there.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce each setting
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    device = device_of(config.device)
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=processes // local,
        strategy=_strategy(config, processes),
        precision="bf16-mixed" if resolve_precision(config.precision, device) == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def machine(fabric: Fabric) -> dict[str, int | str]:
    """Return what a run's rounding depends on beside its configuration."""
    return {"threads": torch.get_num_threads(), "processes": fabric.world_size, "device": fabric.device.type}


def resolve_precision(asked: Literal["auto", "fp32", "bf16"], device: str) -> Literal["fp32", "bf16"]:
    """Return the precision that is used: for ``auto``, bf16 where the hardware multiplies it natively."""
    if asked != "auto":
        return asked
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "cpu" and platform.machine().lower() in ("x86_64", "amd64"):
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    elif device == "cpu":
        native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        native = False
    return "bf16" if native else "fp32"


def device_of(asked: str) -> str:
    """Return the kind of device for ``device: asked``; raises TrainingError for one that torch does not see."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(device for device, is_there in there.items() if is_there)
    if not there[asked]:
        raise TrainingError(
            f"device: {asked} asks for what torch does not see here. Set device: auto, or install a torch that "
            "was built for it."
        )
    return asked


def _strategy(config: TrainConfig, processes: int) -> Strategy | str:
    if processes == 1:
        return "auto"
    if config.strategy == "fsdp":
        return ModelParallelStrategy(_shard, data_parallel_size=processes, tensor_parallel_size=1)
    return "ddp"


def _shard(objective: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Share the weights of each block, then of the rest, among the processes (FSDP2)."""
    processes = mesh["data_parallel"]
    for module in list(objective.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=processes)
    fully_shard(objective, mesh=processes)
    return objective
