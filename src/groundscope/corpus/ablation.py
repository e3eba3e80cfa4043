"""Corpora without some of their co-occurrence, and controls that lost as much text.

What remains of grounding in a model trained on such a corpus did not come from word and scene standing side by side
(Wu et al. 2025, co-occurrence ablation).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field

from groundscope.corpus.arms import Arm
from groundscope.corpus.chunks import Corpus, refuse_to_replace
from groundscope.corpus.cooccurrence import cooccurring_any
from groundscope.corpus.derived import write_derived
from groundscope.corpus.separation import separated
from groundscope.errors import CorpusError
from groundscope.record import Record
from groundscope.statistics.resampling import generator


class Ablation(Record):
    """What was done to a corpus; stands in the ablated corpus's card under ``provenance.ablation``."""

    arm: Arm = Field(description="cooccurring, separated, random, or control")
    share: float = Field(
        ge=0, le=1, description="share of the co-occurring chunks that is removed or separated, or its size matched"
    )
    seed: int = Field(description="seed of the random choice")
    words: tuple[str, ...] = Field(min_length=1, description="words that define co-occurrence")
    chunks: int = Field(ge=0, description="chunks before")
    cooccurring: int = Field(ge=0, description="co-occurring chunks before")
    removed: int = Field(ge=0, description="chunks removed")
    cooccurring_left: int = Field(ge=0, description="co-occurring chunks that are left")
    exchanged: int = Field(default=0, ge=0, description="words of the scene that were exchanged for others")
    source: str = Field(description="content hash of the corpus before")

    @classmethod
    def of(cls, corpus: Corpus) -> "Ablation | None":
        """What was removed from ``corpus``, by its card; None for a corpus that was never ablated."""
        record = corpus.card.provenance.get("ablation")
        return None if record is None else cls.model_validate(record)

    @classmethod
    def of_nothing(cls, corpus: Corpus, words: Sequence[str], arm: Arm, seed: int = 0) -> "Ablation":
        """The dose of a corpus from which nothing was removed."""
        cooccurring = int(cooccurring_any(corpus.chunks, corpus.vocabulary, words).sum())
        return cls(
            arm=arm,
            share=0,
            seed=seed,
            words=tuple(words),
            chunks=len(corpus.chunks),
            cooccurring=cooccurring,
            removed=0,
            cooccurring_left=cooccurring,
            source=corpus.card.content_hash,
        )


def ablate(corpus: Corpus, words: Sequence[str], out: Path, *, share: float, arm: Arm, seed: int = 0) -> Corpus:
    """Write ``corpus`` without the co-occurrence of a random ``share`` of its co-occurring chunks, or a control.

    Larger shares remove what smaller ones do and more (same seed), so that a series of shares is one dose; the
    separated arm separates what the co-occurring one removes. The chunks keep their order and the vocabulary its ids;
    its counts and the card are those of what is left. Measure ablated corpora on a fixed list of words with a minimum
    of 1, for the counts fall with the chunks. Raises CorpusError where the control arm lacks chunks to remove, the
    separated one lacks words to exchange, nothing would be left, or ``out`` is something other than this corpus, and
    VocabularyError for an unknown word.
    """
    refuse_to_replace(out)
    together = cooccurring_any(corpus.chunks, corpus.vocabulary, words)
    cooccurring, which = int(together.sum()), _chosen(together, share, arm, seed)
    kept, instead, exchanged = np.ones(len(together), dtype=bool), None, 0
    if arm is Arm.SEPARATED:
        rng = generator(seed, "ablation separated")
        others, exchanged = separated(corpus.chunks, corpus.vocabulary, words, which, rng)
        instead = which, others
        together[which] = False
    else:
        kept[which] = False
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
        cooccurring=cooccurring,
        removed=int((~kept).sum()),
        cooccurring_left=int(together[kept].sum()),
        exchanged=exchanged,
        source=corpus.card.content_hash,
    )
    return write_derived(
        corpus,
        out,
        kept=kept,
        instead=instead,
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


def _chosen(together: Bool[np.ndarray, " n_chunks"], share: float, arm: Arm, seed: int) -> Int[np.ndarray, " n_chosen"]:
    """Numbers of the chunks to remove or separate: the first of an order that depends on the seed alone."""
    wanted = round(share * int(together.sum()))
    pools = {Arm.CONTROL: ~together, Arm.RANDOM: np.ones_like(together)}
    pool = np.flatnonzero(pools.get(arm, together))
    if wanted > len(pool):
        most = len(pool) / int(together.sum())
        raise CorpusError(
            f"The control arm must lose {wanted:,} chunks that do not co-occur, but there are {len(pool):,}. "
            f"Ask for a share of at most {most:.2f}, or name fewer words."
        )
    drawn_with = Arm.COOCCURRING if arm is Arm.SEPARATED else arm
    return generator(seed, f"ablation {drawn_with}").permutation(pool)[:wanted]
