"""Pictures and talk as one stream of ids: a picture is a run of ids beyond the vocabulary, one per patch.

A chunk is one picture and what is said about it: ``<doc> patch ... patch <Q> what is that <A> ...``, cut or filled up
with ``<doc>`` to a common length. Id ``len(vocabulary) + row`` is row ``row`` of a bank of patch features, see
`models.grounded_vlm`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from groundscope.corpus.utterance import Channel, Utterance
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError


def vocabulary_of(talks: Iterable[Sequence[Utterance]]) -> Vocabulary:
    """Return the vocabulary of all that is said; pictures have no words."""
    speakers: Counter[str] = Counter()
    words: Counter[tuple[str, Channel]] = Counter()
    documents = 0
    for talk in talks:
        documents += 1
        for utterance in talk:
            speakers[utterance.speaker] += 1
            words.update((word, utterance.channel) for word in utterance.words)
    return Vocabulary.from_counts(documents=documents, speakers=speakers, words=words)


def picture_ids(pictures: Int[np.ndarray, "*shape"], positions: int, vocabulary: Vocabulary) -> Int[np.ndarray, "..."]:
    """Return the ids of pictures, given by their numbers in the bank, along a new last axis of ``positions``."""
    return len(vocabulary) + pictures[..., None] * positions + np.arange(positions)


def picture_chunks(
    talks: Sequence[Sequence[Utterance]],
    pictures: Sequence[int],
    positions: int,
    vocabulary: Vocabulary,
    length: int,
) -> Int[np.ndarray, "talk length"]:
    """Return one chunk per talk, behind the picture that it is about: ``pictures`` are numbers in the bank.

    Raises CorpusError when a chunk has no room for words behind its picture.
    """
    if length < positions + 8:
        raise CorpusError(
            f"A chunk of {length} tokens has no room for talk behind a picture of {positions} positions; make chunks "
            "longer or the encoder's canvas smaller."
        )
    chunks = np.full((len(talks), length), vocabulary.document_id, dtype=np.int32)
    chunks[:, 1 : positions + 1] = picture_ids(np.asarray(pictures), positions, vocabulary)
    for number, talk in enumerate(talks):
        said = vocabulary.encode(talk)[: length - positions - 1]
        chunks[number, positions + 1 : positions + 1 + len(said)] = said
    return chunks
