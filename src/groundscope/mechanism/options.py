"""What a study says about mechanism and lenses: which prompts, at which checkpoints, and how much is computed."""

from typing import Literal

from pydantic import Field, model_validator

from groundscope.mechanism.lens_training import LensOptions
from groundscope.mechanism.measure import MechanismOptions
from groundscope.record import Record
from groundscope.trajectory.at import AT, At


class PromptOptions(Record):
    """Which of the study's words and contexts become prompts: every word in every context, or a part of these."""

    contexts: int | None = Field(default=None, ge=1, description="the first so many contexts of each word; none: all")
    prompts: int | None = Field(
        default=300, ge=2, description="a seeded sample of so many prompts, spread evenly over words; none: all"
    )
    mismatches: int = Field(default=1, ge=0, description="other words' scenes per prompt, for G after an intervention")
    seed: int = Field(default=0, ge=0, description="of the sample of prompts, mismatches and text")


class MechanismStudy(MechanismOptions):
    """Saliency, heads and the causal test in a study.

    The defaults cost 4 to 10 seconds of two CPU cores per checkpoint of a model of 4 layers of 128, with a hundred
    words and a vocabulary of ten thousand; most of it grows with the number of prompts.
    """

    at: At = Field(default="all", description=AT)
    prompts: PromptOptions = Field(default=PromptOptions(), description="which words and contexts")
    text_chunks: int = Field(
        default=16, ge=0, description="chunks of the corpus on which the loss after an intervention is measured"
    )
    negligible_nats: float = Field(
        default=0.05, gt=0, description="the smallest change of surprisal that matters, of heads removed and of G"
    )


class LensStudy(Record):
    """Lenses in a study.

    The defaults cost 10 seconds of two CPU cores per checkpoint of a model of 4 layers of 128 with a vocabulary of ten
    thousand.
    """

    at: At = Field(default="all", description=AT)
    kinds: tuple[Literal["logit", "tuned", "linear"], ...] = Field(
        default=("logit", "tuned"),
        min_length=1,
        description="logit: the model's own norm and unembedding; tuned: residual maps; linear: the paper's authors'",
    )
    prompts: PromptOptions = Field(default=PromptOptions(), description="which words and contexts")
    tuned: LensOptions = Field(
        default=LensOptions(begin="regression", steps=8, tokens_per_step=2048),
        description="how tuned lenses are trained",
    )
    linear: LensOptions = Field(default=LensOptions(kind="linear"), description="how linear lenses are trained")
    start: Literal["own", "previous"] = Field(
        default="own",
        description="own: where `begin` says; previous: at the lens of the checkpoint before, so that the "
        "checkpoints of one training can no longer be computed in any order",
    )
    fit_chunks: int = Field(
        default=16, ge=1, description="chunks, not trained on, on which KL to the model is measured"
    )

    @model_validator(mode="after")
    def _can_begin(self) -> "LensStudy":
        if "linear" in self.kinds and self.linear.begin == "regression":
            raise ValueError(
                "linear.begin 'regression' gives a tuned lens; a linear one, with its own norm, begins at 'zero'"
            )
        return self
