"""Grounding against the share of co-occurring chunks that was removed from training."""

from collections.abc import Iterable

import polars as pl

from groundscope.behaviour.generalisation import REPLICATION, replication
from groundscope.corpus.ablation import Ablation
from groundscope.tables import Column, TableSchema

DOSE = TableSchema(
    "dose",
    "one architecture trained on one ablated corpus, at one checkpoint, seeds as replicates",
    (
        Column("arm", pl.String(), "cooccurring, separated, random, or control: what was done to the corpus"),
        Column("share_removed", pl.Float64(), "share of co-occurring chunks removed or separated, or its size matched"),
        Column("chunks_left", pl.Int64(), "chunks to train on"),
        Column("cooccurring_left", pl.Int64(), "co-occurring chunks among them"),
        *REPLICATION.columns,
    ),
)


def dose(
    parts: Iterable[tuple[Ablation, pl.DataFrame]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Return table `DOSE` from what was removed and table ``gain`` of the models trained on what was left.

    The claim of the paper stands in two rows: with all co-occurring chunks removed, the interval of G at the last step
    still lies above zero; the random arm, which lost as much text, shows what the loss of text alone does. Where the
    chunks were separated, neither text nor words were lost: what G lost there it did not lose to rarer words.
    """
    frames = [
        replication(gain, resamples=resamples, confidence=confidence, seed=seed).with_columns(
            pl.lit(removed.arm.value).alias("arm"),
            pl.lit(removed.share).alias("share_removed"),
            pl.lit(removed.chunks - removed.removed).alias("chunks_left"),
            pl.lit(removed.cooccurring_left).alias("cooccurring_left"),
        )
        for removed, gain in parts
    ]
    if not frames:
        return DOSE.frame([])
    return DOSE.conform(pl.concat(frames)).sort("arch", "direction", "arm", "share_removed", "step")
