"""How often training showed a word and its scene together, up to any step, exactly as its data order had it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from groundscope.behaviour.words import Word
from groundscope.corpus.cooccurrence import blocks, cooccurring
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


@dataclass(frozen=True, slots=True)
class Exposure:
    """What each chunk of a corpus shows of each word; computed once, read at every checkpoint of every seed."""

    cooccurring: Float[np.ndarray, "n_chunks word"]
    env: Float[np.ndarray, "n_chunks word"]
    lan: Float[np.ndarray, "n_chunks word"]

    @classmethod
    def of(
        cls, chunks: Int[np.ndarray, "n_chunks length"], vocabulary: Vocabulary, words: Sequence[Word]
    ) -> "Exposure":
        """Count every word in every chunk; raises VocabularyError for a word that the vocabulary lacks."""
        forms = [word.form for word in words]
        counts = [
            occurrences(chunks, np.array([vocabulary.id(form, channel) for form in forms])) for channel in Channel
        ]
        together = cooccurring(chunks, vocabulary, forms)
        return cls(together.astype(np.float32), *(count.astype(np.float32) for count in counts))

    def at(self, seen: Int[np.ndarray, " n_chunks"]) -> Seen:
        """Return the cumulative counts when each chunk was read ``seen`` times (`DataOrder.seen`)."""
        times = seen.astype(np.float64)  # sums of whole numbers below 2^53 are exact
        return Seen(*(np.rint(times @ part).astype(np.int64) for part in (self.cooccurring, self.env, self.lan)))


def occurrences(
    chunks: Int[np.ndarray, "n_chunks length"], ids: Int[np.ndarray, " n_ids"]
) -> Int[np.ndarray, "n_chunks n_ids"]:
    """Count each of the (distinct) ids in each chunk."""
    order = np.argsort(ids)
    ranked = ids[order]
    counts = np.zeros((len(chunks), len(ids)), dtype=np.int32)
    for start, block in blocks(chunks):
        place = np.minimum(np.searchsorted(ranked, block), len(ids) - 1)
        rows, columns = np.nonzero(ranked[place] == block)
        np.add.at(counts, (start + rows, order[place[rows, columns]]), 1)
    return counts
