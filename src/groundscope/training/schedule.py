"""Which steps leave a checkpoint, and the learning rate of each step. Pure functions of the configuration."""

import math

from groundscope.training.config import CheckpointRule, Every, Log, TrainConfig

PAPER_FIRST = (0, 150, 300)
PAPER_EVERY = 500


def checkpoint_steps(rule: CheckpointRule, total: int) -> tuple[int, ...]:
    """Return the steps after which the weights are kept, ascending, ``total`` always among them.

    ``"paper"`` gives 0, 150, 300 and each multiple of 500: 43 checkpoints in 20,000 steps (the paper's
    schedule). Steps beyond ``total`` are left out.
    """
    match rule:
        case "paper":
            steps = {*PAPER_FIRST, *range(PAPER_EVERY, total + 1, PAPER_EVERY)}
        case Every():
            steps = set(range(0, total + 1, rule.every))
        case Log():
            steps = _log_spaced(rule.log, total)
        case _:
            steps = set(rule)
    return tuple(sorted({step for step in steps if step <= total} | {total}))


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of the update that leads from ``step`` updates to ``step + 1``.

    Rises linearly from 0 over ``warmup_steps``, then stays, or falls to 0 linearly or as half a cosine. The values
    are those of Hugging Face's ``get_scheduler``, so that results compare.
    """
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    match config.schedule:
        case "linear":
            return config.learning_rate * (1 - done)
        case "cosine":
            return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        case "constant":
            return config.learning_rate


def _log_spaced(count: int, total: int) -> set[int]:
    """Step 0 and ``count - 1`` steps from 1 to ``total``, as even on a logarithmic axis as whole numbers can be."""
    rest = min(count - 1, total)
    if rest < 2:
        return {0, total}
    steps = [0]
    for index in range(rest):
        exact = total ** (index / (rest - 1))
        steps.append(max(steps[-1] + 1, round(exact)))
    return set(steps)
