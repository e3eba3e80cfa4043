"""Surprisal in match and mismatch, per word and context, for any number of comparisons over the same forwards."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from groundscope.behaviour.contexts import ContextSet
from groundscope.behaviour.gain import conditions
from groundscope.behaviour.prompts import Direction, Shape, render, targets
from groundscope.behaviour.surprisal import surprisal_cube
from groundscope.behaviour.words import Word
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.models.base import LanguageModel


class Comparison(NamedTuple):
    """Which scene is each word's match, and which scenes are its mismatches."""

    own: Int[np.ndarray, " target"]
    mismatches: Bool[np.ndarray, "target scene"]


class Readings(NamedTuple):
    """One row per (context, word): surprisal in nats with the matching scene, and averaged over mismatched ones."""

    context: list[str]
    word: Int[np.ndarray, " row"]
    match: Float[np.ndarray, " row"]
    mismatch: Float[np.ndarray, " row"]
    p: Float[np.ndarray, " row"]
    """Of the word over all its contexts (see `gain.Conditions`); the same in each of its rows."""

    def per_word(self, n_words: int) -> "PerWord":
        """Average over the contexts of each word."""
        contexts = np.bincount(self.word, minlength=n_words)
        return PerWord(
            contexts,
            np.bincount(self.word, self.match, n_words) / contexts,
            np.bincount(self.word, self.mismatch, n_words) / contexts,
            np.bincount(self.word, self.p, n_words) / contexts,
        )


class PerWord(NamedTuple):
    """Number of contexts of each word, its mean surprisal in nats in the two conditions, and its p."""

    contexts: Int[np.ndarray, " word"]
    match: Float[np.ndarray, " word"]
    mismatch: Float[np.ndarray, " word"]
    p: Float[np.ndarray, " word"]


def read(
    model: LanguageModel,
    vocabulary: Vocabulary,
    words: Sequence[Word],
    contexts: ContextSet,
    comparisons: Mapping[str, Comparison],
    *,
    direction: Direction = Direction.ENV2LAN,
    shape: Shape = Shape.PLAIN,
    precision: torch.dtype = torch.float32,
) -> dict[str, Readings]:
    """Return the readings of every comparison; each (context, scene) goes through the model once for all of them.

    Raises StudyError for words without a context and VocabularyError for words that the vocabulary lacks.
    """
    forms = [word.form for word in words]
    parts: dict[str, list[Readings]] = {name: [] for name in comparisons}
    for group, members in contexts.groups(words):
        at = np.array(members)
        scenes = _scenes_needed(at, comparisons)
        cues = [forms[scene] for scene in scenes]
        prompts = [render(context, cues, vocabulary, direction, shape) for context in group]
        wanted = targets([forms[member] for member in members], vocabulary, direction)
        cube = surprisal_cube(model, prompts, wanted, precision=precision)
        for name, (own, mismatches) in comparisons.items():
            match, mismatch, p = conditions(
                cube,
                torch.from_numpy(np.searchsorted(scenes, own[at])),
                torch.from_numpy(mismatches[np.ix_(at, scenes)]),
            )
            parts[name].append(
                Readings(
                    [context.name for context in group for _ in members],
                    np.tile(at, len(group)),
                    match.flatten().numpy(),
                    mismatch.flatten().numpy(),
                    p.double().repeat(len(group)).numpy(),
                )
            )
    return {name: _joined(found) for name, found in parts.items()}


def _scenes_needed(
    members: Int[np.ndarray, " member"], comparisons: Mapping[str, Comparison]
) -> Int[np.ndarray, " scene"]:
    used = [
        index
        for own, mismatches in comparisons.values()
        for index in (own[members], np.flatnonzero(mismatches[members].any(axis=0)))
    ]
    return np.unique(np.concatenate(used))


def _joined(parts: Sequence[Readings]) -> Readings:
    return Readings(
        [name for part in parts for name in part.context],
        np.concatenate([part.word for part in parts]),
        np.concatenate([part.match for part in parts]),
        np.concatenate([part.mismatch for part in parts]),
        np.concatenate([part.p for part in parts]),
    )
