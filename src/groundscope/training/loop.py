"""Training: from chunks and a model's configuration to checkpoints and a table of losses."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped

from groundscope.errors import GroundscopeError
from groundscope.models.presets import Config, build, own_fields
from groundscope.progress import Progress
from groundscope.tables import read_table
from groundscope.training.allocator import freed_memory_kept
from groundscope.training.batches import Share, read_batches
from groundscope.training.checkpoints import CARD, checkpoint_folder
from groundscope.training.config import TrainConfig
from groundscope.training.devices import launch, resolve_precision
from groundscope.training.memory import explain_shortage
from groundscope.training.metrics import LOSS
from groundscope.training.run import LOSS_TABLE, CorpusFacts, RunCard, begin, only_writer
from groundscope.training.session import Session
from groundscope.training.state import newest_state, read_state, remove_states


def train(
    chunks: Int[np.ndarray, "n_chunks length"],
    model_config: Config,
    config: TrainConfig,
    seed: int,
    out: Path,
    *,
    arch: str,
    patches: Shaped[np.ndarray, "row d_patch"] | None = None,
    progress: Progress | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train a model on token chunks into the run directory ``out``; go on where an earlier, stopped call was.

    The same call on the same CPU gives the same checkpoints and loss table to the bit, whether it ran through or was
    killed and started again any number of times; a finished run returns at once. ``arch`` names the model in tables,
    ``provenance`` (JSON-able) is kept in run.json for the reader. ``patches`` are the features of pictures that ids
    beyond the vocabulary count in (see `models.grounded_vlm`). Under torchrun each process calls this.

    Raises GroundscopeError when ``out`` holds another run or is in use, TrainingError when the loss diverges or when
    memory or disk do not suffice; what was finished is kept.
    """
    fabric = launch(config)
    card = RunCard(
        arch=arch,
        seed=seed,
        precision=resolve_precision(config.precision, fabric.device.type),
        model=_plain(model_config),
        training=config,
        corpus=CorpusFacts.of(chunks, patches),
        provenance=dict(provenance or {}),
    )
    share = Share(fabric.global_rank, fabric.world_size, config.accumulate)
    share.refuse_uneven(config.batch_size)
    progress = progress if progress and fabric.is_global_zero else Progress(quiet=True)

    with only_writer(out) if fabric.is_global_zero else nullcontext():
        plan = fabric.broadcast(_plan(out, card, progress) if fabric.is_global_zero else _Plan())
        if plan.finished:
            return
        with explain_shortage(config, fabric.world_size, out), _own_randomness(fabric.device), freed_memory_kept():
            state = read_state(plan.state) if plan.state else None
            model = build(model_config, seed)
            if patches is not None:
                model.show(torch.from_numpy(patches))  # type: ignore[operator]  # only a GroundedVLM has ids for them
            session = Session(fabric, card, out, model, state, progress)
            if fabric.is_global_zero:
                session.announce()
            session.run(read_batches(chunks, card.order, share, session.steps, fabric.device))
            fabric.barrier()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is left to do in a run directory."""

    finished: bool = False
    state: Path | None = None  # to go on from; None: from the beginning


def _plan(out: Path, card: RunCard, progress: Progress) -> _Plan:
    begin(out, card)
    missing = [step for step in card.checkpoint_steps if not (checkpoint_folder(out, step) / CARD).is_file()]
    if not missing and _measured_steps(out) == card.training.steps:
        remove_states(out)  # a kill may have come right before this
        progress.say(f"{card.arch}, seed {card.seed}: finished already, in {out}.")
        return _Plan(finished=True)

    def against(step: int) -> str | None:
        lost = [kept for kept in missing if kept <= step]
        return f"the checkpoint of step {lost[0]} is missing" if lost else None

    return _Plan(state=newest_state(out, card.identity_hash, against, progress.say))


def _measured_steps(out: Path) -> int:
    try:
        return read_table(out / LOSS_TABLE, LOSS).height
    except GroundscopeError:
        return 0


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Give torch's global generators back to the caller as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _plain(model_config: Config) -> dict[str, Any]:
    """The model's own settings as plain data, without Hugging Face's, which say nothing about it."""
    settings = {name: getattr(model_config, name) for name in own_fields(type(model_config))}
    return {"model_type": model_config.model_type, **settings}
