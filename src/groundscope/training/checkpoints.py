"""One checkpoint on disk: weights as safetensors, the model's configuration, and a card that proves them.

    checkpoints/step-00000150/{model.safetensors, config.json, card.json}

`AutoModelForCausalLM.from_pretrained` reads such a folder.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from groundscope.errors import GroundscopeError
from groundscope.files import atomic_directory, read_json, sha256_file, write_json
from groundscope.record import Record

WEIGHTS = "model.safetensors"
CARD = "card.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class CheckpointCard(Record):
    """What is known of a checkpoint without opening its weights."""

    step: int = Field(description="optimizer steps done")
    tokens_seen: int = Field(description="training tokens read up to this step, repetitions included")
    weight_hash: str = Field(description="SHA-256 of model.safetensors")
    dtype: Literal["fp32", "bf16"] = Field(description="type that the weights are kept in")


def checkpoint_folder(run: Path, step: int) -> Path:
    """Return where the checkpoint of ``step`` lies in a run directory."""
    return run / "checkpoints" / f"step-{step:08d}"


def is_kept(run: Path, step: int) -> bool:
    """Whether the checkpoint of ``step`` is there; its hash is for who reads it to prove."""
    folder = checkpoint_folder(run, step)
    return (folder / CARD).is_file() and (folder / WEIGHTS).is_file()


def write_checkpoint(
    run: Path,
    model: PreTrainedModel,
    weights: Mapping[str, Tensor],
    *,
    step: int,
    tokens_seen: int,
    dtype: Literal["fp32", "bf16"],
) -> CheckpointCard:
    """Write one checkpoint, atomically, and return its card; the same weights give the same bytes.

    ``weights`` [name -> tensor on the CPU] are the whole model's, tied ones once; ``model`` lends its class and
    configuration.
    """
    kept = {
        name: weight.to(DTYPES[dtype]) if weight.is_floating_point() else weight for name, weight in weights.items()
    }
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = DTYPES[dtype]
    with atomic_directory(checkpoint_folder(run, step)) as folder:
        # not model.save_pretrained: it draws its own progress bar, and gathers weights its own way
        save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
        config.save_pretrained(folder)
        card = CheckpointCard(
            step=step, tokens_seen=tokens_seen, weight_hash=sha256_file(folder / WEIGHTS), dtype=dtype
        )
        write_json(folder / CARD, card.model_dump())
    return card


def read_card(folder: Path) -> CheckpointCard:
    """Read a checkpoint's card; raises GroundscopeError that names the file when it is missing or damaged."""
    card = read_json(folder / CARD)
    try:
        return CheckpointCard.model_validate(card)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise GroundscopeError(
            f"{folder / CARD} is not a checkpoint's card ({where}: {first['msg']}). Delete {folder} and train again."
        ) from None
