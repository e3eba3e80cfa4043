"""Corpora without some of their co-occurring chunks, and controls that lost as much of everything else.

What remains of grounding in a model trained on such a corpus did not come from word and scene standing side by side
(Wu et al. 2025, co-occurrence ablation).
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from groundscope.corpus.chunks import Corpus, refuse_to_replace
from groundscope.corpus.cooccurrence import cooccurring_any
from groundscope.corpus.derived import write_derived
from groundscope.errors import CorpusError
from groundscope.record import Record
from groundscope.statistics.resampling import generator


class Arm(StrEnum):
    """Which chunks are removed."""

    COOCCURRING = "cooccurring"
    """Chunks that hold one of the words in the scene and in speech."""
    CONTROL = "control"
    """As many of the other chunks: the same loss of text, co-occurrence untouched."""


class Ablation(Record):
    """What was removed from a corpus; stands in the ablated corpus's card under ``provenance.ablation``."""

    arm: Arm = Field(description="cooccurring, or control")
    share: float = Field(
        ge=0, le=1, description="share of the co-occurring chunks that is removed, or its size matched"
    )
    seed: int = Field(description="seed of the random choice")
    words: tuple[str, ...] = Field(min_length=1, description="words that define co-occurrence")
    chunks: int = Field(ge=0, description="chunks before")
    cooccurring: int = Field(ge=0, description="co-occurring chunks before")
    removed: int = Field(ge=0, description="chunks removed")
    source: str = Field(description="content hash of the corpus before")

    @classmethod
    def of(cls, corpus: Corpus) -> "Ablation | None":
        """What was removed from ``corpus``, by its card; None for a corpus that was never ablated."""
        record = corpus.card.provenance.get("ablation")
        return None if record is None else cls.model_validate(record)

    @classmethod
    def of_nothing(cls, corpus: Corpus, words: Sequence[str], arm: Arm, seed: int = 0) -> "Ablation":
        """The dose of a corpus from which nothing was removed."""
        return cls(
            arm=arm,
            share=0,
            seed=seed,
            words=tuple(words),
            chunks=len(corpus.chunks),
            cooccurring=int(cooccurring_any(corpus.chunks, corpus.vocabulary, words).sum()),
            removed=0,
            source=corpus.card.content_hash,
        )

    @property
    def cooccurring_left(self) -> int:
        """Co-occurring chunks that were not removed."""
        return self.cooccurring - (self.removed if self.arm is Arm.COOCCURRING else 0)


def ablate(corpus: Corpus, words: Sequence[str], out: Path, *, share: float, arm: Arm, seed: int = 0) -> Corpus:
    """Write ``corpus`` without a random ``share`` of its co-occurring chunks, or without as many others, to ``out``.

    Larger shares remove what smaller ones do and more (same seed), so that a series of shares is one dose. The chunks
    keep their order and the vocabulary its ids; its counts and the card are those of what is left. Measure ablated
    corpora on a fixed list of words with a minimum of 1, for the counts fall with the chunks. Raises CorpusError where
    the control arm lacks chunks to remove, nothing would be left, or ``out`` is something other than a corpus, and
    VocabularyError for an unknown word.
    """
    refuse_to_replace(out)
    together = cooccurring_any(corpus.chunks, corpus.vocabulary, words)
    kept = ~_removed(together, share, arm, seed)
    if not kept.any():
        raise CorpusError(
            f"All {len(kept):,} chunks of {corpus.path} are co-occurring ones, so removing {share:.0%} of them leaves "
            "nothing. Remove fewer, or name fewer words."
        )
    record = Ablation(
        arm=arm,
        share=share,
        seed=seed,
        words=tuple(words),
        chunks=len(kept),
        cooccurring=int(together.sum()),
        removed=int((~kept).sum()),
        source=corpus.card.content_hash,
    )
    return write_derived(
        corpus,
        out,
        kept=kept,
        ids=np.arange(len(corpus.vocabulary), dtype=np.int32),
        share_cooccurring_words=float(together[kept].mean()),
        provenance={"ablation": record.model_dump(mode="json")},
    )


def dose_name(arm: Arm, percent: int) -> str:
    """Name of the folder of one dose: ``cooccurring-050``."""
    return f"{arm}-{percent:03d}"


def doses(percents: Sequence[int], arms: Sequence[Arm]) -> list[tuple[Arm, int]]:
    """Return arm and percent of every corpus of a series, smaller doses first; with nothing removed arms are one."""
    return [(arm, percent) for percent in sorted(set(percents)) for arm in (arms if percent else arms[:1])]


def ablate_series(
    corpus: Corpus, words: Sequence[str], out: Path, *, percents: Sequence[int], arms: Sequence[Arm], seed: int = 0
) -> list[Corpus]:
    """Write a corpus for each of `doses` into the folder ``out``, under its `dose_name`.

    Raises CorpusError as `ablate` does, and where ``out`` holds anything but corpora of such a series.
    """
    series = {dose_name(arm, percent): (arm, percent) for arm, percent in doses(percents, arms)}
    _refuse_foreign(out)
    return [
        ablate(corpus, words, out / name, share=percent / 100, arm=arm, seed=seed)
        for name, (arm, percent) in series.items()
    ]


def _refuse_foreign(out: Path) -> None:
    """Refuse a folder that holds something else than doses: what would be mixed up there is hard to tell apart."""
    names = {dose_name(arm, percent) for arm in Arm for percent in range(101)}
    if out.is_file() or (out.is_dir() and any(path.name not in names for path in out.iterdir())):
        raise CorpusError(f"{out} holds something other than ablated corpora. Name a new or empty folder.")


def _removed(
    together: Bool[np.ndarray, " n_chunks"], share: float, arm: Arm, seed: int
) -> Bool[np.ndarray, " n_chunks"]:
    """Mark the chunks to remove: the first of an order that depends on the seed alone."""
    wanted = round(share * int(together.sum()))
    pool = np.flatnonzero(together if arm is Arm.COOCCURRING else ~together)
    if wanted > len(pool):
        most = len(pool) / int(together.sum())
        raise CorpusError(
            f"The control arm must lose {wanted:,} chunks that do not co-occur, but there are {len(pool):,}. "
            f"Ask for a share of at most {most:.2f}, or name fewer words."
        )
    removed = np.zeros(len(together), dtype=bool)
    removed[generator(seed, f"ablation {arm}").permutation(pool)[:wanted]] = True
    return removed
