"""A study's prompts: they differ in the scene word alone; a sample keeps its numbers and its balance."""

import pytest
import torch

from groundscope.behaviour.contexts import Context, ContextSet
from groundscope.behaviour.words import Kind, Word
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.mechanism.options import PromptOptions
from groundscope.mechanism.study_prompts import study_prompts

FORMS = ("horse", "dog", "cup", "ball")
WORDS = tuple(Word(form, Kind.NOUN, "things") for form in FORMS)
CONTEXTS = ContextSet(
    (
        Context("short", "CHI", ("sees", "_"), ("a",)),
        Context("long", "CHI", ("looks", "at", "_", "now"), ("the", "nice")),
        Context("other", "CHI", ("has", "_"), ("my",)),
    )
)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    env = {"sees", "looks", "at", "now", "has", *FORMS}
    lan = {"a", "the", "nice", "my", *FORMS}
    words = {**{(form, Channel.ENV): 5 for form in env}, **{(form, Channel.LAN): 5 for form in lan}}
    return Vocabulary.from_counts(documents=1, speakers={"CHI": 9}, words=words)


def options(**changes) -> PromptOptions:
    return PromptOptions(**{"prompts": None, "mismatches": 2, **changes})


def test_match_and_mismatch_differ_in_the_scene_word_and_in_nothing_else(vocabulary):
    prompts = study_prompts(WORDS, CONTEXTS, vocabulary, options())
    assert sum(map(len, prompts.groups)) == len(WORDS) * 3
    named = {row["prompt"]: row for row in prompts.table.iter_rows(named=True)}
    for group in prompts.groups:
        for i, number in enumerate(group.numbers.tolist()):
            row = named[number]
            tokens = [vocabulary.tokens[token] for token in group.input_ids[i].tolist()]
            place = group.ground[i].nonzero().item()
            assert tokens[place] == f"{row['word']}<ENV>"
            assert row["tokens"].split() == tokens
            assert vocabulary.tokens[group.targets[i]] == f"{row['word']}<LAN>"
            scene = [token for token, inside in zip(tokens, group.scene[i].tolist(), strict=True) if inside]
            assert scene == [token for token in tokens if token.endswith("<ENV>")]
            others = row["mismatches"].split()
            assert len(set(others)) == 2
            assert row["word"] not in others
            for other, ids in zip(others, group.mismatch[i], strict=True):
                differs = (ids != group.input_ids[i]).nonzero().flatten().tolist()
                assert differs == [place]
                assert vocabulary.tokens[ids[place]] == f"{other}<ENV>"


def test_words_come_in_the_order_of_the_groups(vocabulary):
    prompts = study_prompts(WORDS, CONTEXTS, vocabulary, options())
    targets = torch.cat([group.targets for group in prompts.groups])
    assert prompts.words == [vocabulary.tokens[target].removesuffix("<LAN>") for target in targets]


def test_a_sample_is_spread_over_words_and_keeps_the_numbers(vocabulary):
    whole = study_prompts(WORDS, CONTEXTS, vocabulary, options()).table
    part = study_prompts(WORDS, CONTEXTS, vocabulary, options(prompts=6)).table
    assert part.height == 6
    assert sorted(part["word"].value_counts()["count"]) == [1, 1, 2, 2]
    assert part.equals(whole.filter(whole["prompt"].is_in(part["prompt"].implode())))
    assert not part.equals(study_prompts(WORDS, CONTEXTS, vocabulary, options(prompts=6, seed=1)).table)


def test_contexts_can_be_limited_and_mismatches_left_out(vocabulary):
    prompts = study_prompts(WORDS, CONTEXTS, vocabulary, options(contexts=1, mismatches=0))
    assert set(prompts.table["context"]) == {"short"}
    assert prompts.groups[0].mismatch is None
