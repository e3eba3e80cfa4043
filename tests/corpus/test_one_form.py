import numpy as np
import pytest

from groundscope.corpus.chunks import ChunkOptions, Corpus, build_corpus
from groundscope.corpus.one_form import one_form, spoken_ids
from groundscope.corpus.toyworld import ToyWorld, ToyWorldOptions
from groundscope.corpus.utterance import UNKNOWN, Channel, Utterance
from groundscope.errors import CorpusError


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    world = ToyWorld(ToyWorldOptions(documents=60, nouns=8))
    options = ChunkOptions(length=32, min_frequency=3)
    two = build_corpus(world.documents(), folder / "two", options, provenance={"reader": "toyworld"})
    return two, one_form(two, folder / "one")


def test_every_word_is_read_as_it_is_spoken(corpora):
    two, one = corpora
    assert one.vocabulary.tokens == two.vocabulary.tokens
    forms = np.array([token.replace("<ENV>", "").replace("<LAN>", "") for token in two.vocabulary.tokens])
    np.testing.assert_array_equal(forms[one.chunks], forms[two.chunks])
    shown = [form for form in two.vocabulary.forms(Channel.ENV) if two.vocabulary.find(form, Channel.LAN) is not None]
    assert shown
    for form in shown:
        assert one.vocabulary.count(form, Channel.ENV) == 0
        assert one.vocabulary.count(form, Channel.LAN) == sum(two.vocabulary.count(form, c) for c in Channel)
    one.verify()
    assert Corpus.open(one.path).card.provenance == {**two.card.provenance, "one_form": True}


def test_no_two_words_become_one(corpora):
    vocabulary = corpora[0].vocabulary
    ids = spoken_ids(vocabulary)
    for channel in Channel:
        of_channel = [vocabulary.id(form, channel) for form in (*vocabulary.forms(channel), UNKNOWN)]
        assert len(set(ids[of_channel])) == len(of_channel)
    lan = vocabulary.is_lan
    np.testing.assert_array_equal(ids[lan], np.flatnonzero(lan))


def test_prompts_are_encoded_as_the_chunks_are(corpora):
    two, one = corpora
    spelt = two.vocabulary.decode(two.chunks[:9].ravel().tolist())
    utterances = [utterance for utterance in spelt if utterance.speaker]
    assert {utterance.channel for utterance in utterances} == set(Channel)
    plain = np.array(two.vocabulary.encode(utterances))
    merged = two.vocabulary.in_one_form()
    np.testing.assert_array_equal(merged.encode(utterances), spoken_ids(two.vocabulary)[plain])
    assert two.vocabulary.encode(utterances) == plain.tolist(), "the vocabulary itself stays as it is"
    never = Utterance(one.vocabulary.speakers[0], Channel.ENV, ("neverheard",), "", 0)
    assert merged.encode([never])[1] == two.vocabulary.unknown_id(Channel.LAN)


def test_a_folder_of_something_else_is_refused(corpora, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CorpusError):
        one_form(corpora[0], tmp_path)
