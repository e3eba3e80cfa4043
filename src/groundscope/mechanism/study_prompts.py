"""The prompts of a study: one match prompt for each word in each context, with its mismatches, grouped by length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from groundscope.behaviour.contexts import Context, ContextSet
from groundscope.behaviour.prompts import render, targets
from groundscope.behaviour.words import Word
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.mechanism.options import PromptOptions
from groundscope.mechanism.prompts import PromptBatch, group_by_length
from groundscope.statistics.resampling import generator
from groundscope.tables import Column, TableSchema

MECHANISM_PROMPTS = TableSchema(
    "mechanism_prompts",
    "one prompt",
    (
        Column("prompt", pl.Int64(), "number of the prompt in the study, as in table heads_found"),
        Column("word", pl.String(), "the word that is predicted, and stands in the scene"),
        Column("context", pl.String(), "name of the context"),
        Column("tokens", pl.String(), "the prompt as the model reads it, by spaces"),
        Column("length", pl.Int64(), "tokens"),
        Column("ground", pl.Int64(), "position of the scene word, counted from 0"),
        Column("mismatches", pl.String(), "the words that stand in the scene of its mismatches, by spaces"),
    ),
)


@dataclass(frozen=True, eq=False)
class StudyPrompts:
    """Prompts grouped by length, and what each is; ``table`` has schema `MECHANISM_PROMPTS`."""

    groups: tuple[PromptBatch, ...]
    table: pl.DataFrame

    @property
    def words(self) -> list[str]:
        """The predicted word of each prompt, in the order in which the groups hold them."""
        order = torch.cat([group.numbers for group in self.groups]).tolist()
        known = dict(self.table.select("prompt", "word").iter_rows())
        return [known[number] for number in order]


@dataclass(frozen=True, slots=True)
class _Place:
    """One word in one context."""

    number: int
    word: int
    context: Context
    others: tuple[int, ...]


def study_prompts(
    words: Sequence[Word], contexts: ContextSet, vocabulary: Vocabulary, options: PromptOptions
) -> StudyPrompts:
    """Return the match prompts of ``words`` in their contexts (method, section 4), scene word to spoken word.

    Prompts are numbered word by word before any are sampled, so that a number means the same prompt whatever the
    sample. The ground is the scene word, the scene is its sentence. Raises VocabularyError for a word that the
    vocabulary lacks and StudyError for words without context.
    """
    places = _sampled(_places(words, contexts, options), len(words), options)
    forms = [word.form for word in words]
    rendered = {place.context: render(place.context, forms, vocabulary) for place in places}
    target = targets(forms, vocabulary)
    groups = []
    for _, members in sorted(group_by_length(rendered[place.context].ids.shape[1] for place in places).items()):
        here = [places[at] for at in members]
        ids = torch.stack([rendered[place.context].ids[place.word] for place in here])
        position = torch.arange(ids.shape[1])
        ends = torch.tensor([len(place.context.env) for place in here])  # the speaker's tag stands at position 0
        groups.append(
            PromptBatch.with_ground_at(
                ids,
                target[[place.word for place in here]],
                torch.tensor([rendered[place.context].slot for place in here]),
                scene=(position > 0) & (position <= ends[:, None]),
                numbers=torch.tensor([place.number for place in here]),
                mismatch=torch.stack([rendered[place.context].ids[list(place.others)] for place in here])
                if here[0].others
                else None,
            )
        )
    rows = [
        {
            "prompt": place.number,
            "word": forms[place.word],
            "context": place.context.name,
            "tokens": " ".join(vocabulary.tokens[token] for token in rendered[place.context].ids[place.word].tolist()),
            "length": rendered[place.context].ids.shape[1],
            "ground": rendered[place.context].slot,
            "mismatches": " ".join(forms[other] for other in place.others),
        }
        for place in places
    ]
    return StudyPrompts(tuple(groups), MECHANISM_PROMPTS.frame(rows))


def _places(words: Sequence[Word], contexts: ContextSet, options: PromptOptions) -> list[_Place]:
    of_word = {at: group for group, members in contexts.groups(words) for at in members}
    pairs = [(word, context) for word in range(len(words)) for context in of_word[word][: options.contexts]]
    count = min(options.mismatches, len(words) - 1)
    return [
        _Place(number, word, context, _others(number, word, len(words), count, options.seed))
        for number, (word, context) in enumerate(pairs)
    ]


def _others(number: int, word: int, n_words: int, count: int, seed: int) -> tuple[int, ...]:
    drawn = generator(seed, f"mismatches of prompt {number}").choice(n_words - 1, size=count, replace=False)
    return tuple(other + (other >= word) for other in sorted(drawn.tolist()))


def _sampled(places: list[_Place], n_words: int, options: PromptOptions) -> list[_Place]:
    """The asked number of prompts: first one of every word, then a second of every word, and so on."""
    if options.prompts is None or options.prompts >= len(places):
        return places
    rng = generator(options.seed, "sample of prompts")
    order = rng.permutation(len(places))
    turn = np.empty(len(places), dtype=int)
    met = np.zeros(n_words, dtype=int)
    for at in order:
        turn[at] = met[places[at].word]
        met[places[at].word] += 1
    chosen = order[np.argsort(turn[order], kind="stable")][: options.prompts]
    return [places[at] for at in sorted(chosen)]
