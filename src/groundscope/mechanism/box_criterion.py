"""The criterion of pictures: which heads read the box."""

from typing import Literal

from pydantic import Field

from groundscope.mechanism.criteria import CriterionOptions


class BoxCriterionOptions(CriterionOptions):
    """How heads that read a box are told apart: the settings of text with the paper's values for images.

    A study that sets one of them keeps the others.
    """

    threshold: float = Field(
        default=0.7, gt=0, le=1, description="least share of a head's patch-to-word |saliency| from inside the box"
    )
    sweep: tuple[float, ...] = Field(
        default=(0.5, 0.7, 0.9), description="further thresholds that the tables of roles report"
    )
    relative_to: Literal["head", "scene"] = Field(
        default="scene", description="what the box's share is a share of: what flows from all patches, or all saliency"
    )


BOX_CRITERION = BoxCriterionOptions()
"""The paper's: at least 70 % (and 90 %) of a head's patch-to-word saliency comes from inside the box."""
