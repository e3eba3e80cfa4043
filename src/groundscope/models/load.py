"""Models from disk."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from groundscope.errors import ModelError
from groundscope.files import read_json
from groundscope.models.base import LanguageModel
from groundscope.models.grounded_vlm import GroundedVLM, GroundedVLMConfig
from groundscope.models.language_model import GroundedLM, GroundedLMConfig
from groundscope.models.lstm import GroundedLSTM, GroundedLSTMConfig

_KINDS = {
    "groundscope": (GroundedLMConfig, GroundedLM),
    "groundscope-vlm": (GroundedVLMConfig, GroundedVLM),
    "groundscope-lstm": (GroundedLSTMConfig, GroundedLSTM),
}


def load_model(path: Path) -> LanguageModel:
    """Load a checkpoint of ours (config.json, model.safetensors) in fp32 and eval mode, whatever it was stored in.

    The same model as ``from_pretrained`` gives, without its progress bars: a trajectory loads many. Raises ModelError
    when there is no checkpoint, when it is of another kind, damaged, or its weights are not the config's.
    """
    if not (path / CONFIG_NAME).is_file():
        raise ModelError(f"There is no checkpoint at {path}: it has no {CONFIG_NAME}.")
    settings = read_json(path / CONFIG_NAME)
    if settings.get("model_type") not in _KINDS:
        raise ModelError(f"{path} holds a '{settings.get('model_type')}' model; groundscope's are {list(_KINDS)}.")
    config_kind, model_kind = _KINDS[settings["model_type"]]
    with torch.device("meta"):
        model = model_kind(config_kind.from_dict(settings))
    try:
        weights = load_file(path / SAFE_WEIGHTS_NAME)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The weights at {path} cannot be read: {error}.") from None
    weights = {name: weight.float() for name, weight in weights.items()}
    want = {name: value.shape for name, value in model.state_dict().items()}
    tied = set(model.all_tied_weights_keys)
    for name in sorted({*want} - tied | {*weights} - tied):
        found = weights[name].shape if name in weights else None
        if found != want.get(name):
            raise ModelError(
                f"The weights at {path} do not belong to its {CONFIG_NAME}: {name} should have shape "
                f"{_shape(want.get(name))}, found {_shape(found)}."
            )
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    return model.eval()


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))
