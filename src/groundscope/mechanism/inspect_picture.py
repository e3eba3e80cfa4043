"""Pictures and a word: which heads take it from the box, where each head looks, and what is lost without them.

Works on every model whose pictures stand in the stream as positions: a `GroundedVLM` of ours and wrapped
vision-language models. Only the row of the word's position is computed, and of a wrapped model's layers nothing is kept
but what enters each (`models.recompute`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from groundscope.corpus.boxes import Box, Patches
from groundscope.errors import AnalysisError
from groundscope.mechanism.box_criterion import BOX_CRITERION
from groundscope.mechanism.causal import CausalOptions, causal_runs
from groundscope.mechanism.criteria import CriterionOptions, Role, aggregate_score
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import Saliency, saliency
from groundscope.models.base import LanguageModel


@dataclass(frozen=True, slots=True)
class PictureHead:
    """One head before one picture."""

    name: str  # L7H3, both counted from 0
    share: float  # of its patch-to-word |saliency|, what comes from inside the box
    flow: float  # |saliency| from the box into the last position, in nats
    seen: float  # |saliency| from all patches into the last position, in nats


@dataclass(frozen=True, slots=True)
class PictureInspection:
    """Everything that is known about one picture and word. Surprisals in nats."""

    surprisal: float
    heads: tuple[PictureHead, ...]  # largest flow from the box first
    found: tuple[str, ...]  # heads over the threshold
    without: float | None  # surprisal without the heads found; None: none was found
    control: float | None  # without as many others per layer, mean over draws
    control_range: tuple[float, float] | None  # least and greatest draw
    control_heads: float  # control heads per draw: fewer than found where the model has too few below the threshold
    draws: int
    inside: float  # share of the picture's positions that lie in the box: what a head that looks anywhere has
    maps: Float[np.ndarray, "head position"]  # signed saliency of each of the picture's positions, heads as in `names`
    names: tuple[str, ...]  # of all heads, in the model's order


def picture_prompt(
    input_ids: Tensor, target: int, picture: Bool[Tensor, "one time"], patches: Patches, box: Box, **rest
) -> PromptBatch:
    """Return the prompt whose ground is the patches in the box and whose scene is all patches of the picture.

    ``picture`` are the positions that hold the picture, ``rest`` what `PromptBatch` takes beside (``extras``). Raises
    AnalysisError where positions and patches are not equally many.
    """
    positions = picture[0].nonzero()[:, 0]
    if len(positions) != len(patches):
        raise AnalysisError(f"The prompt holds {len(positions)} positions of the picture, its geometry {len(patches)}.")
    ground, scene = torch.zeros_like(picture), torch.zeros_like(picture)
    ground[0, positions] = torch.from_numpy(patches.inside(box))
    scene[0, positions] = torch.from_numpy(patches.looks_somewhere)
    return PromptBatch(input_ids, torch.tensor([target]), ground, scene=scene, **rest)


def box_positions_share(prompt: PromptBatch) -> float:
    """Return the share of the first prompt's picture positions that lie in the box: chance, for a head."""
    scene = prompt.ground if prompt.scene is None else prompt.scene
    return float(prompt.ground[0].sum() / scene[0].sum())


def inspect_picture(
    model: LanguageModel,
    prompt: PromptBatch,
    *,
    options: CriterionOptions = BOX_CRITERION,
    causal: CausalOptions | None = None,
) -> PictureInspection:
    """Inspect one picture and word; ``prompt`` is that of `picture_prompt` or of a study's tests.

    Controls are random sets of as many heads below the threshold, each layer giving as many as it has found ones.
    """
    prompt = prompt[slice(0, 1)]
    causal = causal or CausalOptions()
    scores = saliency(model, prompt, rows="last", keep_maps=prompt.numbers.tolist())
    shares = aggregate_score(scores, options)
    found = shares >= options.threshold
    names = scores.index.names
    scene = prompt.scene if prompt.scene is not None else prompt.ground
    order = scores.flow[0].argsort(descending=True, stable=True).tolist()
    without = control = spread = None
    control_heads = 0.0
    if bool(found.any()):
        runs = causal_runs(model, prompt, {Role.AGGREGATE: found}, causal)
        drawn = runs.match[0, runs.drawn(Role.AGGREGATE, "layer-matched")]
        without, control = float(runs.match[0, runs.found(Role.AGGREGATE)]), float(drawn.mean())
        spread = (float(drawn.min()), float(drawn.max()))
        control_heads = float(runs.removed[0, runs.drawn(Role.AGGREGATE, "layer-matched")].sum(axis=1).mean())
    return PictureInspection(
        surprisal=float(scores.surprisal[0]),
        heads=tuple(
            PictureHead(names[h], float(shares[0, h]), float(scores.flow[0, h]), float(scores.scene_flow[0, h]))
            for h in order
        ),
        found=tuple(name for name, is_found in zip(names, found[0].tolist(), strict=True) if is_found),
        without=without,
        control=control,
        control_range=spread,
        control_heads=control_heads,
        draws=causal.draws,
        inside=box_positions_share(prompt),
        maps=_picture_maps(scores, scene[0]),
        names=tuple(names),
    )


def _picture_maps(scores: Saliency, scene: Bool[Tensor, " time"]) -> Float[np.ndarray, "head position"]:
    return scores.maps[0, :, -1][:, scene].double().numpy()


def inspection_lines(found: PictureInspection, *, threshold: float, shown: int = 10) -> Iterator[str]:
    """Yield the inspection as text for a terminal."""
    yield f"surprisal {found.surprisal:.3f} nats; the box holds {100 * found.inside:.0f} % of the picture's positions"
    if found.inside >= threshold:
        yield "          a head that looks anywhere would reach the threshold: it says nothing about this box"
    yield f"{'heads':<10}{'box share':>10}{'box nats':>12}{'picture nats':>14}"
    for head in found.heads[:shown]:
        mark = f"  aggregates (>= {100 * threshold:.0f} %)" if head.name in found.found else ""
        yield f"{head.name:<10}{100 * head.share:>8.0f} %{head.flow:>12.3g}{head.seen:>14.3g}{mark}"
    if found.without is None or found.control_range is None:
        yield "removal   no head reaches the threshold"
        return
    low, high = found.control_range
    yield f"removal   {len(found.found)} heads: {', '.join(found.found)}"
    yield f"          original {found.surprisal:.3f}   without {found.without:.3f} nats"
    enough = found.control_heads >= len(found.found)
    many = "as many others per layer" if enough else f"{found.control_heads:.0f} others, all that there are"
    draws = f"{found.draws} draws of {many}: {low:.3f} to {high:.3f}"
    yield f"          control  {found.control:.3f}   ({draws})"
