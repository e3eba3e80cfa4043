import pytest
from pydantic import ValidationError

from groundscope.training.config import Every, Log, TrainConfig


def test_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.steps, config.batch_size, config.learning_rate, config.warmup_steps) == (20_000, 16, 5e-5, 1000)
    assert (config.schedule, config.clip, config.checkpoints) == ("linear", 1.0, "paper")


@pytest.mark.parametrize(
    ("given", "rule"),
    [("paper", "paper"), ({"every": 5}, Every(every=5)), ({"log": 9}, Log(log=9)), ([0, 4], (0, 4))],
)
def test_checkpoint_rules_are_read_from_plain_data(given, rule):
    config = TrainConfig.model_validate({"checkpoints": given})
    assert config.checkpoints == rule
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"warmup_steps": 20_000}, "lower warmup_steps or raise steps"),
        ({"steps": 2000, "checkpoints": [5, 3000]}, "step 3000, but the run ends at step 2000"),
        ({"batch_size": 6, "accumulate": 4}, "multiple of accumulate"),
        ({"leaning_rate": 1e-3}, "leaning_rate"),
        ({"checkpoints": {"evry": 5}}, "evry"),
        ({"state_every": "2 hours"}, "state_every"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        TrainConfig.model_validate(settings)
