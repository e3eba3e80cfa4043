"""The documents of a corpus as one stream of token ids, four bytes each, whose final numbering can wait.

Ids are handed out as forms turn up. When everything is read and counted, `TokenStream.final_ids` maps them to those of
a vocabulary, so that files are read once and words are numbered by frequency all the same.
"""

import array
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from groundscope.corpus.card import CollectionCount, TierCount
from groundscope.corpus.utterance import UNKNOWN, Channel, Document, Problem
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError
from groundscope.tables import Column, TableSchema

PROBLEMS = TableSchema(
    "problems",
    "something in a source file that could not be read as it stood",
    (
        Column("file", pl.String(), "name of the document"),
        Column("line", pl.Int64(), "line in the file, counted from 1; 0 where unknown"),
        Column("what", pl.String(), "what stands there"),
        Column("why", pl.String(), "why it was not read, or how it was read instead"),
    ),
)


class _Forms(dict):
    """Form -> provisional id; a form that is asked for the first time is checked and gets the next id."""

    def __init__(self, entries: list[tuple[str, Channel | None]], channel: Channel | None):
        super().__init__()
        self._entries, self._channel = entries, channel

    def __missing__(self, form: str) -> int:
        if self._channel is not None and (not form or any(map(str.isspace, form))):
            raise CorpusError(f"A word must be non-empty and free of white space; found {form!r}. Split the text.")
        number = self[form] = len(self._entries)
        self._entries.append((form, self._channel))
        return number


class TokenStream:
    """Everything that is remembered of the documents: their tokens as provisional ids, and counts."""

    def __init__(self):
        self.files = self.utterances = 0
        self._ids = array.array("i")
        self._entries: list[tuple[str, Channel | None]] = [("", None)]  # 0: a document; channel None: a speaker
        self._speakers = _Forms(self._entries, None)
        self._words = {channel: _Forms(self._entries, channel) for channel in Channel}
        self._tiers: defaultdict[tuple[Channel, str], Counter] = defaultdict(Counter)
        self._collections: defaultdict[str, Counter] = defaultdict(Counter)
        self._problems: list[Problem] = []

    def add(self, document: Document) -> None:
        """Append one document to the stream."""
        ids = [0]
        tiers: defaultdict[tuple[Channel, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for utterance in document.utterances:
            words = utterance.words
            ids.append(self._speakers[utterance.speaker])
            ids.extend(map(self._words[utterance.channel].__getitem__, words))
            tally = tiers[utterance.channel, utterance.tier]
            tally[0] += 1
            tally[1] += len(words)
            tally[2] += words.count(UNKNOWN)
        self._ids.extend(ids)
        self.files += 1
        self.utterances += document.main_tiers
        self._problems.extend(document.problems)
        collection = self._collections[document.collection]
        collection.update(files=1, utterances=document.main_tiers)
        for (channel, tier), (utterances, words, unknown) in tiers.items():
            collection[channel] += words - unknown
            self._tiers[channel, tier].update(utterances=utterances, words=words - unknown, unknown=unknown)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def is_silent(self) -> bool:
        """Whether the documents hold no utterance with a word."""
        return len(self) == self.files  # each is a mark, and nothing else

    @property
    def ids(self) -> Int[np.ndarray, " tokens"]:
        """Provisional ids of all tokens; while the array lives, no document can be added."""
        return np.frombuffer(self._ids, dtype=np.int32)

    def is_env(self) -> Bool[np.ndarray, " entries"]:
        """Say which provisional ids are words of the scene, `<unk>` included."""
        return np.array([channel is Channel.ENV for _, channel in self._entries])

    def count(self, ids: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, " entries"]:
        """Count how often each entry stands among provisional ids."""
        return np.bincount(ids.ravel(), minlength=len(self._entries))

    def vocabulary(
        self, counts: Int[np.ndarray, " entries"], *, min_frequency: int, max_size: int | None
    ) -> Vocabulary:
        """Number the entries that have a count; see `Vocabulary.from_counts` for the limits."""
        standing = [(entry, n) for entry, n in zip(self._entries[1:], counts[1:].tolist(), strict=True) if n]
        return Vocabulary.from_counts(
            documents=int(counts[0]),
            speakers={code: n for (code, channel), n in standing if channel is None},
            words={(form, channel): n for (form, channel), n in standing if channel is not None},
            min_frequency=min_frequency,
            max_size=max_size,
        )

    def final_ids(self, vocabulary: Vocabulary) -> Int[np.ndarray, " entries"]:
        """Map provisional ids to the vocabulary's; an entry that stands in no kept chunk maps to -1."""
        final = np.full(len(self._entries), -1, dtype=np.int32)
        final[0] = vocabulary.document_id
        speakers = set(vocabulary.speakers)
        for number, (form, channel) in enumerate(self._entries[1:], start=1):
            if channel is not None:
                found = vocabulary.find(form, channel)
                final[number] = vocabulary.unknown_id(channel) if found is None else found
            elif form in speakers:
                final[number] = vocabulary.speaker_id(form)
        return final

    def problem_frame(self) -> pl.DataFrame:
        """Return the error table in the order of the documents."""
        names = PROBLEMS.dtypes
        return PROBLEMS.frame({name: [getattr(p, name) for p in self._problems] for name in names})

    def card_counts(self) -> dict[str, Any]:
        """Return those fields of the card that count what was read."""
        tiers = [TierCount(channel=channel, tier=tier, **counts) for (channel, tier), counts in self._tiers.items()]
        return {
            "files": self.files,
            "utterances": self.utterances,
            "problems": len(self._problems),
            "tiers": tuple(sorted(tiers, key=lambda t: (t.channel is Channel.ENV, -t.words, t.tier))),
            "collections": tuple(
                CollectionCount(
                    collection=name,
                    files=counts["files"],
                    utterances=counts["utterances"],
                    env_words=counts[Channel.ENV],
                    lan_words=counts[Channel.LAN],
                )
                for name, counts in sorted(self._collections.items())
            ),
        }
