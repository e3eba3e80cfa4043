"""A compiled training objective is the eager one."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
from groundscope.models.language_model import GroundedLM, GroundedLMConfig
from groundscope.training.objective import NextTokenLoss

config = GroundedLMConfig(vocab_size=90, mixers=(sys.argv[1],), d_model=32, n_heads=2, dropout=0.2, ssm_d_head=16)
objective = NextTokenLoss(GroundedLM(config).train())
tokens = torch.randint(0, 90, (3, 150))
found = []
for step in (torch.compile(objective, backend="aot_eager"), objective):
    torch.manual_seed(1)  # dropout drops alike
    with torch.autocast("cpu", torch.bfloat16):
        loss = step(tokens)
    found.append((loss.detach(), *torch.autograd.grad(loss, list(objective.parameters()))))
for one, other in zip(*found, strict=True):
    torch.testing.assert_close(one, other, atol=2e-3, rtol=0.05)
"""


@pytest.mark.parametrize("mixer", ["attention", "mamba2"])
def test_loss_and_gradients_are_the_same_compiled(mixer: str) -> None:
    """In a process of its own, without the checks of shapes that tests put around functions: they break graphs."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, mixer], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
