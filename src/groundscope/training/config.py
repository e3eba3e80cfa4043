"""What a training run is asked to do. Defaults follow the paper (section 3 of its method)."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from groundscope.record import Record


class Every(Record):
    """A checkpoint each ``every`` steps, from step 0."""

    every: PositiveInt = Field(description="steps between two checkpoints")


class Log(Record):
    """``log`` checkpoints per run: step 0, then evenly spaced on a logarithmic axis up to the last step."""

    log: Annotated[int, Field(ge=2)] = Field(description="checkpoints per run, the first and the last included")


CheckpointRule = Literal["paper"] | Every | Log | tuple[NonNegativeInt, ...]


class TrainConfig(Record):
    """One training run, apart from its model, its corpus and its seed."""

    steps: PositiveInt = Field(default=20_000, description="optimizer steps of the whole run")
    batch_size: PositiveInt = Field(default=16, description="sequences per optimizer step, over all processes")
    accumulate: PositiveInt = Field(
        default=1, description="parts that a process splits its share of a batch into, to save memory"
    )

    learning_rate: Annotated[float, Field(gt=0)] = Field(default=5e-5, description="highest learning rate")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="how the learning rate goes on after the warm-up; linear and cosine end at 0"
    )
    warmup_steps: NonNegativeInt = Field(default=1000, description="steps over which the learning rate rises from 0")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=0.01, description="AdamW's decoupled decay of matrices; vectors are never decayed"
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), description="AdamW's decay of the first and second moments"
    )
    eps: Annotated[float, Field(gt=0)] = Field(default=1e-8, description="AdamW's epsilon")
    clip: Annotated[float, Field(gt=0)] | None = Field(
        default=1.0, description="greatest norm of the gradient over all weights; none: not clipped"
    )

    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="bf16: matrix products in bfloat16, weights in float32; auto: bf16 where the hardware has it",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="kind of device; for several of them start with torchrun, one process per device"
    )
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto",
        description="several processes: a copy of the weights in each (ddp) or a share (fsdp); auto: ddp",
    )
    compile: bool = Field(default=False, description="torch.compile the model; measure before you use it on a CPU")

    checkpoints: CheckpointRule = Field(
        default="paper",
        description="steps whose weights are kept: paper (0, 150, 300, then every 500), {every: n}, {log: n} or "
        "a list of steps; the last step always is",
    )
    keep: Literal["fp32", "bf16"] = Field(
        default="fp32", description="type of the kept weights; bf16 halves their size"
    )
    state_every: PositiveInt | Annotated[str, Field(pattern=r"^[1-9]\d*s$")] = Field(
        default="120s", description="steps (500) or seconds (120s) between two states that a stopped run goes on from"
    )
    track: str | None = Field(
        default=None, description="also log to this module, which speaks as Weights & Biases does: trackio or wandb"
    )

    @model_validator(mode="after")
    def _is_possible(self) -> "TrainConfig":
        if self.schedule != "constant" and self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be below steps ({self.steps}), "
                "or the learning rate never falls; lower warmup_steps or raise steps"
            )
        if isinstance(self.checkpoints, tuple):
            late = [step for step in self.checkpoints if step > self.steps]
            if late:
                raise ValueError(f"checkpoints asks for step {late[0]}, but the run ends at step {self.steps}")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})")
        return self


# What may change between two sessions of one run: it changes the result by rounding and dropout's draws at most.
# The precision is compared as used, since "auto" means another one on other hardware.
FREE_TO_CHANGE = ("accumulate", "state_every", "track", "precision")
