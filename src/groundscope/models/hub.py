"""Models by name: a folder, one of our checkpoints, or a Hugging Face repository at a revision."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import CONFIG_NAME, logging

from groundscope.errors import ModelError, did_you_mean
from groundscope.files import read_json
from groundscope.models.base import LanguageModel
from groundscope.models.load import load_model
from groundscope.models.memory import out_of_memory
from groundscope.models.pretrained import PretrainedLM

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def from_pretrained(
    name_or_path: str | Path,
    revision: str | None = None,
    *,
    device: str = "cpu",
    dtype: str = "float32",
) -> LanguageModel:
    """Load a causal language model in eval mode: a groundscope checkpoint or a Hugging Face model.

    ``name_or_path`` is a folder or a repository's name (``EleutherAI/pythia-160m``), ``revision`` a branch, tag or
    commit of it (``step1000``). ``device`` "auto" takes the GPU where there is one. ``dtype`` is what the model is
    computed in, whatever it is stored in; float32 unless memory forbids it, since saliency is small numbers.

    Raises ModelError when there is no such model or revision, when it cannot be had offline, when its files are
    damaged or lack weights (transformers would invent them), and when it is not a causal language model.
    """
    number, place = dtype_named(dtype), device_named(device)
    folder = Path(name_or_path)
    refuse_no_checkpoint(folder, revision)
    if _is_ours(folder):
        model: LanguageModel = load_model(folder).to(number)  # type: ignore[arg-type]
    else:
        loaded = load_weights(AutoModelForCausalLM, "causal language model", str(name_or_path), revision, number)
        model = PretrainedLM(loaded, load_tokenizer(str(name_or_path), revision))
    put_on(place, model)
    return model.eval()


def put_on(device: torch.device, model: nn.Module) -> None:
    """Move a model onto a device; raises ModelError where it does not fit."""
    try:
        model.to(device)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise ModelError(
            f"The model does not fit into the memory of {device} ({_first(error)}). Ask for dtype bfloat16, or for "
            "another device: cpu."
        ) from None


def load_tokenizer(name_or_path: str, revision: str | None = None) -> PreTrainedTokenizerBase | None:
    """Load a model's tokenizer; None where it has none (own models keep a vocabulary instead)."""
    try:
        return AutoTokenizer.from_pretrained(name_or_path, revision=revision)
    except (OSError, ValueError, KeyError):  # no files, or none that this installation can read
        return None


def _is_ours(folder: Path) -> bool:
    config = folder / CONFIG_NAME
    return config.is_file() and str(read_json(config).get("model_type")).startswith("groundscope")


def refuse_no_checkpoint(folder: Path, revision: str | None) -> None:
    """Raise ModelError for a folder that holds no checkpoint, or of which a revision is asked."""
    if folder.is_dir() and revision is not None:
        raise ModelError(f"{folder} is a folder: it has no revision '{revision}' (repositories on a hub have).")
    if folder.is_dir() and not (folder / CONFIG_NAME).is_file():
        raise ModelError(f"{folder} is no model: it has no {CONFIG_NAME}. Give the folder of one checkpoint.")


def load_weights(auto: Any, kind: str, name: str, revision: str | None, dtype: torch.dtype) -> PreTrainedModel:
    """Load a model of Hugging Face's through one of its auto classes; ``kind`` says in words what ``auto`` loads.

    Raises ModelError as `from_pretrained` does, but looks at no folder; see `refuse_no_checkpoint`.
    """
    asked = f"'{name}'" if revision is None else f"'{name}' at revision '{revision}'"
    try:
        with no_progress_bar():
            loaded: Any = auto.from_pretrained(name, revision=revision, dtype=dtype, output_loading_info=True)
    except SafetensorError as error:
        raise ModelError(f"The weights of {asked} are damaged ({error}). Delete them and download again.") from None
    except ValueError as error:
        raise ModelError(f"{asked} is not a {kind} that transformers knows: {_first(error)}") from None
    except (OSError, KeyError) as error:
        raise ModelError(f"{asked} could not be loaded: {_reason(name, revision, error)}") from None
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise ModelError(f"The weights of {asked} are of other sizes than its {CONFIG_NAME} says.") from None
    model, report = loaded
    if report["missing_keys"]:
        lacking = sorted(map(str, report["missing_keys"]))
        raise ModelError(
            f"{asked} lacks weights of a {type(model).__name__} ({', '.join(lacking[:3])}; {len(lacking)} in all): "
            "it is another kind of model, or incomplete. Random ones in their place would make any result worthless."
        )
    return model


def _reason(name: str, revision: str | None, error: Exception) -> str:
    if Path(name).is_dir():
        return f"the folder is incomplete. {_first(error)}"
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        return "there is no such folder, and it is not the name of a repository (owner/name)."
    if constants.HF_HUB_OFFLINE:
        return (
            "it is not in the cache and HF_HUB_OFFLINE forbids the network. "
            f"Fetch it where there is one: hf download {name}{f' --revision {revision}' if revision else ''}. "
            f"Cache: {constants.HF_HUB_CACHE}"
        )
    return (
        f"{_first(error)} Check the name, the revision and the network; private and gated models "
        f"want `hf auth login`. Cache: {os.path.expanduser(constants.HF_HUB_CACHE)}"
    )


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar off the terminal: a trajectory loads many models, and the caller reports."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _first(error: Exception) -> str:
    """Return the first sentence of an error of transformers, which can run to pages."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line if len(line) <= 200 else line[:200] + "..."


def dtype_named(name: str) -> torch.dtype:
    """Return a kind of number by its name; raises ModelError for one that models are not loaded in."""
    if name not in DTYPES:
        raise ModelError(f"Unknown dtype '{name}'; choose from {list(DTYPES)}.{did_you_mean(name, DTYPES)}")
    return DTYPES[name]


def device_named(name: str) -> torch.device:
    """Return a device by its name, "auto" being the GPU where there is one; raises ModelError where torch has none."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # by build of torch and kind of device
        raise ModelError(
            f"There is no device '{name}' here ({_first(error)}); use auto, cpu, or cuda where there is one."
        ) from None
    return device
