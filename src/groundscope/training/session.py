"""One session of a run: from where it stood to its end, or until something stops it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor

from groundscope.errors import StoppedError, TrainingError
from groundscope.models.base import LanguageModel
from groundscope.progress import Progress
from groundscope.training.checkpoints import write_checkpoint
from groundscope.training.devices import machine
from groundscope.training.divergence import refuse_broken_weights, refuse_divergence
from groundscope.training.memory import DiskNeed, refuse_full_disk, size
from groundscope.training.metrics import Measurements, Speed
from groundscope.training.objective import NextTokenLoss, clip_gradients, make_optimizer
from groundscope.training.randomness import derived_seed
from groundscope.training.run import LOSS_TABLE, SPEED, RunCard
from groundscope.training.schedule import learning_rate
from groundscope.training.snapshot import gather_weights, restore_snapshot, take_snapshot
from groundscope.training.state import TrainState, count_states, remove_states, write_state
from groundscope.training.stopping import Stop, deferred_stop
from groundscope.training.track import Tracker
from groundscope.training.underway import Underway
from groundscope.training.writer import Writer, writes_beside


class Session:
    """One process's work on one run, from where an earlier session left it."""

    def __init__(
        self,
        fabric: Fabric,
        card: RunCard,
        out: Path,
        model: LanguageModel,
        state: TrainState | None,
        progress: Progress,
    ):
        self.fabric, self.card, self.out, self.model, self.progress = fabric, card, out, model.train(), progress
        config = card.training
        objective = NextTokenLoss(model)
        self.objective = fabric.setup_module(torch.compile(objective) if config.compile else objective)  # type: ignore[arg-type]
        self.adamw = make_optimizer(model, config)  # after setup, which may replace weights by shares of them
        self.optimizer: Any = fabric.setup_optimizers(self.adamw)
        self.writer = Writer(beside=writes_beside(fabric.device))
        self.first_step, self.measurements = 0, Measurements()
        self.kept: int | None = None  # step of the last checkpoint
        self.agreed = (False, False)  # whether any of several processes was to stop, or to keep a state, a step ago
        if state is not None:
            restore_snapshot(state, model, self.adamw)
            self.first_step, self.measurements = state.step, state.measurements
            self.kept = max((step for step in card.checkpoint_steps if step <= state.step), default=None)
        self.speed = Speed(card.tokens_per_step, self.first_step)

    def announce(self) -> None:
        """Say what will be done; raises TrainingError when the disk cannot hold it."""
        config, first = self.card.training, self.first_step
        parameters = sum(weight.numel() for weight in self.model.parameters())
        self.progress.say(
            f"{self.name}: {parameters:,} parameters, {config.steps} steps of {config.batch_size} x "
            f"{self.card.corpus.length} tokens, {self.card.precision} on {self.fabric.world_size} x "
            f"{self.fabric.device.type}{f', going on from step {first}' if first else ''}."
        )
        left = sum(step > first or step == first == 0 for step in self.card.checkpoint_steps)
        need = DiskNeed.of(parameters, left, count_states(self.out), config)
        free = refuse_full_disk(need, self.out, config)
        self.progress.say(f"{self.name} writes {need}; {size(free)} are free.")

    @property
    def steps(self) -> range:
        """The steps that are left."""
        return range(self.first_step, self.card.training.steps)

    def run(self, batches: Iterator[list[Int[Tensor, "part length"]]]) -> None:
        """Take all steps that are left, and keep what the configuration asks to keep.

        On Ctrl-C and SIGTERM a state is kept first. Raises StoppedError where another process was asked to stop.
        """
        tracker = Tracker(
            self.card.training.track if self.fabric.is_global_zero else None,
            f"{self.card.arch}-seed-{self.card.seed}-{self.card.identity_hash[:8]}",
            self.card.identity,
            self.progress.say,
        )
        with deferred_stop() as stop, self.writer:
            try:
                done = self._take_steps(batches, tracker, stop)
            finally:
                tracker.finish()
            self.writer.wait()
            if done == self.card.training.steps:
                self._finish()
            else:
                self.fabric.barrier()  # torchrun ends them all when the first leaves, and one was writing
                self.progress.say(f"{self.name}: stopped after step {done}; the same call goes on from there.")
        if done < self.card.training.steps:
            raise StoppedError(f"{self.name} was stopped after step {done}; the same call goes on from there.")

    def _take_steps(self, batches: Iterator[list[Int[Tensor, "part length"]]], tracker: Tracker, stop: Stop) -> int:
        """Return the number of steps done: all, unless a stop was asked for; a state is kept then."""
        config, keep_at = self.card.training, set(self.card.checkpoint_steps)
        alone = self.fabric.world_size == 1
        done = self.first_step
        if self.first_step == 0 and 0 in keep_at:
            self._keep_checkpoint(0)
        clock = time.monotonic()
        behind: Underway | None = None  # measured, not read yet: reading waits for the device
        with self._table_on_failure(), self.progress.task(self.name, config.steps, self.first_step) as task:
            self.speed.start()
            for step, batch in zip(self.steps, batches, strict=True):
                wishes = (False, False) if alone else (stop.asked, self._is_time(clock))
                measured, done = Underway(self._update(step, batch, *wishes)), step + 1
                if behind is not None:
                    self._record(behind, tracker)
                behind = measured
                self.speed.step_done()
                task.advance(1, self._note())

                stopping, due = (stop.asked, self._is_time(clock)) if alone else self.agreed
                due = due or (isinstance(config.state_every, int) and done % config.state_every == 0)
                keep, save = done in keep_at, done < config.steps and (stopping or due)
                if keep or save:
                    self._record(behind, tracker)  # nothing is kept of a step that diverged
                    behind = None
                if keep:
                    self._keep_checkpoint(done)
                if save:  # after the checkpoint: a state vouches for all checkpoints up to its step
                    self._keep_state(done)
                    clock, self.agreed = time.monotonic(), (self.agreed[0], False)
                if stopping:
                    break
                if keep or save:
                    self.speed.start()
        return done

    @property
    def name(self) -> str:
        """What people read beside the progress."""
        return f"{self.card.arch} seed {self.card.seed}"

    def _update(self, step: int, batch: list[Int[Tensor, "part length"]], stop: bool, due: bool) -> Float[Tensor, " 4"]:
        """Make one optimizer step; return its loss and gradient norm, still on the device.

        Behind them: the share of processes that are asked to stop, and of those whose clock says that a state is due.
        """
        config = self.card.training
        # dropout is a function of the step too, so that a state need not carry generators
        torch.manual_seed(derived_seed(self.card.seed, "dropout", step, self.fabric.global_rank))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        loss = torch.zeros((), device=self.fabric.device)
        for index, tokens in enumerate(batch, start=1):
            with self.fabric.no_backward_sync(self.objective, enabled=index < len(batch)):
                part = self.objective(tokens) / len(batch)
                self.fabric.backward(part)
            loss += part.detach()
        norm = clip_gradients(self.model, config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        mine = torch.stack([loss, loss.new_full((), float(stop)), loss.new_full((), float(due))])
        loss, *wishes = self.fabric.all_reduce(mine, reduce_op="mean")
        return torch.stack([loss, norm, *wishes])

    def _record(self, measured: Underway, tracker: Tracker) -> None:
        loss, norm, stop, due = measured.read()
        self.agreed = stop > 0, due > 0
        step = len(self.measurements.loss)
        refuse_divergence(step, loss, norm, self.card.training, self.kept)
        self.measurements.add(loss, norm)
        tracker.log(step, loss_nats=loss, gradient_norm=norm, learning_rate=learning_rate(step, self.card.training))

    def _note(self) -> str:
        loss = f"loss {self.measurements.loss[-1]:.3f}, " if self.measurements.loss else ""
        return f"{loss}{self.speed.tokens_per_second:,.0f} tokens/s"

    def _is_time(self, clock: float) -> bool:
        """Whether ``state_every`` seconds went by since ``clock``; never where it counts steps."""
        every = self.card.training.state_every
        return isinstance(every, str) and time.monotonic() - clock >= int(every.removesuffix("s"))

    def _keep_checkpoint(self, step: int) -> None:
        weights = gather_weights(self.model, copy=self.writer.beside)
        refuse_broken_weights(step, weights, self.card.training, self.kept)
        if self.fabric.is_global_zero:
            write = partial(write_checkpoint, self.out, self.model, weights, dtype=self.card.training.keep)
            self.writer.write(partial(write, step=step, tokens_seen=step * self.card.tokens_per_step))
        self.kept = step

    def _keep_state(self, step: int) -> None:
        state = take_snapshot(step, self.model, self.adamw, self.measurements, copy=self.writer.beside)
        refuse_broken_weights(step, state.weights, self.card.training, self.kept)
        if self.fabric.is_global_zero:
            self.writer.write(partial(write_state, self.out, state, self.card.identity_hash, machine(self.fabric)))
            self._write_tables()

    def _finish(self) -> None:
        """Write the tables, which makes the run count as finished, and drop the states."""
        if self.fabric.is_global_zero:
            self._write_tables()
            remove_states(self.out)
            speed = self.speed.tokens_per_second
            self.progress.say(f"{self.name}: finished, {speed:,.0f} tokens/s, in {self.out}.")

    def _write_tables(self) -> None:
        self.measurements.write(
            self.out / LOSS_TABLE,
            arch=self.card.arch,
            seed=self.card.seed,
            tokens_per_step=self.card.tokens_per_step,
            config=self.card.training,
        )
        self.speed.write(
            self.out / SPEED,
            device=self.fabric.device.type,
            processes=self.fabric.world_size,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
        )

    @contextmanager
    def _table_on_failure(self) -> Iterator[None]:
        try:
            yield
        except TrainingError:
            self.writer.wait()  # it may name a checkpoint as kept
            if self.fabric.is_global_zero:
                self._write_tables()
            raise
