"""Which heads of a vision-language model take words from boxes, found without looking: the paper's open problem.

Over many pictures each head reaches the criterion in some share of them. Heads that do so often in one half of the
pictures, drawn by lot, are the stable set; the other half tells whether they do so again, and whether the model names
things worse without them than without as many other heads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float
from pydantic import Field

from groundscope.errors import AnalysisError
from groundscope.mechanism.box_criterion import BOX_CRITERION
from groundscope.mechanism.causal import CausalOptions, CausalRuns, causal_runs
from groundscope.mechanism.causal_table import CAUSAL, causal_table
from groundscope.mechanism.criteria import CriterionOptions, Role, aggregate_score
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.inspect_picture import box_positions_share
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.models.base import LanguageModel
from groundscope.record import Record
from groundscope.statistics.resampling import generator

LEAST = 4
"""Pictures without which there are no two halves."""


class DetectOptions(Record):
    """How heads are found over pictures."""

    criterion: CriterionOptions = Field(default=BOX_CRITERION, description="when a head reads a box")
    frequency: float = Field(default=0.3, gt=0, le=1, description="least share of pictures for the stable set")
    causal: CausalOptions = Field(
        default=CausalOptions(unit="prompt"), description="how heads are removed and compared"
    )
    seed: int = Field(default=0, ge=0, description="of the split into halves")


@dataclass(frozen=True, eq=False)
class Detection:
    """What was found. Heads are those of ``index``, pictures in the order in which they were read."""

    index: HeadIndex
    threshold: float
    numbers: tuple[int, ...]  # of the pictures
    held_out: Bool[np.ndarray, " picture"]  # whether a picture is of the held-out half
    shares: Float[np.ndarray, "picture head"]  # of patch-to-word |saliency|, what comes from inside the box
    surprisal: Float[np.ndarray, " picture"]  # of the word, in nats
    inside: Float[np.ndarray, " picture"]  # share of the picture's positions that lie in the box: chance
    stable: Bool[np.ndarray, " head"]  # the set that the first half chose
    causal: pl.DataFrame
    """Schema `CAUSAL`: the stable set removed from the held-out pictures, against random sets of as many heads."""

    @property
    def reached(self) -> Bool[np.ndarray, "picture head"]:
        """Whether a head reaches the threshold before a picture."""
        return self.shares >= self.threshold


def detect(
    model: LanguageModel,
    prompts: Iterable[PromptBatch],
    name: str,
    options: DetectOptions | None = None,
    *,
    again: Callable[[int], PromptBatch] | None = None,
) -> Detection:
    """Find the stable heads over ``prompts``, one picture and word each, and test them on the held-out half.

    Prompts are read one by one and let go, for those of a large model hold much: ``again`` gives that of a number a
    second time, for the test (None: all are kept). Raises AnalysisError for fewer than four pictures and for a model
    without heads.
    """
    options = options or DetectOptions()
    index = HeadIndex.of(model)
    if not len(index):
        raise AnalysisError(f"A {type(model).__name__} has no heads to detect.")
    kept: dict[int, PromptBatch] = {}
    numbers, shares, surprisal, inside = [], [], [], []
    for prompt in prompts:
        scores = saliency(model, prompt, rows="last")
        number = int(prompt.numbers[0])
        if again is None:
            kept[number] = prompt
        numbers.append(number)
        shares.append(aggregate_score(scores, options.criterion)[0].double().numpy())
        surprisal.append(float(scores.surprisal[0]))
        inside.append(box_positions_share(prompt))
    if len(numbers) < LEAST:
        raise AnalysisError(f"{len(numbers)} pictures are too few for two halves; give at least {LEAST}.")
    lot = generator(options.seed, "halves").permutation(len(numbers))
    held_out = np.ones(len(numbers), dtype=bool)
    held_out[lot[: (len(numbers) + 1) // 2]] = False
    reached = np.stack(shares) >= options.criterion.threshold
    stable = reached[~held_out].mean(axis=0) >= options.frequency
    later = (numbers[place] for place in np.flatnonzero(held_out))
    tested = (kept[number] if again is None else again(number) for number in later)
    return Detection(
        index=index,
        threshold=options.criterion.threshold,
        numbers=tuple(numbers),
        held_out=held_out,
        shares=np.stack(shares),
        surprisal=np.array(surprisal),
        inside=np.array(inside),
        stable=stable,
        causal=_test(model, tested, stable, options, name),
    )


def _test(
    model: LanguageModel,
    prompts: Iterable[PromptBatch],
    stable: Bool[np.ndarray, " head"],
    options: DetectOptions,
    name: str,
) -> pl.DataFrame:
    identity: Mapping[str, Any] = {"arch": name, "seed": 0, "step": 0, "tokens_seen": 0, "weight_hash": ""}
    if not stable.any():
        return CAUSAL.frame([])
    found = {Role.AGGREGATE: torch.from_numpy(stable)[None]}
    parts = [causal_runs(model, prompt, found, options.causal) for prompt in prompts]
    return causal_table(model, CausalRuns.join(parts), options.causal, identity)
