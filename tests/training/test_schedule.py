import pytest
import torch
from transformers import get_scheduler

from groundscope.training.config import Every, Log, TrainConfig
from groundscope.training.schedule import checkpoint_steps, learning_rate


def test_paper_keeps_43_checkpoints_of_20000_steps():
    steps = checkpoint_steps("paper", 20_000)
    assert len(steps) == 43
    assert steps[:5] == (0, 150, 300, 500, 1000)
    assert steps[-1] == 20_000


@pytest.mark.parametrize(
    ("rule", "total", "steps"),
    [
        ("paper", 100, (0, 100)),
        ("paper", 700, (0, 150, 300, 500, 700)),
        (Every(every=4), 10, (0, 4, 8, 10)),
        (Every(every=5), 10, (0, 5, 10)),
        ((7, 2, 2), 10, (2, 7, 10)),
        ((), 10, (10,)),
        (Log(log=2), 100, (0, 100)),
        (Log(log=4), 100, (0, 1, 10, 100)),
        (Log(log=5), 8, (0, 1, 2, 4, 8)),
        (Log(log=99), 4, (0, 1, 2, 3, 4)),
        (Log(log=5), 1, (0, 1)),
    ],
)
def test_checkpoint_steps(rule, total, steps):
    assert checkpoint_steps(rule, total) == steps


@pytest.mark.parametrize("count", range(2, 40))
def test_log_rule_keeps_as_many_as_it_says(count):
    steps = checkpoint_steps(Log(log=count), 1000)
    assert len(steps) == count
    assert steps[0] == 0
    assert steps[-1] == 1000


@pytest.mark.parametrize(
    ("schedule", "theirs"), [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")]
)
@pytest.mark.parametrize("warmup", [0, 7])
def test_learning_rate_is_hugging_faces(schedule, theirs, warmup):
    config = TrainConfig(steps=40, learning_rate=3e-3, warmup_steps=warmup, schedule=schedule)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-3)
    scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=40)
    for step in range(40):
        assert learning_rate(step, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12, abs=1e-18)
        optimizer.step()
        scheduler.step()
