"""Which heads gather and which aggregate: the criteria, and others' criteria beside them.

Every criterion gives each head a score in 0...1 for each prompt; a head is found in a prompt where the score reaches
the threshold. What a head is found to be is a fact about one prompt; how often over prompts describes the head.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from groundscope.errors import AnalysisError
from groundscope.mechanism.attention_flow import AttentionFlow
from groundscope.mechanism.saliency import Saliency
from groundscope.record import Record


class Role(StrEnum):
    """What a head does in a prompt; one head may do both."""

    AGGREGATE = "aggregate"
    GATHER = "gather"


class CriterionOptions(Record):
    """How heads are told apart."""

    threshold: float = Field(default=0.3, gt=0, le=1, description="least share of a head's |saliency| for a role")
    sweep: tuple[float, ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9), description="further thresholds that the tables of roles report"
    )
    relative_to: Literal["head", "scene"] = Field(
        default="head",
        description="what the ground's share is a share of: all saliency of the head (text), or what flows from the "
        "scene into the last position (images; the paper uses thresholds of .7 and .9 there and no gather heads)",
    )
    count_last_strip: bool = Field(
        default=False,
        description="whether the strip into the last position can make a gather head. With it every aggregate head "
        "and every head of the last layer is one by construction, because no other strip of the last layer reaches "
        "the loss",
    )


DEFAULTS = CriterionOptions()

DEAD = 1e-9
"""Share of all heads' |saliency| below which a head is dead: what its own shares show is rounding."""


def aggregate_score(saliency: Saliency, options: CriterionOptions = DEFAULTS) -> Float[Tensor, "prompt head"]:
    """Return the share of each head's |saliency| that flows from the ground into the last position ("a single dot").

    Source: the paper's criterion of aggregate heads; with ``relative_to="scene"`` its image variant. A dead head (see
    `DEAD`) scores 0. Raises AnalysisError where the saliency lacks what the share is relative to.
    """
    if options.relative_to == "scene":
        if len(saliency) and bool(saliency.scene_flow.isnan().any()):
            raise AnalysisError("The criterion is relative to the scene: give the prompts a `scene`.")
        return _alive(saliency) * _share(saliency.flow, saliency.scene_flow)
    _wants_all_rows(saliency)
    return _alive(saliency) * _share(saliency.flow, saliency.total)


def gather_score(saliency: Saliency, options: CriterionOptions = DEFAULTS) -> Float[Tensor, "prompt head"]:
    """Return the share of each head's |saliency| in its largest strip: all that flows into one position.

    Source: the paper's criterion of gather heads. The strips are those of the positions between the first, which has
    nothing to gather from, and the last (see ``count_last_strip``). A dead head scores 0. Raises AnalysisError when
    the saliency was computed for the last row only.
    """
    _wants_all_rows(saliency)
    strip = torch.maximum(saliency.strip, saliency.into_last) if options.count_last_strip else saliency.strip
    return _alive(saliency) * _share(strip, saliency.total)


def find_heads(saliency: Saliency, options: CriterionOptions = DEFAULTS) -> dict[Role, Bool[Tensor, "prompt head"]]:
    """Return each role's heads in each prompt. Images have no gather heads: there the set is empty."""
    aggregate = aggregate_score(saliency, options) >= options.threshold
    if options.relative_to == "scene":
        return {Role.AGGREGATE: aggregate, Role.GATHER: torch.zeros_like(aggregate)}
    return {Role.AGGREGATE: aggregate, Role.GATHER: gather_score(saliency, options) >= options.threshold}


def criterion_scores(
    saliency: Saliency, flow: AttentionFlow | None = None, options: CriterionOptions = DEFAULTS
) -> dict[str, Float[Tensor, "prompt head"]]:
    """Return every criterion's scores by name, the paper's first and, given a ``flow``, the others' for comparison.

    - ``aggregate``, ``gather``: above.
    - ``attention_aggregate``: the last row's attention on the ground. (Attention weights cannot express the gather
      criterion: every row of a softmax holds the same mass.)
    - ``retrieval``: 1 where the last row's attention peaks on the ground and the target is the model's first choice;
      its mean over prompts is the retrieval score of Wu et al. 2024 (arXiv 2404.15574, heads above .1), with the scene
      word in the place of the needle, since it never is the same token as the target.
    - ``retrieval_forced``: the same without the second condition, for models that seldom rank the target first.
    - ``bick_gather``, ``bick_aggregate`` (Bick et al. 2025, arXiv 2504.18574): the last position of the scene attends
      to the scene before it; the last position of the prompt attends to the scene's last position. They find their
      heads by removal as well, for which see `groundscope.mechanism.intervention.removal_effects`.
    """
    scores = {"aggregate": aggregate_score(saliency, options)}
    if options.relative_to == "head":
        scores["gather"] = gather_score(saliency, options)
    if flow is None:
        return scores
    peak = flow.peak_on_ground.to(flow.to_ground.dtype)
    scores["attention_aggregate"] = flow.to_ground
    scores["retrieval"] = peak * flow.predicted[:, None]
    scores["retrieval_forced"] = peak
    if not bool(flow.to_scene_end.isnan().any()):
        scores["bick_gather"] = flow.scene_end_to_scene
        scores["bick_aggregate"] = flow.to_scene_end
    return scores


def agreement(
    scores: Mapping[str, Float[Tensor, "prompt head"]], threshold: float
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return how far each pair of criteria agrees: (Jaccard index of the sets found, correlation of heads' means).

    The Jaccard index is over all (prompt, head) pairs, nan where neither finds any; the correlation is Pearson's of
    the heads' mean scores, nan where one of them does not vary.
    """
    pairs = {}
    names = list(scores)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            a, b = scores[first] >= threshold, scores[second] >= threshold
            union = int((a | b).sum())
            jaccard = int((a & b).sum()) / union if union else float("nan")
            pairs[first, second] = jaccard, _correlation(scores[first].mean(dim=0), scores[second].mean(dim=0))
    return pairs


def share_of_total(saliency: Saliency, found: Bool[Tensor, "prompt head"]) -> Float[Tensor, " prompt"]:
    """Return, per prompt, the share of all heads' |saliency| that the found heads hold; 0 where there is none.

    Source: the paper's analysis over time, with the heads found in the *final* model.
    """
    _wants_all_rows(saliency)
    return _share((saliency.total * found).sum(dim=1), saliency.total.sum(dim=1))


def _alive(saliency: Saliency) -> Bool[Tensor, "prompt head"]:
    return saliency.total > DEAD * saliency.total.sum(dim=1, keepdim=True)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, 0)


def _correlation(x: Float[Tensor, " head"], y: Float[Tensor, " head"]) -> float:
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    scale = float(x.norm() * y.norm())
    return float(x @ y) / scale if scale > 1e-12 else float("nan")


def _wants_all_rows(saliency: Saliency) -> None:
    if saliency.rows != "all":
        raise AnalysisError("This share is of a head's whole saliency: compute the saliency with rows='all'.")
