"""Prompts as the analyses of this room want them: token ids, the target, where the ground stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from groundscope.errors import AnalysisError


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of one length. The query is the last position, right before the target.

    Group prompts by their length first: no padding ever enters a head's saliency. Raises AnalysisError where a prompt
    has no ground, or has it only at the query itself.
    """

    input_ids: Int[Tensor, "prompt time"]
    targets: Int[Tensor, " prompt"]  # the word that should come next
    ground: Bool[Tensor, "prompt time"]  # where the ground stands: one word, or the patches inside an object's box
    scene: Bool[Tensor, "prompt time"] | None = None  # all that shows the scene: its utterance, or all patches
    numbers: Int[Tensor, " prompt"] = None  # type: ignore[assignment]  # each prompt's number in the whole study; None: 0, 1, 2, ...
    mismatch: Int[Tensor, "prompt other time"] | None = None  # the same prompts with other things in the scene
    extras: Mapping[str, Tensor] = field(default_factory=dict)  # further arguments of hidden(), first axis prompt

    def __post_init__(self) -> None:
        if self.numbers is None:
            object.__setattr__(self, "numbers", torch.arange(len(self.input_ids)))
        before_query = self.ground[:, :-1].any(dim=1) if self.ground.shape[1] else self.ground.any(dim=1)
        if not bool(before_query.all()):
            first = int((~before_query).nonzero()[0])
            raise AnalysisError(
                f"Prompt {first} of this batch has no ground before its last position; say where its scene word "
                "stands, or leave the prompt out."
            )
        if self.scene is not None and bool((self.ground & ~self.scene).any()):
            raise AnalysisError("The ground must be a part of the scene: some of its positions are outside it.")

    @classmethod
    def with_ground_at(
        cls,
        input_ids: Int[Tensor, "prompt time"],
        targets: Int[Tensor, " prompt"],
        positions: Int[Tensor, " prompt"],
        **rest,
    ) -> "PromptBatch":
        """Build prompts whose ground is one token; raises AnalysisError for positions outside the prompt."""
        time = input_ids.shape[1]
        outside = (positions < 0) | (positions >= time)
        if bool(outside.any()):
            prompt = int(outside.nonzero()[0])
            raise AnalysisError(
                f"Prompt {prompt} has its ground at position {int(positions[prompt])}, but positions are 0 to "
                f"{time - 1}."
            )
        ground = torch.arange(time, device=positions.device) == positions[:, None]
        return cls(input_ids, targets, ground, **rest)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def time(self) -> int:
        """Number of tokens of each prompt."""
        return self.input_ids.shape[1]

    def __getitem__(self, part: slice | Tensor) -> "PromptBatch":
        """Some of the prompts: a slice, or their indices in any order and number, on any device."""
        return PromptBatch(
            self.input_ids[part],
            self.targets[part],
            self.ground[part],
            scene=None if self.scene is None else self.scene[part],
            numbers=self.numbers[part if isinstance(part, slice) else part.to(self.numbers.device)],
            mismatch=None if self.mismatch is None else self.mismatch[part],
            extras={name: values[part] for name, values in self.extras.items()},
        )

    def to(self, device: torch.device) -> "PromptBatch":
        """The same prompts with what a model is given on ``device``; numbers stay where they are."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            targets=self.targets.to(device),
            ground=self.ground.to(device),
            scene=None if self.scene is None else self.scene.to(device),
            extras={name: values.to(device) for name, values in self.extras.items()},
        )

    def with_mismatches(self) -> "PromptBatch":
        """Every prompt followed by its mismatches, all with the same target; the prompts alone where there are none.

        The ``extras`` of a prompt go to its mismatches as well.
        """
        if self.mismatch is None:
            return self
        per_prompt = 1 + self.mismatch.shape[1]
        repeated = replace(self, mismatch=None)[torch.arange(len(self)).repeat_interleave(per_prompt)]
        return replace(repeated, input_ids=torch.cat([self.input_ids[:, None], self.mismatch], dim=1).flatten(0, 1))


def group_by_length(lengths: Iterable[int]) -> dict[int, list[int]]:
    """Return length -> indices of that length, so that each group can be one `PromptBatch`."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(length, []).append(index)
    return groups
