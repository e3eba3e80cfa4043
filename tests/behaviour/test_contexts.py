import json

import pytest

from groundscope.behaviour.contexts import (
    SLOT,
    Context,
    ContextSet,
    load_contexts,
    unknown_words,
    usable_contexts,
)
from groundscope.behaviour.words import Kind, candidates
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import StudyError


@pytest.mark.parametrize(
    ("kind", "held_out", "fewest"),
    [(Kind.NOUN, False, 12), (Kind.NOUN, True, 10), (Kind.VERB, False, 10), (Kind.ADJECTIVE, False, 10)],
)
def test_shipped_contexts(kind, held_out, fewest):
    contexts = load_contexts(kind, held_out=held_out).shared
    assert len(contexts) >= fewest
    assert len({context.lan for context in contexts}) == len(contexts)
    assert all(context.slot >= 1 for context in contexts)
    said = {word for context in contexts for word in (*context.env, *context.lan)}
    nouns = {word.form for word in candidates(Kind.NOUN)}
    assert not said & nouns, "a context must not name another thing"
    assert not [context for context in contexts if {context.env[context.slot - 1], context.lan[-1]} & {"a", "an"}]


@pytest.mark.parametrize(
    ("env", "lan", "complaint"),
    [
        ("looks at it", "look at the", "must hold the slot"),
        ("the _ and the _", "look at the", "must hold the slot"),
        ("_ falls", "look at the", "stands first"),
        ("looks at the _", "", "at least one word"),
        ("looks at the _", "look at the _", "without a slot"),
    ],
)
def test_a_context_that_cannot_be_used_says_why(env, lan, complaint):
    with pytest.raises(StudyError, match=complaint):
        Context("mine", "CHI", tuple(env.split()), tuple(lan.split()))


def test_contexts_of_ones_own_for_all_words_or_for_some(tmp_path):
    shared = [{"env": "looks at the _", "lan": "look at the"}]
    (tmp_path / "all.json").write_text(json.dumps(shared))
    everyone = load_contexts(path=tmp_path / "all.json")
    assert everyone.shared == (Context("1", "CHI", ("looks", "at", "the", SLOT), ("look", "at", "the")),)

    (tmp_path / "some.yaml").write_text(
        "shared:\n  - {env: looks at the _, lan: look at the}\n"
        "horse:\n  - {name: ride, speaker: MOT, env: rides the _, lan: i love this}\n"
    )
    some = load_contexts(path=tmp_path / "some.yaml")
    words = candidates(Kind.NOUN, ("cow", "horse", "pig"))
    assert some.groups(words) == [(some.shared, (0, 2)), (some.own["horse"], (1,))]
    assert [context.name for context in some.all()] == ["1", "horse/ride"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must hold a list"),
        ("just words", "must hold a list"),
        ("[1]", "not a mapping"),
        ("[]", "must hold a list"),
        ("horse: []", "'horse': expected a list"),
        ("- {env: looks at the _}", "needs 'lan'"),
        ("- {env: looks at the _, lann: look}", "unknown key 'lann'. Did you mean 'lan'"),
        ("- {env: a _, lan: b}\n- {env: c _, lan: d, name: 1}", "two contexts are named '1'"),
        ("- {env: [broken", "cannot be read"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path, text, complaint):
    path = tmp_path / "contexts.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=complaint):
        load_contexts(path=path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("contexts.yaml", "horse: [{env: the _, lan: i}]\ncow: [{env: a _, lan: b}]\nhorse: [{env: c _, lan: d}]"),
        ("contexts.json", '{"horse": [{"env": "a _", "lan": "b"}], "horse": [{"env": "c _", "lan": "d"}]}'),
        ("contexts.yaml", "- {env: a _, lan: b, horse: c, horse: d}"),
        ("contexts.json", '[{"env": "a _", "env": "the _", "lan": "horse"}]'),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(StudyError, match=r"cannot be read as contexts: .*the key '(horse|env)' stands .*keep one"):
        load_contexts(path=tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"no context file .*mine\.yaml"):
        load_contexts(path=tmp_path / "mine.yaml")


def test_words_without_contexts_are_named():
    context = Context("x", "CHI", ("a", SLOT), ("b",))
    with pytest.raises(StudyError, match=r"no context for 1 of the words \(cow"):
        ContextSet((), {"horse": (context,)}).groups(candidates(Kind.NOUN, ("horse", "cow")))


def test_contexts_that_the_corpus_does_not_speak_are_left_out(vocabulary, contexts):
    assert usable_contexts(contexts, vocabulary) == contexts
    strange = Context("strange", "NAN", ("sees", "the", SLOT), ("behold", "the"))
    assert unknown_words(strange, vocabulary) == ("<NAN>", "sees<ENV>", "behold<LAN>")
    assert usable_contexts(ContextSet((*contexts.shared, strange)), vocabulary) == contexts


def test_no_usable_context_is_an_error_that_names_what_is_missing(contexts):
    empty = Vocabulary.from_counts(documents=1, speakers={"CHI": 1}, words={})
    with pytest.raises(StudyError, match="None of the 14 contexts can be used: the corpus never has looks<ENV>"):
        usable_contexts(contexts, empty)
