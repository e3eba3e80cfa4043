"""The toy world: the same options give the same documents, the truth is true, and every dial does what it says."""

import hashlib
import math
from collections import Counter

import polars as pl
import pytest
from pydantic import ValidationError

from groundscope.behaviour.contexts import SLOT, load_contexts
from groundscope.behaviour.words import Kind as WordKind
from groundscope.behaviour.words import candidates, select_words
from groundscope.corpus.chunks import ChunkOptions, Corpus, build_corpus
from groundscope.corpus.toyworld import Kind, ToyWorld, ToyWorldOptions
from groundscope.corpus.utterance import Channel


def world(**dials) -> ToyWorld:
    return ToyWorld(ToyWorldOptions(**{"documents": 60, "noise": 0.0, **dials}))


def said_things(truth: pl.DataFrame) -> pl.DataFrame:
    return truth.filter(pl.col("channel") == "LAN", pl.col("kind") == "noun")


def shown_things(truth: pl.DataFrame) -> pl.DataFrame:
    return truth.filter(pl.col("channel") == "ENV", pl.col("kind") == "noun")


def assert_share(found: float, expected: float, n: int) -> None:
    """Four standard errors: a share measured on n independent draws is farther off once in 15,000 times."""
    assert abs(found - expected) <= 4 * math.sqrt(expected * (1 - expected) / n) + 1e-12


@pytest.fixture(scope="module")
def default_corpus(tmp_path_factory) -> Corpus:
    toyworld = ToyWorld(ToyWorldOptions(documents=600))
    return build_corpus(
        toyworld.documents(), tmp_path_factory.mktemp("toy") / "c", ChunkOptions(length=128), provenance={}
    )


def test_documents_depend_on_the_options_alone():
    one, two = list(world(documents=20).documents()), list(world(documents=20).documents())
    assert one == two
    assert list(world(documents=20, seed=1).documents()) != one
    assert list(world(documents=7).documents()) == one[:7]  # a larger world begins with the smaller one


def test_documents_are_the_same_on_every_machine():
    spoken = repr([(u.speaker, u.channel.value, u.words) for d in world(documents=3).documents() for u in d.utterances])
    assert hashlib.sha256(spoken.encode()).hexdigest()[:16] == "28efd657c7cb973b"


def test_documents_are_well_formed():
    for document in world(documents=20).documents():
        speakers = {u.speaker for u in document.utterances}
        assert len(speakers) <= 4
        assert document.main_tiers == sum(u.channel is Channel.LAN for u in document.utterances)
        assert {(u.channel, u.tier) for u in document.utterances} == {(Channel.ENV, "scene"), (Channel.LAN, "main")}
        assert all(u.words for u in document.utterances)


def test_every_mention_stands_where_the_table_says():
    toyworld = world(documents=30, noise=0.2, lan_forms=2)
    documents = {document.name: document for document in toyworld.documents()}
    forms = {form for c in toyworld.lexicon for form in (*c.env_forms, *c.lan_forms)}
    truth = toyworld.mentions()
    for row in truth.iter_rows(named=True):
        utterance = documents[row["document"]].utterances[row["utterance"]]
        assert utterance.words[row["position"]] == row["form"]
        assert (utterance.speaker, utterance.channel) == (row["speaker"], row["channel"])
    spoken = Counter(w for d in documents.values() for u in d.utterances for w in u.words if w in forms)
    assert spoken == Counter(truth["form"].to_list())


def test_in_scene_is_what_the_scenes_say():
    toyworld = world(described=0.5, documents=30)
    here = {
        (document, scene, kind, concept)
        for document, scene, kind, concept in toyworld.scenes()
        .select("document", "scene", "kind", "concept")
        .iter_rows()
    }
    for row in toyworld.mentions().iter_rows(named=True):
        assert row["in_scene"] == ((row["document"], row["scene"], row["kind"], row["concept"]) in here)


def test_a_form_means_its_concept_unless_noisy():
    toyworld = world(noise=0.3, env_forms=3, lan_forms=2)
    meaning = {
        channel: {form: c.name for c in toyworld.lexicon for form in getattr(c, f"{channel.lower()}_forms")}
        for channel in Channel
    }
    for row in toyworld.mentions().iter_rows(named=True):
        assert (meaning[row["channel"]][row["form"]] != row["concept"]) == row["noisy"]


@pytest.mark.parametrize("cooccurrence", [0.0, 0.3, 0.8, 1.0])
def test_cooccurrence_dial(cooccurrence):
    truth = said_things(world(cooccurrence=cooccurrence).mentions())
    assert_share(truth["in_scene"].mean(), cooccurrence, len(truth))


@pytest.mark.parametrize("noise", [0.0, 0.25, 1.0])
def test_noise_dial(noise):
    truth = world(noise=noise).mentions()
    for _, part in truth.group_by("channel"):
        assert_share(part["noisy"].mean(), noise, len(part))


@pytest.mark.parametrize("lag", [0, 2, 5])
def test_lag_dial(lag):
    truth = world(lag=lag, distractors=0).mentions()
    first = truth.filter(pl.col("channel") == "LAN").group_by("document", "scene").agg(pl.col("utterance").min())
    last_shown = (
        truth.filter(pl.col("channel") == "ENV").group_by("document", "scene").agg(shown=pl.col("utterance").max())
    )
    gaps = (
        first.join(last_shown, on=["document", "scene"]).select(pl.col("utterance") - pl.col("shown") - 1).to_series()
    )
    assert gaps.min() == lag
    assert set(gaps.unique()) == {lag, lag + 1}  # one utterance of small talk may come first in any world
    assert said_things(truth)["lag"].min() == lag


