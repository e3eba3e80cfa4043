"""The model and its optimizer as plain tensors on the CPU, however they are spread over devices, and back."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from groundscope.training.metrics import Measurements
from groundscope.training.state import TrainState


def gather_weights(model: nn.Module, *, copy: bool = False) -> dict[str, Tensor]:
    """Return all weights and persistent buffers by name, tied ones once; every process must call this.

    What lies on the CPU is given as it is, and changes with the next update, unless a ``copy`` is asked for.
    """
    return {name: _gathered(weight, copy) for name, weight in _named(model).items()}


def take_snapshot(
    step: int, model: nn.Module, optimizer: torch.optim.Optimizer, measurements: Measurements, *, copy: bool = False
) -> TrainState:
    """Return the whole train state after ``step`` updates; every process must call this.

    What lies on the CPU, such as an optimizer's count of steps, changes with the next update, unless a ``copy`` is
    asked for.
    """
    moments = {
        name: {slot: _gathered(value, copy) for slot, value in optimizer.state[weight].items()}
        for name, weight in _named(model).items()
        if weight in optimizer.state
    }
    so_far = Measurements(measurements.loss, measurements.gradient_norm)
    return TrainState(step, gather_weights(model, copy=copy), moments, so_far)


@torch.no_grad()
def restore_snapshot(state: TrainState, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a train state back into a model and an optimizer built as they were when it was taken."""
    named = _named(model)
    for name, weight in named.items():
        weight.copy_(_spread(state.weights[name], weight))
    name_of = {weight: name for name, weight in named.items()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = {
        index: {slot: _spread(value, weight) for slot, value in state.optimizer[name_of[weight]].items()}
        for index, weight in enumerate(weights)
        if name_of[weight] in state.optimizer
    }
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _named(model: nn.Module) -> dict[str, Tensor]:
    named: dict[Tensor, str] = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        named.setdefault(weight, name)  # a tied weight keeps its first name
    return {name: weight for weight, name in named.items()}


def _gathered(tensor: Tensor, copy: bool) -> Tensor:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().to("cpu", copy=copy)


def _spread(value: Tensor, like: Tensor) -> Tensor:
    """Share ``value`` among the processes as ``like`` is; counters, which have no shape, stay whole."""
    if isinstance(like, DTensor) and value.shape == like.shape:
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value
