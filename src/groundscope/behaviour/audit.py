"""Are the contexts neutral? How much each frame favours some of the words before any scene is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from groundscope.behaviour.contexts import Context, ContextSet
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
        Column("context", pl.String(), "name of the context"),
        Column("mean_nats", pl.Float64(), "mean surprisal of the words after the frame alone"),
        Column("spread_nats", pl.Float64(), "standard deviation over words of that surprisal"),
        Column("preference_nats", pl.Float64(), "standard deviation of what is the frame's own doing, not the words'"),
        Column("easiest", pl.String(), "the word that the frame favours most, against other frames"),
        Column("hardest", pl.String(), "the word that the frame disfavours most"),
    ),
)


def audit_frames(
    model: LanguageModel,
    vocabulary: Vocabulary,
    words: Sequence[Word],
    contexts: ContextSet,
    identity: Mapping[str, Any],
) -> pl.DataFrame:
    """Return table `AUDIT`: how much each LAN frame favours some of the words by itself.

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
                "context": list(frames),
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
    Raises StudyError when no frame passes.
    """
    last = audit.filter(pl.col("step") == pl.col("step").max().over("arch", "seed"))
    preferences = last.group_by("context").agg(pl.col("preference_nats").mean()).sort("preference_nats")
    passed = preferences.filter(pl.col("preference_nats") <= threshold)["context"]
    if passed.is_empty():
        best = preferences.row(0, named=True)
        raise StudyError(
            f"No frame favours words by at most {threshold} nats; the most neutral is '{best['context']}' with "
            f"{best['preference_nats']:.2f}. Raise the threshold."
        )
    kept = surprisal.filter(pl.col("context").is_in(passed.to_list()))
    keys = ["arch", "seed", "step", "direction", "word"]
    means = (
        kept.group_by(*keys, "condition")
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
