"""Lenses on disk, in the layout of the tuned-lens library, so that either side reads the other's lenses.

A lens' folder holds

- ``config.json``: the library's fields, no more and no fewer;
- ``params.safetensors``: parameters named as the library names them, ``{layer}.weight`` and ``{layer}.bias``;
- ``card.json``: which model the lens was made for, by the SHA-256 of the whole unembedding;
- on request ``params.pt``: the same parameters as the pickle that the library itself reads. A pickle can run code when
  it is opened; ours is opened with ``weights_only=True``, which admits tensors alone, and refused otherwise.

The library's ``unembed_hash`` hashes a *printed abbreviation* of the unembedding: 36 corner entries, to one digit. It
is written and checked because the library does so, but it cannot tell many models apart; the card's hash can.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from groundscope.errors import AnalysisError
from groundscope.files import atomic_directory, read_json, write_json
from groundscope.mechanism.lens import LinearLens, TunedLens, check_fit
from groundscope.models.base import LanguageModel

CONFIG, PARAMS, PICKLE, CARD = "config.json", "params.safetensors", "params.pt", "card.json"
LIBRARY_TYPES: dict[str, type[TunedLens] | type[LinearLens]] = {
    "linear_tuned_lens": TunedLens,  # the library's only one
    "groundscope_linear_lens": LinearLens,
}
# our parameter -> how the library's layout names one layer's share of it
_NAMES = {"weight": "weight", "bias": "bias", "norm_weight": "norm.weight", "norm_bias": "norm.bias"}


def save_lens(
    folder: Path,
    lens: TunedLens | LinearLens,
    model: LanguageModel,
    *,
    base_model: str = "",
    revision: str | None = None,
    notes: dict[str, Any] | None = None,
    library_pickle: bool = False,
) -> None:
    """Write a lens and which model it reads, atomically.

    ``base_model`` and ``revision`` name the model for people; its hashes identify it. ``notes`` are kept in the card
    (how it was trained, say). ``library_pickle`` adds the ``params.pt`` that the tuned-lens library reads. Raises
    AnalysisError for a lens of another model's depth or width.
    """
    check_fit(lens, model)
    config = {
        "base_model_name_or_path": base_model or str(model.config.name_or_path),
        "d_model": lens.d_model,
        "num_hidden_layers": lens.n_layers,
        "bias": lens.bias is not None,
        "base_model_revision": revision,
        "unembed_hash": library_hash(model.unembedding),
        "lens_type": next(name for name, kind in LIBRARY_TYPES.items() if kind is type(lens)),
    }
    parameters = {
        f"{layer}.{_NAMES[name]}": value[layer].detach().cpu().contiguous().clone()
        for name, value in lens.named_parameters()
        for layer in range(lens.n_layers)
    }
    with atomic_directory(folder) as temporary:
        write_json(temporary / CONFIG, config)
        write_json(temporary / CARD, {"unembedding_sha256": tensor_sha256(model.unembedding), **(notes or {})})
        save_file(parameters, temporary / PARAMS)
        if library_pickle:
            torch.save(parameters, temporary / PICKLE)


def load_lens(folder: Path, model: LanguageModel) -> TunedLens | LinearLens:
    """Read a lens of ours or of the tuned-lens library, for the model that it was made for.

    Raises AnalysisError when there is none, when it is damaged or not of a known kind, and when the model's
    unembedding is not the one that the lens was trained through (another checkpoint, or a damaged one).
    """
    config = _config(folder)
    kind = LIBRARY_TYPES.get(str(config.get("lens_type", "linear_tuned_lens")))
    if kind is None:
        raise AnalysisError(f"The lens at {folder} is a '{config['lens_type']}'; known are {list(LIBRARY_TYPES)}.")
    lens = kind(int(config["num_hidden_layers"]), int(config["d_model"]), bias=bool(config.get("bias", True)))
    check_fit(lens, model)
    _check_unembedding(folder, config, model)
    stored = _parameters(folder)
    state = {}
    for name, value in lens.named_parameters():
        layers = [stored.pop(f"{layer}.{_NAMES[name]}", None) for layer in range(lens.n_layers)]
        if any(layer is None or layer.shape != value.shape[1:] for layer in layers):
            raise AnalysisError(f"The lens at {folder} is damaged: '{_NAMES[name]}' is missing or of a wrong shape.")
        state[name] = torch.stack(layers).float()  # type: ignore[arg-type]
    if stored:
        raise AnalysisError(f"The lens at {folder} holds more than its {CONFIG} says: {sorted(stored)[:3]}.")
    lens.load_state_dict(state)
    return lens.requires_grad_(False).to(model.unembedding.device)


def library_hash(unembedding: Tensor) -> str:
    """Return tuned-lens's ``unembed_hash`` (its ``utils.tensor_hash``, version 0.2.0); see above for what it misses."""
    matrix = unembedding.detach().cpu().float().numpy()
    with np.printoptions(threshold=1000, edgeitems=3, linewidth=75):  # NumPy's defaults, whatever the caller has set
        return hashlib.sha256(np.array_str(matrix, precision=1).encode()).hexdigest()


def tensor_sha256(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's values as float32, row by row."""
    return hashlib.sha256(tensor.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise AnalysisError(f"There is no lens at {folder}: it has no {CONFIG}.")
    config = read_json(folder / CONFIG)
    lacking = {"d_model", "num_hidden_layers"} - set(config)
    if lacking:
        raise AnalysisError(f"{folder / CONFIG} is not a lens' config: it lacks {sorted(lacking)}.")
    return config


def _check_unembedding(folder: Path, config: dict[str, Any], model: LanguageModel) -> None:
    card = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    if "unembedding_sha256" in card:
        same = card["unembedding_sha256"] == tensor_sha256(model.unembedding)
    else:  # the library's own lens
        same = config.get("unembed_hash") in (None, library_hash(model.unembedding))
    if not same:
        made_for = config.get("base_model_name_or_path") or "another model"
        revision = config.get("base_model_revision")
        raise AnalysisError(
            f"The lens at {folder} was trained through another unembedding than this model's: it belongs to {made_for}"
            f"{f' at {revision}' if revision else ''}. Load that checkpoint, check it for damage, or train a lens."
        )


def _parameters(folder: Path) -> dict[str, Tensor]:
    try:
        if (folder / PARAMS).is_file():
            return load_file(folder / PARAMS)
        return dict(torch.load(folder / PICKLE, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise AnalysisError(f"The lens at {folder} has neither {PARAMS} nor {PICKLE}.") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise AnalysisError(f"The parameters of the lens at {folder} cannot be read safely: {reason}") from None
