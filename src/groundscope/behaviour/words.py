"""Which words are measured: the shipped list by kind and category, and those of it that a corpus holds often enough."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Literal

import polars as pl
import yaml

from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import StudyError, VocabularyError, did_you_mean
from groundscope.tables import Column, TableSchema

UNLISTED = "unlisted"
"""Category of a word that the shipped list does not hold."""


class Kind(StrEnum):
    """A word's part of speech; every kind has contexts of its own."""

    NOUN = "noun"
    VERB = "verb"
    ADJECTIVE = "adjective"


@dataclass(frozen=True, slots=True)
class Word:
    """A word form, its kind and its category within the kind (animals, food, ...)."""

    form: str
    kind: Kind
    category: str


Choice = Literal["listed", "paper"] | tuple[str, ...]
"""Words to measure: all that are listed for a kind, the hundred nouns of Wu et al. (2025), or these."""

WORDS = TableSchema(
    "words",
    "one candidate word of a study",
    (
        Column("word", pl.String(), "word form"),
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("category", pl.String(), "category within the kind"),
        Column("count_env", pl.Int64(), "times the word stands in the scene's channel of the corpus"),
        Column("count_lan", pl.Int64(), "times the word stands in the speech channel of the corpus"),
        Column(
            "selected", pl.Boolean(), "whether the word is measured: its counts suffice, and no earlier kind has it"
        ),
    ),
)


def candidates(kind: Kind, choice: Choice = "listed") -> tuple[Word, ...]:
    """Return the words that ``choice`` names, before any count is looked at.

    ``"listed"`` leaves homographs out (can, slide, watch, ...: as often another part of speech); words asked for by
    name or by ``"paper"`` are taken as they are. A word that the list does not hold gets the category "unlisted".
    Raises StudyError when ``"paper"`` is asked for another kind than nouns.
    """
    listed = {word.form: word for word in _lexicon() if word.kind is kind}
    if choice == "listed":
        dropped = _forms("homographs")
        return tuple(word for word in listed.values() if word.form not in dropped)
    if choice == "paper" and kind is not Kind.NOUN:
        raise StudyError(f"The paper's words are nouns; there is no such list of {kind}s. Use words: listed.")
    forms = _forms("paper") if choice == "paper" else choice
    return tuple(listed.get(form, Word(form, kind, UNLISTED)) for form in dict.fromkeys(forms))


def select_words(
    vocabulary: Vocabulary,
    kind: Kind = Kind.NOUN,
    *,
    minimum: int = 100,
    choice: Choice = "listed",
    at_most: int | None = None,
    taken: Collection[str] = (),
) -> tuple[Word, ...]:
    """Return the candidates that stand at least ``minimum`` times in the scene and ``minimum`` times in speech.

    ``at_most`` keeps those with the largest smaller count; forms that are ``taken`` are left out first. The paper's own
    choice is nouns of the MacArthur-Bates lists with 100 occurrences in each form. Raises VocabularyError for a word
    asked for by name that the vocabulary lacks in a channel, and StudyError when fewer than two words are left, for
    then no scene can mismatch.
    """
    asked = tuple(word for word in candidates(kind, choice) if word.form not in taken)
    if not isinstance(choice, str):
        _require(vocabulary, asked)
    counted = [(word, _smaller_count(vocabulary, word)) for word in asked]
    kept = [(word, count) for word, count in counted if count >= max(minimum, 1)]
    if len(kept) < 2:
        raise StudyError(_too_few(kind, minimum, counted))
    if at_most is not None:
        cut = sorted(kept, key=lambda entry: (-entry[1], entry[0].form))[:at_most]
        kept = [entry for entry in kept if entry in cut]
    return tuple(word for word, _ in kept)


def words_table(vocabulary: Vocabulary, asked: Sequence[Word], selected: Sequence[Word]) -> pl.DataFrame:
    """Return table `WORDS`: every candidate with its counts, and whether it was selected."""
    chosen = set(selected)
    return WORDS.frame(
        [
            {
                "word": word.form,
                "kind": word.kind.value,
                "category": word.category,
                "count_env": vocabulary.count(word.form, Channel.ENV),
                "count_lan": vocabulary.count(word.form, Channel.LAN),
                "selected": word in chosen,
            }
            for word in asked
        ]
    )


def _smaller_count(vocabulary: Vocabulary, word: Word) -> int:
    return min(vocabulary.count(word.form, channel) for channel in Channel)


def _require(vocabulary: Vocabulary, asked: Sequence[Word]) -> None:
    for word in asked:
        for channel in Channel:
            if vocabulary.find(word.form, channel) is None:
                hint = did_you_mean(word.form, vocabulary.forms(channel))
                raise VocabularyError(
                    f"The word '{word.form}' was asked for, but the corpus never has '{word.form}<{channel}>'.{hint}"
                )


def _too_few(kind: Kind, minimum: int, counted: Sequence[tuple[Word, int]]) -> str:
    best = sorted(counted, key=lambda entry: (-entry[1], entry[0].form))[:3]
    nearest = ", ".join(f"{word.form} ({count})" for word, count in best)
    reached = sum(count >= minimum for _, count in counted)
    return (
        f"At least two {kind}s must stand {minimum} times in the scene and in speech; {reached} of {len(counted)} do. "
        f"Highest smaller counts: {nearest or 'none'}. Lower the minimum or use more text."
    )


@cache
def _data() -> dict:
    return yaml.safe_load(files("groundscope.data").joinpath("words.yaml").read_text(encoding="utf-8"))


@cache
def _forms(section: str) -> tuple[str, ...]:
    return tuple(_data()[section].split())


@cache
def _lexicon() -> tuple[Word, ...]:
    sections = {Kind.NOUN: "nouns", Kind.VERB: "verbs", Kind.ADJECTIVE: "adjectives"}
    return tuple(
        Word(form, kind, category)
        for kind, section in sections.items()
        for category, forms in _data()[section].items()
        for form in forms.split()
    )
