"""GroundedVLM: a `GroundedLM` that is shown pictures. Patches stand in its stream as words do.

Token ids from the vocabulary's end on are rows of a bank of patch features: id ``vocab_size + row``. So a picture in a
context is a run of ids like any word, another picture in its place is a change of ids alone, and training, saliency,
interventions and controls need to know nothing of pictures.
"""

from typing import no_type_check

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor, nn

from groundscope.errors import ModelError, did_you_mean
from groundscope.models.language_model import GroundedLM, GroundedLMConfig

PROJECTORS = ("none", "random", "linear")


@no_type_check  # its constructor takes more than its fields: whatever Hugging Face keeps in config.json
class GroundedVLMConfig(GroundedLMConfig):
    """Sizes of a `GroundedVLM`; raises ModelError for a projector that does not exist or does not fit the widths."""

    model_type = "groundscope-vlm"

    d_patch: int = None  # type: ignore[assignment]  # width of a patch's features; None becomes d_model
    projector: str = (
        "none"  # none: features enter as they are (the paper's); random: a fixed map; linear: a learned one
    )

    def __post_init__(self, **kwargs):
        if self.d_patch is None:
            self.d_patch = self.d_model
        if not isinstance(self.d_patch, int) or self.d_patch < 1:
            raise ModelError(f"d_patch should be a whole number of at least 1, given: {self.d_patch!r}.")
        if self.projector not in PROJECTORS:
            raise ModelError(
                f"There is no projector '{self.projector}'; there are {', '.join(PROJECTORS)}."
                f"{did_you_mean(str(self.projector), PROJECTORS)}"
            )
        if self.projector == "none" and self.d_patch != self.d_model:
            raise ModelError(
                f"Patches of width d_patch={self.d_patch} do not fit a stream of d_model={self.d_model}: set "
                f"d_model={self.d_patch}, or projector to random or linear."
            )
        super().__post_init__(**kwargs)


class GroundedVLM(GroundedLM):
    """A causal language model whose ids beyond its vocabulary are patches of pictures; see the module's text.

    ``patches`` is the bank that these ids count in. It is no weight: whoever loads a model shows it its pictures.
    """

    config_class = GroundedVLMConfig
    config: GroundedVLMConfig  # type: ignore[assignment]

    def __init__(self, config: GroundedVLMConfig):
        super().__init__(config)
        self.projector = None
        if config.projector != "none":
            self.projector = nn.Linear(config.d_patch, config.d_model, bias=False)
            self.projector.weight.requires_grad_(config.projector == "linear")
        self.patches: Tensor | None = None
        self.post_init()

    def show(self, patches: Float[Tensor, "row d_patch"] | Float16[Tensor, "row d_patch"]) -> "GroundedVLM":
        """Give the model the bank of patch features that ids beyond the vocabulary count in; returns the model.

        The bank stays where it is and as it is (a memory map in fp16, say): only rows that are read are moved. Raises
        ModelError for features of another width.
        """
        if patches.shape[1] != self.config.d_patch:
            raise ModelError(f"The patches are {patches.shape[1]} wide, the model has d_patch={self.config.d_patch}.")
        self.patches = patches
        return self

    def project(self, patches: Float[Tensor, "row d_patch"]) -> Float[Tensor, "row d_model"]:
        """Turn patch features into what enters the stream."""
        return patches if self.projector is None else self.projector(patches)

    def _embed(self, input_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        shown = input_ids >= self.config.vocab_size
        words = super()._embed(input_ids.masked_fill(shown, 0))
        if not bool(shown.any()):
            return words
        rows = input_ids[shown] - self.config.vocab_size
        if self.patches is None:
            raise ModelError("The input holds patches of pictures, but the model was shown none: call model.show().")
        if int(rows.max()) >= len(self.patches):
            raise ModelError(
                f"The input holds patch {int(rows.max())}, but the bank that the model was shown has "
                f"{len(self.patches)}."
            )
        # whole rows at a time, and widened where they arrive: a GPU waits for both
        patches = self.patches.index_select(0, rows.to(self.patches.device)).to(words.device).to(words.dtype)
        return words.masked_scatter(shown[..., None], self.project(patches).to(words.dtype))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module, generator: torch.Generator | None = None) -> None:
        """As `GroundedLM` does; a fixed random projector keeps the length of what it maps, on average."""
        projector: nn.Linear | None = getattr(self, "projector", None)
        if projector is not None and module is projector and self.config.projector == "random":
            nn.init.normal_(projector.weight, 0.0, self.config.d_patch**-0.5, generator)
        else:
            super()._init_weights(module, generator)
