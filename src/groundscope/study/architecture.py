"""What a study's model is, given the corpus: its config and how many parameters it has."""

import torch
from transformers import AutoModelForCausalLM

import groundscope.models  # noqa: F401  # makes our architectures known to transformers
from groundscope.models.presets import Config, own_fields, preset
from groundscope.study.config import ModelSettings


def model_config(settings: ModelSettings, vocabulary: int, chunk_length: int) -> Config:
    """Return the preset with its overrides, for this vocabulary, with as many positions as a chunk has."""
    config = preset(settings.preset, vocabulary, **settings.overrides)
    if "n_positions" in own_fields(type(config)) and "n_positions" not in settings.overrides:
        config = preset(settings.preset, vocabulary, **{**settings.overrides, "n_positions": chunk_length})
    return config


def count_parameters(config: Config) -> int:
    """Count the parameters of a model without making its weights; tied ones count once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(weight.numel() for weight in model.parameters())
