"""Published checkpoint series: what a revision's name says, and in which order revisions come.

| series | revision | its place is counted in |
|---|---|---|
| Pythia, PolyPythias | ``step1000`` | steps (2,097,152 tokens each) |
| OLMo | ``step1000-tokens4B`` | steps, tokens |
| OLMo 2 on | ``stage1-step10000-tokens42B``, ``stage2-ingredient1-step1000-tokens3B`` | steps of a stage, tokens |
| stanford-crfm (Mistral) | ``checkpoint-1000`` | steps |
| BabyLM | ``chck_10M`` | words |

A step of Pythia's is 1024 sequences of 2048 tokens (Biderman et al. 2023, arXiv 2304.01373, section 2.3).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from groundscope.errors import ModelError

Unit = Literal["step", "words"]

_SCALE = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_GRAMMARS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:stage(?P<stage>\d+)-)?(?:ingredient(?P<ingredient>\d+)-)?step(?P<step>\d+)(?:-tokens(?P<tokens>\d+[KMBT]?))?",
        r"checkpoint-(?P<step>\d+)",
        r"chck_(?P<words>\d+[KMBT]?)",
    )
)


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a repository, and where in training its name says that it stands."""

    name: str
    step: int | None = None  # optimizer steps, within its stage where there are stages
    tokens: int | None = None  # training tokens seen; rounded by whoever named it
    words: int | None = None  # training words seen
    stage: int = 0  # 0: the series has no stages
    ingredient: int = 0  # one of several runs of a stage that start alike; 0: the only one

    @property
    def unit(self) -> Unit:
        """What its place in the series is counted in."""
        return "step" if self.step is not None else "words"

    @property
    def place(self) -> tuple[int, int]:
        """Sorts revisions of one series: stage first, then steps or words."""
        return self.stage, self.step if self.step is not None else self.words or 0


def parse_revision(name: str) -> Revision:
    """Read a revision's name; raises ModelError that lists the known grammars."""
    for grammar in _GRAMMARS:
        if found := grammar.fullmatch(name):
            parts = {key: _number(text) for key, text in found.groupdict().items() if text}
            return Revision(name, **parts)
    raise ModelError(
        f"The revision '{name}' does not say where in training it stands. Known: step1000 (Pythia), "
        "stage1-step10000-tokens42B (OLMo), checkpoint-1000 (stanford-crfm), chck_10M (BabyLM)."
    )


def order_revisions(names: Iterable[str]) -> tuple[Revision, ...]:
    """Return revisions in the order of training, earliest first.

    Raises ModelError for names without a place (``main``), for two at one place, and for revisions that are not on
    one line: steps beside words, or two ingredients of one stage, which are different runs.
    """
    revisions = [parse_revision(name) for name in names]
    units = {revision.unit for revision in revisions}
    if len(units) > 1:
        raise ModelError("These revisions are not of one series: some are counted in steps, others in words.")
    ordered = sorted(revisions, key=lambda revision: revision.place)
    for stage in sorted({revision.stage for revision in revisions}):
        runs = sorted({revision.ingredient for revision in revisions if revision.stage == stage})
        if len(runs) > 1:
            raise ModelError(f"Ingredients {runs} of stage {stage} are different runs of it; choose one of them.")
    for one, other in pairwise(ordered):
        if one.place == other.place:
            raise ModelError(f"The revisions '{one.name}' and '{other.name}' stand at the same place in training.")
    return tuple(ordered)


def split_revisions(names: Iterable[str]) -> tuple[tuple[Revision, ...], tuple[str, ...]]:
    """Return (revisions that say where they stand, in the order of the names; names that do not, such as ``main``)."""
    placed, other = [], []
    for name in names:
        try:
            placed.append(parse_revision(name))
        except ModelError:
            other.append(name)
    return tuple(placed), tuple(other)


def list_revisions(repository: str) -> tuple[tuple[Revision, ...], tuple[str, ...]]:
    """Ask the Hugging Face hub for a repository's revisions, as `split_revisions` returns them.

    Raises ModelError without a network or when there is no such repository.
    """
    try:
        refs = HfApi().list_repo_refs(repository)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"The revisions of '{repository}' cannot be listed ({reason}). Name them yourself, e.g. step0, step1000."
        ) from None
    return split_revisions(ref.name for ref in [*refs.branches, *refs.tags])


def _number(text: str) -> int:
    digits = text.rstrip("KMBT")
    return int(digits) * _SCALE[text[len(digits) :]]
