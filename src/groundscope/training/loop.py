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
from groundscope.training.checkpoints import is_kept
from groundscope.training.config import TrainConfig
from groundscope.training.devices import launch, machine, resolve_precision
from groundscope.training.memory import explain_shortage
from groundscope.training.metrics import LOSS
from groundscope.training.run import LOSS_TABLE, CorpusFacts, RunCard, begin, only_writer
from groundscope.training.session import Session
from groundscope.training.state import machine_of, newest_state, read_state, remove_states


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

    The same call on the same CPU, with as many threads and processes, gives the same checkpoints and loss table to the
    bit, whether it ran through or was killed and started again any number of times; a finished run returns at once.
    ``arch`` names the model in tables, ``provenance`` (JSON-able) is kept in run.json for the reader. ``patches`` are
    the features of pictures that ids beyond the vocabulary count in (see `models.grounded_vlm`). Under torchrun each
    process calls this.

    Raises GroundscopeError when ``out`` holds another run or is in use and for chunks or a seed that cannot be trained
    on, ModelError for settings that make no model, TrainingError when there is no such device, when the loss diverges
    or when memory or disk do not suffice, StoppedError or KeyboardInterrupt on a signal; what was finished is kept.
    """
    _refuse_input(chunks, seed)
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

    with explain_shortage(config, fabric.world_size, out), only_writer(out) if fabric.is_global_zero else nullcontext():
        plan = _plan(out, card, progress, machine(fabric)) if fabric.is_global_zero else _Plan()
        plan = fabric.broadcast(plan)
        if plan.finished:
            return
        with _own_randomness(fabric.device), freed_memory_kept():
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


def _refuse_input(chunks: Shaped[np.ndarray, "..."], seed: int) -> None:
    if chunks.ndim != 2 or not len(chunks) or chunks.shape[1] < 2:
        raise GroundscopeError(
            f"Training wants chunks [n_chunks, length] of two tokens or more, since each predicts the next; got an "
            f"array of shape {chunks.shape}."
        )
    if not 0 <= seed < 2**63:
        raise GroundscopeError(f"A seed is a number from 0 to 2^63 - 1, got {seed}.")


def _plan(out: Path, card: RunCard, progress: Progress, now: Mapping[str, int | str]) -> _Plan:
    begin(out, card)
    missing = [step for step in card.checkpoint_steps if not is_kept(out, step)]
    if not missing and _measured_steps(out) == card.training.steps:
        remove_states(out)  # a kill may have come right before this
        progress.say(f"{card.arch}, seed {card.seed}: finished already, in {out}.")
        return _Plan(finished=True)

    def against(step: int) -> str | None:
        lost = [kept for kept in missing if kept <= step]
        return f"the checkpoint of step {lost[0]} is missing" if lost else None

    state = newest_state(out, card.identity_hash, against, progress.say)
    if state is None and not missing:
        progress.say(f"All checkpoints are there, but {out / LOSS_TABLE} is missing or damaged: it is trained again.")
    before = machine_of(state) if state else None
    if before and any(now.get(name) != value for name, value in before.items()):
        progress.say(
            f"It goes on with {_told(now)}, and was begun with {_told(before)}: the weights will not be those of an "
            "uninterrupted run to the last bit."
        )
    return _Plan(state=state)


def _told(machine: Mapping[str, int | str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in machine.items())


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
