"""Are the contexts neutral? How much each frame favours some of the words before any scene is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from groundscope.behaviour.contexts import Context, ContextSet
from groundscope.behaviour.generalisation import REPLICATION, replication
from groundscope.behaviour.measure import GAIN
from groundscope.behaviour.prompts import targets
from groundscope.behaviour.surprisal import surprisal
from groundscope.behaviour.words import Word
from groundscope.corpus.utterance import Channel, Utterance
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import StudyError
from groundscope.models.base import LanguageModel
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

AUDIT = TableSchema(
    "audit",
    "one LAN frame at one checkpoint, without any scene",
    (
        *CHECKPOINT_COLUMNS,
        Column("kind", pl.String(), "noun, verb or adjective: the words that may follow the frame"),
        Column("context", pl.String(), "name of the context, within the kind"),
        Column("frame", pl.String(), "the sentence up to the predicted word"),
        Column("mean_nats", pl.Float64(), "mean surprisal of the words after the frame alone"),
        Column("spread_nats", pl.Float64(), "standard deviation over words of that surprisal"),
        Column("preference_nats", pl.Float64(), "standard deviation of what is the frame's own doing, not the words'"),
        Column("easiest", pl.String(), "the word that the frame favours most, against other frames"),
        Column("hardest", pl.String(), "the word that the frame disfavours most"),
    ),
)

NEUTRAL_FRAMES = TableSchema(
    "neutral_frames",
    "one architecture at its last checkpoint in the most neutral frames alone, seeds as replicates",
    (
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("n_contexts", pl.Int64(), "frames kept, the most neutral ones"),
        Column("within_nats", pl.Float64(), "largest preference among them (table audit, mean over models and seeds)"),
        *REPLICATION.columns,
    ),
)


def audit_frames(
    model: LanguageModel,
    vocabulary: Vocabulary,
    words: Sequence[Word],
    contexts: ContextSet,
    identity: Mapping[str, Any],
) -> pl.DataFrame:
    """Return table `AUDIT` of words of one kind: how much each LAN frame favours some of them by itself.

    Words differ in surprisal after any frame, because they differ in frequency. What a frame adds is the residual of
    surprisal [frame, word] after its row and column means; ``preference_nats`` is its standard deviation. With a single
    frame the two cannot be told apart and the preference is zero.
    """
    frames = {context.name: context for context in contexts.all()}
    wanted = targets([word.form for word in words], vocabulary)
    alone = [
        surprisal(model, torch.tensor([vocabulary.encode([_frame(context)])]), wanted)[0] for context in frames.values()
    ]
    table = torch.stack(alone).double().numpy()
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    forms = np.array([word.form for word in words])
    return AUDIT.conform(
        pl.DataFrame(
            {
                "kind": [words[0].kind.value] * len(frames),
                "context": list(frames),
                "frame": [" ".join(context.lan) for context in frames.values()],
                "mean_nats": table.mean(axis=1),
                "spread_nats": table.std(axis=1, ddof=1),
                "preference_nats": residual.std(axis=1, ddof=1),
                "easiest": forms[residual.argmin(axis=1)],
                "hardest": forms[residual.argmax(axis=1)],
            }
        ).with_columns(pl.lit(value).alias(name) for name, value in identity.items())
    )


def gain_in_neutral_frames(
    surprisal: pl.DataFrame, gain: pl.DataFrame, audit: pl.DataFrame, threshold: float
) -> pl.DataFrame:
    """Return table ``gain`` as it would be without the frames that favour some words by more than ``threshold`` nats.

    A frame is judged by its ``preference_nats`` at the last checkpoint of each model and seed, averaged over them.
    ``p_scene`` comes back as null, for the tables do not hold single scenes.
    Raises StudyError as `frames_within` does.
    """
    return _gain_in(frames_within(audit, threshold), surprisal, gain)


def frames_within(audit: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Return (kind, context, preference_nats) of the frames that pass; StudyError when none of some kind does."""
    preferences = _preferences(audit)
    passed = preferences.filter(pl.col("preference_nats") <= threshold)
    lost = preferences.join(passed, on="kind", how="anti")
    if lost.height:
        best = lost.row(0, named=True)
        raise StudyError(
            f"No frame for {best['kind']}s favours words by at most {threshold} nats; the most neutral is "
            f"'{best['context']}' with {best['preference_nats']:.2f}. Raise behaviour.neutral_within."
        )
    return passed


def neutral_frames(
    surprisal: pl.DataFrame,
    gain: pl.DataFrame,
    audit: pl.DataFrame,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Return table `NEUTRAL_FRAMES`: G at the last checkpoint in the n most neutral frames, for every n.

    If frames that favour words made the gain, it would vanish with them. Kinds of which some words have contexts of
    their own are left out, for there the words would change with the frames.
    """
    last = pl.col("step") == pl.col("step").max().over("arch", "seed")
    at_the_end, gain_then = surprisal.filter(last), gain.filter(last)
    crossed = _kinds_with_shared_frames(at_the_end)
    frames = []
    for (kind,), ranked in _preferences(audit).group_by("kind", maintain_order=True):
        if kind not in crossed:
            continue
        for n in range(1, ranked.height + 1):
            found = _gain_in(ranked.head(n), at_the_end, gain_then.filter(kind=kind))
            table = replication(found, resamples=resamples, confidence=confidence, seed=seed)
            frames.append(
                table.with_columns(
                    pl.lit(kind).alias("kind"),
                    pl.lit(n).alias("n_contexts"),
                    pl.lit(ranked["preference_nats"][n - 1]).alias("within_nats"),
                )
            )
    return NEUTRAL_FRAMES.conform(pl.concat(frames)) if frames else NEUTRAL_FRAMES.frame([])


def _kinds_with_shared_frames(surprisal: pl.DataFrame) -> list[str]:
    words = pl.col("word").n_unique()
    shared = surprisal.select("kind", (words.over("kind", "context") == words.over("kind")).alias("shared"))
    return shared.group_by("kind").agg(pl.col("shared").all()).filter("shared")["kind"].to_list()


def _preferences(audit: pl.DataFrame) -> pl.DataFrame:
    """The frames of each kind, most neutral first: kind, context, preference_nats over models and seeds at the end."""
    last = audit.filter(pl.col("step") == pl.col("step").max().over("arch", "seed"))
    mean = last.group_by("kind", "context").agg(pl.col("preference_nats").mean())
    return mean.sort("kind", "preference_nats", "context")


def _gain_in(frames: pl.DataFrame, surprisal: pl.DataFrame, gain: pl.DataFrame) -> pl.DataFrame:
    """Table ``gain`` over ``frames`` (kind, context) alone."""
    keys = ["arch", "seed", "step", "direction", "kind", "word"]
    means = (
        surprisal.join(frames, on=["kind", "context"], how="semi")
        .group_by(*keys, "condition")
        .agg(pl.col("surprisal_nats").mean(), pl.col("context").n_unique().alias("n_contexts"))
        .pivot("condition", index=[*keys, "n_contexts"], values="surprisal_nats")
        .rename({"match": "match_nats", "mismatch": "mismatch_nats"})
        .with_columns((pl.col("mismatch_nats") - pl.col("match_nats")).alias("gain_nats"))
    )
    replaced = ("n_contexts", "match_nats", "mismatch_nats", "gain_nats")
    joined = gain.drop(*replaced).join(means, on=keys, maintain_order="left")
    return GAIN.conform(joined.with_columns(pl.lit(None).alias("p_scene")))


def _frame(context: Context) -> Utterance:
    return Utterance(context.speaker, Channel.LAN, context.lan, "", 0)
