"""One checkpoint's behaviour as tables: a pure function of model, words, contexts and options."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from groundscope.behaviour.contexts import ContextSet
from groundscope.behaviour.cooccurrence import Seen
from groundscope.behaviour.mismatch import mismatching
from groundscope.behaviour.options import BehaviourOptions
from groundscope.behaviour.prompts import Direction
from groundscope.behaviour.readings import Comparison, Readings, read
from groundscope.behaviour.words import Word
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.models.base import LanguageModel
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

_DIRECTION = Column("direction", pl.String(), "cue to target: env2lan, lan2env, or lan2lan (control, one vocabulary)")

SURPRISAL = TableSchema(
    "surprisal",
    "one word in one context and one condition at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        _DIRECTION,
        Column("context", pl.String(), "name of the context, within the kind"),
        Column("word", pl.String(), "the word that is predicted"),
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("condition", pl.String(), "match: the cue is the word's own; mismatch: mean over the other cues"),
        Column("surprisal_nats", pl.Float64(), "-ln P(word | context)"),
    ),
)
GAIN = TableSchema(
    "gain",
    "one word at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        _DIRECTION,
        Column("word", pl.String(), "the word that is predicted"),
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("category", pl.String(), "category within the kind"),
        Column("n_contexts", pl.Int64(), "contexts averaged over"),
        Column("n_mismatches", pl.Int64(), "mismatched cues averaged over, per context"),
        Column("match_nats", pl.Float64(), "surprisal with the word's own cue"),
        Column("mismatch_nats", pl.Float64(), "surprisal with other cues; null where the rule leaves none"),
        Column("gain_nats", pl.Float64(), "grounding information gain G: mismatch minus match"),
        Column(
            "p_scene",
            pl.Float64(),
            "exact p value of this word's G > 0, by exchanging its scene with mismatched ones; pictures: by sign flips",
        ),
        Column("cooccurring_chunks", pl.Int64(), "chunks with the word in scene and speech, seen so far in training"),
        Column(
            "counted_gain_nats", pl.Float64(), "G of a predictor that only counts which words shared a chunk so far"
        ),
        Column("seen_env", pl.Int64(), "times the word stood in the scene, so far in training"),
        Column("seen_lan", pl.Int64(), "times the word stood in speech, so far in training"),
    ),
)


class Measurement(NamedTuple):
    """The tables of one checkpoint."""

    surprisal: pl.DataFrame
    """Schema `SURPRISAL`."""
    gain: pl.DataFrame
    """Schema `GAIN`."""


def comparison(words: Sequence[Word], vocabulary: Vocabulary, options: BehaviourOptions) -> Comparison:
    """Return each word's own scene and its mismatched ones, as the options choose them."""
    counts = np.array([vocabulary.count(word.form, Channel.ENV) for word in words])
    mismatches = mismatching(words, options.mismatch, size=options.mismatches, counts=counts, seed=options.seed)
    return Comparison(np.arange(len(words)), mismatches)


def measure(
    model: LanguageModel,
    vocabulary: Vocabulary,
    words: Sequence[Word],
    contexts: ContextSet,
    seen: Seen,
    options: BehaviourOptions,
    identity: Mapping[str, Any],
    compared: Comparison | None = None,
) -> Measurement:
    """Measure one checkpoint in every direction that the options ask for.

    ``identity`` holds a value for each of `CHECKPOINT_COLUMNS`; ``contexts`` are those that the vocabulary knows
    (`usable_contexts`); ``seen`` is what training had shown by this step (`Exposure.at`); ``compared`` stands for what
    the options choose as mismatches (`comparison`).
    """
    compared = compared or comparison(words, vocabulary, options)
    surprisals, gains = [], []
    for direction in options.directions:
        found = read(
            model,
            vocabulary,
            words,
            contexts,
            {"measured": compared},
            direction=direction,
            precision=PRECISIONS[options.precision],
        )["measured"]
        who = {**identity, "direction": direction.value}
        surprisals.append(_surprisal_table(found, words, who))
        gains.append(gain_table(found, words, compared, seen, who))
    return Measurement(pl.concat(surprisals), pl.concat(gains))


def gain_table(
    readings: Readings, words: Sequence[Word], compared: Comparison, seen: Seen, who: Mapping[str, Any]
) -> pl.DataFrame:
    """Return table `GAIN` of one set of readings; ``who`` names checkpoint and direction."""
    n_contexts, match, mismatch, p = readings.per_word(len(words))
    return GAIN.conform(
        pl.DataFrame(
            {
                "word": [word.form for word in words],
                "kind": [word.kind.value for word in words],
                "category": [word.category for word in words],
                "n_contexts": n_contexts,
                "n_mismatches": compared.mismatches.sum(axis=1),
                "match_nats": match,
                "mismatch_nats": mismatch,
                "gain_nats": mismatch - match,
                "p_scene": np.where(np.isnan(mismatch), np.nan, p),
                "cooccurring_chunks": seen.cooccurring_chunks,
                "counted_gain_nats": seen.counted_gain(compared.mismatches, Direction(who["direction"])),
                "seen_env": seen.env,
                "seen_lan": seen.lan,
            }
        )
        .with_columns(pl.col("mismatch_nats", "gain_nats", "p_scene", "counted_gain_nats").fill_nan(None))
        .with_columns(pl.lit(value).alias(name) for name, value in who.items())
    )


def _surprisal_table(readings: Readings, words: Sequence[Word], who: Mapping[str, Any]) -> pl.DataFrame:
    forms = np.array([word.form for word in words])[readings.word]
    kinds = np.array([word.kind.value for word in words])[readings.word]
    conditions = {"match": readings.match, "mismatch": readings.mismatch}
    return pl.concat(
        SURPRISAL.conform(
            pl.DataFrame({"context": readings.context, "word": forms, "kind": kinds, "surprisal_nats": values})
            .with_columns(pl.col("surprisal_nats").fill_nan(None), pl.lit(condition).alias("condition"))
            .with_columns(pl.lit(value).alias(name) for name, value in who.items())
        )
        for condition, values in conditions.items()
    )
