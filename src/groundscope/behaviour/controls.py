"""Controls: the same question asked so that something else than grounding would have to answer it.

Each control is a full measurement of its own, with its own gain per word. The untrained model is the trajectory's
checkpoint 0, and needs nothing here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from groundscope.behaviour.contexts import ContextSet, load_contexts, usable_contexts
from groundscope.behaviour.cooccurrence import Seen
from groundscope.behaviour.evidence import EVIDENCE, evidence
from groundscope.behaviour.measure import GAIN, PRECISIONS, comparison, gain_table
from groundscope.behaviour.mismatch import Mismatch
from groundscope.behaviour.options import BehaviourOptions, Control
from groundscope.behaviour.prompts import Direction, Shape
from groundscope.behaviour.readings import Comparison, read
from groundscope.behaviour.words import Word
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.models.base import LanguageModel
from groundscope.statistics.resampling import generator
from groundscope.tables import Column, TableSchema

_CONTROL = Column("control", pl.String(), "name of the control")
CONTROLS = TableSchema("controls", "one word in one control at one checkpoint", (_CONTROL, *GAIN.columns))
CONTROL_EVIDENCE = TableSchema(
    "control_evidence", "one control at one checkpoint, over all words", (_CONTROL, *EVIDENCE.columns)
)

_SHAPES = {
    Control.SINGLE_WORD: Shape.SINGLE_WORD,
    Control.FILLER_FIRST: Shape.FILLER_FIRST,
    Control.DISTANT: Shape.DISTANT,
}
_RULES = {
    Control.MISMATCH_SAMPLE: Mismatch.SAMPLE,
    Control.MISMATCH_SAME_CATEGORY: Mismatch.SAME_CATEGORY,
    Control.MISMATCH_OTHER_CATEGORY: Mismatch.OTHER_CATEGORY,
    Control.MISMATCH_FREQUENCY: Mismatch.FREQUENCY,
}


def shapes_of(controls: Sequence[Control]) -> list[Shape]:
    """Return the shapes, other than the plain one, in which these controls put their prompts."""
    return [_SHAPES[control] for control in controls if control in _SHAPES]


def measure_controls(
    model: LanguageModel,
    vocabulary: Vocabulary,
    words: Sequence[Word],
    contexts: ContextSet,
    seen: Seen,
    options: BehaviourOptions,
    identity: Mapping[str, Any],
) -> pl.DataFrame:
    """Return table `CONTROLS` of one checkpoint: those of ``options.controls``; arguments as in `measure.measure`.

    Controls that only choose other mismatches share their forwards. Raises StudyError when held-out contexts are asked
    for a kind of word that has none.
    """
    asked = options.controls
    usual = comparison(words, vocabulary, options)
    chosen = {control.value: _chosen(control, words, vocabulary, options, usual) for control in asked}
    frames = []

    def add(controls: Sequence[Control], where: ContextSet, direction: Direction, shape: Shape) -> None:
        if not controls:
            return
        found = read(
            model,
            vocabulary,
            words,
            where,
            {control.value: chosen[control.value] for control in controls},
            direction=direction,
            shape=shape,
            precision=PRECISIONS[options.precision],
        )
        who = {**identity, "direction": direction.value}
        for name, readings in found.items():
            table = gain_table(readings, words, chosen[name], seen, who)
            frames.append(table.with_columns(pl.lit(name).alias("control")))

    other_mismatches = [control for control in asked if control in _RULES or control is Control.SHUFFLED]
    add(other_mismatches, contexts, Direction.ENV2LAN, Shape.PLAIN)
    for control in asked:
        if control in _SHAPES:
            add([control], contexts, Direction.ENV2LAN, _SHAPES[control])
        elif control is Control.ONE_VOCABULARY:
            add([control], contexts, Direction.LAN2LAN, Shape.PLAIN)
        elif control is Control.HELD_OUT:
            held_out = usable_contexts(load_contexts(options.kind, held_out=True), vocabulary)
            add([control], held_out, Direction.ENV2LAN, Shape.PLAIN)
    return CONTROLS.conform(pl.concat(frames)) if frames else CONTROLS.frame([])


def control_evidence(
    controls: pl.DataFrame, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> pl.DataFrame:
    """Return table `CONTROL_EVIDENCE`: for each control what `evidence.evidence` says of its gains."""
    frames = [
        evidence(rows.drop("control"), resamples=resamples, confidence=confidence, seed=seed).with_columns(
            pl.lit(name).alias("control")
        )
        for (name,), rows in controls.group_by("control", maintain_order=True)
    ]
    return CONTROL_EVIDENCE.conform(pl.concat(frames)) if frames else CONTROL_EVIDENCE.frame([])


def shuffled(usual: Comparison, seed: int) -> Comparison:
    """Return each word with another word's scene as its "match": a control whose gain is zero however strong grounding.

    Neither the true scene nor the false one counts as a mismatch.
    """
    n = len(usual.own)
    false = usual.own[_cycle(n, seed)]
    left = usual.mismatches.copy()
    left[np.arange(n), usual.own] = False
    left[np.arange(n), false] = False
    return Comparison(false, left)


def _cycle(n: int, seed: int) -> Int[np.ndarray, " n"]:
    """Return a random permutation that leaves nothing in its place: one cycle through all."""
    order = generator(seed, "shuffled scenes").permutation(n)
    moved = np.empty(n, dtype=np.int64)
    moved[order] = np.roll(order, 1)
    return moved


def _chosen(
    control: Control, words: Sequence[Word], vocabulary: Vocabulary, options: BehaviourOptions, usual: Comparison
) -> Comparison:
    if control is Control.SHUFFLED:
        return shuffled(usual, options.seed)
    if control in _RULES:
        return comparison(words, vocabulary, options.model_copy(update={"mismatch": _RULES[control]}))
    return usual
