"""How often training showed a word and its scene together, up to any step, exactly as its data order had it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from groundscope.behaviour.prompts import Direction
from groundscope.behaviour.words import Word
from groundscope.corpus.cooccurrence import blocks
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary


class Seen(NamedTuple):
    """What training has shown of each word up to a step, repetitions included."""

    cooccurring_chunks: Int[np.ndarray, " word"]
    """Chunks that hold the word in the scene and in speech (Wu et al. 2025, co-occurrence control)."""
    env: Int[np.ndarray, " word"]
    """Times the word stood in the scene."""
    lan: Int[np.ndarray, " word"]
    """Times the word stood in speech."""
    joint: Int[np.ndarray, "scene said"]
    """Chunks that hold one word in the scene and another (or the same) in speech."""
    env_chunks: Int[np.ndarray, " word"]
    """Chunks that hold the word in the scene."""
    lan_chunks: Int[np.ndarray, " word"]
    """Chunks that hold the word in speech."""

    def counted_gain(
        self, mismatches: Bool[np.ndarray, "target scene"], direction: Direction
    ) -> Float[np.ndarray, " target"]:
        """Return the gain, in nats, of a predictor that only counts which words share a chunk.

            P(v said | u in scene) = (chunks with both + 1/2) / (chunks with u + 1)

        and then G as defined: what co-occurrence alone would give, position, order and meaning aside. A unigram or
        bigram model of speech does not see the scene, so its gain is zero by construction. nan without mismatches and
        where cue and word share one vocabulary.
        """
        if direction is Direction.LAN2LAN:
            return np.full(len(self.env), np.nan)
        reverse = direction is Direction.LAN2ENV
        joint, cues = (self.joint.T, self.lan_chunks) if reverse else (self.joint, self.env_chunks)
        log_p = np.log((joint + 0.5) / (cues + 1)[:, None]).T  # [target, cue]
        partners = mismatches.sum(axis=1)
        others = np.divide(
            (log_p * mismatches).sum(axis=1), partners, out=np.full(len(cues), np.nan), where=partners > 0
        )
        return log_p.diagonal() - others


@dataclass(frozen=True, slots=True)
class Exposure:
    """What each chunk of a corpus shows of each word; computed once, read at every checkpoint of every seed."""

    together: Float[np.ndarray, "n_chunks word"]
    env: Float[np.ndarray, "n_chunks word"]
    lan: Float[np.ndarray, "n_chunks word"]

    @classmethod
    def of(
        cls,
        chunks: Int[np.ndarray, "n_chunks length"],
        vocabulary: Vocabulary,
        words: Sequence[Word],
        window: int | None = None,
    ) -> "Exposure":
        """Count every word in every chunk; raises VocabularyError for a word that the vocabulary lacks.

        A chunk co-occurs for a word when it holds both forms; with ``window`` only when speech has the word at most so
        many tokens after the scene has it.
        """
        env_ids, lan_ids = (
            np.array([vocabulary.id(word.form, channel) for word in words]) for channel in (Channel.ENV, Channel.LAN)
        )
        env, lan = occurrences(chunks, env_ids), occurrences(chunks, lan_ids)
        together = (env > 0) & (lan > 0) if window is None else follows(chunks, env_ids, lan_ids, window)
        return cls(*(part.astype(np.float32) for part in (together, env, lan)))

    def at(self, seen: Int[np.ndarray, " n_chunks"]) -> Seen:
        """Return the cumulative counts when each chunk was read ``seen`` times (`DataOrder.seen`)."""
        times = seen.astype(np.float64)  # sums of whole numbers below 2^53 are exact
        has_env, has_lan = self.env > 0, self.lan > 0
        joint = (has_env * times[:, None]).T @ has_lan
        parts = (times @ self.together, times @ self.env, times @ self.lan, joint, times @ has_env, times @ has_lan)
        return Seen(*(np.rint(part).astype(np.int64) for part in parts))


def occurrences(
    chunks: Int[np.ndarray, "n_chunks length"], ids: Int[np.ndarray, " n_ids"]
) -> Int[np.ndarray, "n_chunks n_ids"]:
    """Count each of the (distinct) ids in each chunk."""
    counts = np.zeros((len(chunks), len(ids)), dtype=np.int32)
    for start, block in blocks(chunks):
        rows, _, which = _find(block, ids)
        np.add.at(counts, (start + rows, which), 1)
    return counts


def follows(
    chunks: Int[np.ndarray, "n_chunks length"],
    env_ids: Int[np.ndarray, " word"],
    lan_ids: Int[np.ndarray, " word"],
    window: int,
) -> Bool[np.ndarray, "n_chunks word"]:
    """Say for every chunk and word whether speech has the word within ``window`` tokens after the scene has it."""
    held = np.zeros((len(chunks), len(env_ids)), dtype=bool)
    for start, block in blocks(chunks):
        row_env, at_env, word_env = _find(block, env_ids)
        row_lan, at_lan, word_lan = _find(block, lan_ids)
        # one number per (word, chunk, position), so far apart that a neighbour in order is a neighbour in the chunk
        stride = block.shape[1] + window + 1
        shown = np.sort((word_env * len(block) + row_env) * stride + at_env)
        said = (word_lan * len(block) + row_lan) * stride + at_lan
        before = np.searchsorted(shown, said) - 1
        near = (before >= 0) & (said - shown[np.maximum(before, 0)] <= window) if len(shown) else before >= 0
        held[start + row_lan[near], word_lan[near]] = True
    return held


def _find(
    block: Int[np.ndarray, "chunk length"], ids: Int[np.ndarray, " n_ids"]
) -> tuple[Int[np.ndarray, " hit"], Int[np.ndarray, " hit"], Int[np.ndarray, " hit"]]:
    """Return chunk, position and which of ``ids``, of every token that is one of them."""
    order = np.argsort(ids)
    ranked = ids[order]
    place = np.minimum(np.searchsorted(ranked, block), len(ids) - 1)
    rows, positions = np.nonzero(ranked[place] == block)
    return rows, positions, order[place[rows, positions]]