def test_things_dial():
    things = world(things=3, distractors=1, scenes=12).scenes().filter(pl.col("kind") == "noun")
    assert set(things.group_by("document").agg(pl.col("concept").n_unique())["concept"]) == {3}
    absent = said_things(world(things=3).mentions()).filter(~pl.col("in_scene"))
    around = world(things=3).scenes().filter(pl.col("kind") == "noun").select("document", "concept")
    assert absent.join(around, on=["document", "concept"], how="semi").is_empty()


@pytest.mark.parametrize("distractors", [0, 3])
def test_distractors_dial(distractors):
    toyworld = world(distractors=distractors, documents=30)
    things = toyworld.scenes().filter(pl.col("kind") == "noun").group_by("document", "scene")
    assert set(things.len()["len"]) == {1 + distractors}
    assert set(things.agg(pl.col("concept").n_unique())["concept"]) == {1 + distractors}
    assert set(things.agg(pl.col("topic").sum())["topic"]) == {1}
    named_in_speech = said_things(toyworld.mentions()).filter("in_scene")
    topics = toyworld.scenes().filter("topic").select("document", "scene", "concept")
    assert named_in_speech.join(topics, on=["document", "scene", "concept"], how="anti").is_empty()


def test_described_dial():
    toyworld = world(described=0.4, scenes=2, documents=200)
    truth = toyworld.mentions()
    described = set(truth.filter(pl.col("channel") == "ENV")["document"])
    assert_share(len(described) / 200, 0.4, 200)
    assert {d.name for d in toyworld.documents() if any(u.channel is Channel.ENV for u in d.utterances)} == described
    spoken = said_things(truth)
    assert_share(spoken["in_scene"].mean(), toyworld.options.cooccurrence, len(spoken))
    assert (spoken["lag"].is_not_null() == (spoken["in_scene"] & spoken["document"].is_in(list(described)))).all()


@pytest.mark.parametrize(("env_forms", "lan_forms"), [(1, 1), (1, 3), (4, 2)])
def test_synonymy_dials(env_forms, lan_forms):
    toyworld = world(nouns=5, verbs=2, adjectives=2, env_forms=env_forms, lan_forms=lan_forms)
    truth = toyworld.mentions()
    for channel, n in (("ENV", env_forms), ("LAN", lan_forms)):
        used = truth.filter(pl.col("channel") == channel).group_by("concept").agg(pl.col("form").n_unique())
        assert set(used["form"]) == {n}
    invented = [form for c in toyworld.lexicon for form in (*c.env_forms[1:], *c.lan_forms[1:])]
    assert len(set(invented)) == len(invented)
    first_words = {w for d in world(documents=30).documents() for u in d.utterances for w in u.words}
    assert not first_words & set(invented)


@pytest.mark.parametrize("zipf", [0.0, 1.0])
def test_zipf_dial(zipf):
    toyworld = world(zipf=zipf, distractors=0, things=1, scenes=1, nouns=20, documents=600)
    shown = shown_things(toyworld.mentions()).unique(["document", "scene"])
    counts = Counter(shown["concept"].to_list())
    weights = [rank**-zipf for rank in range(1, 21)]
    for name, weight in zip(toyworld.nouns, weights, strict=True):
        assert_share(counts[name] / len(shown), weight / sum(weights), len(shown))


def test_frequency_in_speech_does_not_follow_frequency_in_the_scene():
    concepts = [c for c in ToyWorld().lexicon if c.kind is Kind.NOUN]
    assert sorted(c.said for c in concepts) == sorted(c.shown for c in concepts)
    ranks = pl.DataFrame({"shown": [c.shown for c in concepts], "said": [c.said for c in concepts]})
    assert abs(ranks.select(pl.corr("shown", "said", method="spearman")).item()) < 0.2


def test_size_dials():
    toyworld = world(nouns=7, verbs=3, adjectives=2, documents=40, scenes=3)
    assert Counter(c.kind for c in toyworld.lexicon) == {Kind.NOUN: 7, Kind.VERB: 3, Kind.ADJECTIVE: 2}
    assert len(toyworld.nouns) == 7
    assert toyworld.scenes().select("document", "scene").n_unique() == 40 * 3


def test_small_worlds_end():
    assert (
        len(list(world(nouns=2, verbs=1, adjectives=1, cooccurrence=0.0, distractors=5, documents=5).documents())) == 5
    )


def test_options_are_checked():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        ToyWorldOptions(cooccurrence=1.2)
    with pytest.raises(ValidationError, match="coocurrence"):
        ToyWorldOptions(coocurrence=0.2)


def test_default_words_can_be_measured(default_corpus):
    toyworld = ToyWorld()
    assert len(toyworld.nouns) >= 100
    for kind in WordKind:
        measured = {word.form for word in select_words(default_corpus.vocabulary, kind, minimum=5)}
        assert measured == {c.name for c in toyworld.lexicon if c.kind == kind.value}


def test_no_function_word_is_a_listed_word_in_both_channels(default_corpus):
    vocabulary = default_corpus.vocabulary
    meaningful = {c.name for c in ToyWorld().lexicon}
    listed = {word.form for kind in WordKind for word in candidates(kind)}
    for form in listed - meaningful:
        assert not all(vocabulary.count(form, channel) for channel in Channel)


def test_shipped_contexts_speak_the_toy_worlds_language(default_corpus):
    vocabulary = default_corpus.vocabulary
    for context in load_contexts().shared + load_contexts(held_out=True).shared:
        for channel, sentence in ((Channel.ENV, context.env), (Channel.LAN, context.lan)):
            for word in sentence:
                assert word == SLOT or vocabulary.count(word, channel) > 0, (context.name, word)
        vocabulary.speaker_id(context.speaker)
