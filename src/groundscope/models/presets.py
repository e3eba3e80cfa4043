"""The paper's architectures by name, and models whose weights come from a seed alone."""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from groundscope.errors import ModelError, did_you_mean
from groundscope.models.base import LanguageModel
from groundscope.models.bounds import check_settings
from groundscope.models.grounded_vlm import GroundedVLM, GroundedVLMConfig
from groundscope.models.language_model import GroundedLM, GroundedLMConfig
from groundscope.models.lstm import GroundedLSTM, GroundedLSTMConfig

Config = GroundedLMConfig | GroundedVLMConfig | GroundedLSTMConfig


def _transformer(n_layers: int) -> dict[str, Any]:
    return {"mixers": ("attention",) * n_layers}


def _mamba2(n_layers: int) -> dict[str, Any]:
    return {"mixers": ("mamba2",) * n_layers, "dropout": 0.0}  # as in Mamba-2's own models: no dropout


def _hybrid_middle(n_layers: int) -> dict[str, Any]:
    # of 12 layers: 4 to 7 as the paper counts (from 1), 3 to 6 in code; of others: the same part
    first = n_layers // 4
    middle = range(first, first + n_layers // 3)
    return {"mixers": tuple("mamba2" if layer in middle else "attention" for layer in range(n_layers))}


def _hybrid_even(n_layers: int) -> dict[str, Any]:
    # the paper's even layers (counted from 1) are the odd ones in code
    return {"mixers": tuple(("attention", "mamba2")[layer % 2] for layer in range(n_layers))}


def _lstm(n_layers: int) -> dict[str, Any]:
    return {"n_layers": n_layers}


# Depths are the paper's (section 3 there). It gives the width of the 12-layer Transformer alone, d_model = 768,
# which is the default for all.
PRESETS: Mapping[str, tuple[type[Config], Callable[[int], dict[str, Any]], int]] = {
    "transformer-4": (GroundedLMConfig, _transformer, 4),
    "transformer-12": (GroundedLMConfig, _transformer, 12),
    "transformer-18": (GroundedLMConfig, _transformer, 18),
    "mamba2-4": (GroundedLMConfig, _mamba2, 4),
    "mamba2-12": (GroundedLMConfig, _mamba2, 12),
    "lstm-4": (GroundedLSTMConfig, _lstm, 4),
    "hybrid-middle": (GroundedLMConfig, _hybrid_middle, 12),
    "hybrid-even": (GroundedLMConfig, _hybrid_even, 12),
    "vlm-4": (GroundedVLMConfig, _transformer, 4),
    "vlm-12": (GroundedVLMConfig, _transformer, 12),  # the paper's: patches of a ViT 768 wide, straight into the stream
}
"""Name -> config, what the preset sets for a number of layers, and that number unless another is given."""


def preset(name: str, vocab_size: int, /, **overrides: Any) -> Config:
    """Return the config of a preset; ``overrides`` are ``n_layers`` and any field of the config but ``vocab_size``.

    ``mixers`` writes a pattern of one's own, such as ``("attention", "mamba2", "attention")``, over a preset's; what
    else the preset sets (no dropout, with Mamba-2) stays.

    Raises ModelError for unknown names and fields, values that a field cannot have, and sizes that do not fit each
    other.
    """
    if name not in PRESETS:
        raise ModelError(
            f"There is no model preset '{name}'; there are {', '.join(PRESETS)}.{did_you_mean(name, PRESETS)}"
        )
    kind, settings, n_layers = PRESETS[name]
    if "mixers" in overrides and "n_layers" in overrides:
        raise ModelError("Give mixers, which names every layer's mixer, or n_layers, not both.")
    if "vocab_size" in overrides:
        raise ModelError("vocab_size is no setting of a model's: it is how many entries the corpus's vocabulary has.")
    n_layers = overrides.pop("n_layers", n_layers)
    check_settings({"n_layers": n_layers})  # before it is counted with
    fields = own_fields(kind)
    known = [field for field in fields if field not in ("n_layers", "vocab_size")]
    for field in overrides:
        if field not in known:
            raise ModelError(
                f"Preset '{name}' has no setting '{field}'; it has n_layers, {', '.join(known)}."
                f"{did_you_mean(field, (*known, 'n_layers'))}"
            )
    return kind(vocab_size=vocab_size, **settings(n_layers) | overrides)


def own_fields(config: type[Config]) -> tuple[str, ...]:
    """Names of the settings that a config class of ours adds to Hugging Face's own."""
    kinds = config.__mro__[: config.__mro__.index(PretrainedConfig)]
    ours = {name for kind in kinds for name in inspect.get_annotations(kind)}
    return tuple(field.name for field in dataclasses.fields(config) if field.name in ours)


_MODELS = {GroundedLMConfig: GroundedLM, GroundedVLMConfig: GroundedVLM, GroundedLSTMConfig: GroundedLSTM}


def build(config: Config, seed: int) -> LanguageModel:
    """Build a model in fp32, in training mode, its weights a function of ``config`` and ``seed`` alone.

    Every module draws from a generator of its own, seeded by (seed, the module's name). So the global generator is
    neither read nor moved, and two models of one seed start from equal weights wherever their layers agree (a hybrid
    and a Transformer, say), which makes them comparable.
    """
    with torch.device("meta"):
        model = _MODELS[type(config)](config)
    model.to_empty(device="cpu")
    model.tie_weights()
    for name, module in reversed(list(model.named_modules())):  # parents after their children
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        model._init_weights(module, torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1))
    return model.train()
