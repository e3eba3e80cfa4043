"""`groundscope`'s command line where there is a GPU, as it seems: checkpoints are measured on the stand-in device.

    python on_elsewhere.py run study.yaml ...       the command
    python on_elsewhere.py steps out.json           the losses of a few steps of each architecture

in a process of its own, since the device cannot be taken back.
"""

import contextlib
import json
import sys
from pathlib import Path

import torch

torch.inference_mode = lambda mode=True: torch.no_grad() if mode else contextlib.nullcontext()  # views there have none

from elsewhere import DEVICE  # noqa: E402

from groundscope.cli import main  # noqa: E402
from groundscope.models.load import load_model  # noqa: E402
from groundscope.models.presets import build, preset  # noqa: E402
from groundscope.training.config import TrainConfig  # noqa: E402
from groundscope.training.objective import NextTokenLoss, clip_gradients, make_optimizer  # noqa: E402
from groundscope.trajectory.checkpoints import Checkpoint  # noqa: E402


def as_if_there_was_a_gpu() -> None:
    """Have torch say that there is one, and put there whatever is loaded onto it."""

    def load(self: Checkpoint, device: str = "cpu"):
        assert device == "cuda", f"a checkpoint is loaded onto {device}, where there is a GPU"
        return load_model(self.path).to(DEVICE)

    torch.cuda.is_available = lambda: True
    torch.cuda.get_device_name = lambda device=None: "a stand-in"
    Checkpoint.load = load  # type: ignore[method-assign]


def losses(name: str, device: torch.device, steps: int = 3) -> list[float]:
    """Train a small model of each architecture as a session does, in bf16; the loss in nats of each step."""
    config = TrainConfig(steps=steps, warmup_steps=0, schedule="constant", learning_rate=1e-3, checkpoints=(steps,))
    model = build(preset(name, 50, **SMALL[name]), seed=1).to(device).train()
    model.tie_weights()  # a tensor in Python cannot take the place of another, so that moving parts what is tied
    objective, optimizer = NextTokenLoss(model), make_optimizer(model, config)
    for module in model.modules():
        if isinstance(module, torch.nn.LSTM):
            module.register_forward_pre_hook(lambda *_: refuse_autocast(device))
    tokens = torch.arange(64).reshape(4, 16).remainder(50).to(device)
    found = []
    for _ in range(steps):
        with torch.autocast(device.type, torch.bfloat16):
            loss = objective(tokens)
        loss.backward()
        clip_gradients(model, config.clip)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def refuse_autocast(device: torch.device) -> None:
    """Fail where an LSTM is run under autocast: a GPU's would take it to fp16, whatever was asked for."""
    assert not torch.is_autocast_enabled(device.type)


SMALL = {
    "transformer-4": {"d_model": 32, "n_heads": 2, "dropout": 0.0},
    "hybrid-middle": {"d_model": 32, "n_heads": 2, "dropout": 0.0},
    "lstm-4": {"d_model": 32, "dropout": 0.0},
}

if __name__ == "__main__":
    if sys.argv[1] == "steps":
        found = {name: [losses(name, torch.device("cpu")), losses(name, DEVICE)] for name in SMALL}
        Path(sys.argv[2]).write_text(json.dumps(found))
    else:
        as_if_there_was_a_gpu()
        main(sys.argv[1:])
