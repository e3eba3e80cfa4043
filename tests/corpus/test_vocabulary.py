"""The vocabulary: numbering, limits, what it says when a word is missing, and its two files."""

import json
import string

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from groundscope.corpus.utterance import UNKNOWN, Channel, Utterance
from groundscope.corpus.vocabulary import Vocabulary, speaker_token
from groundscope.errors import CorpusError, GroundscopeError, VocabularyError

ENV, LAN = Channel.ENV, Channel.LAN


def make(**limits) -> Vocabulary:
    return Vocabulary.from_counts(
        documents=3,
        speakers={"CHI": 7, "ENV": 2, "MOT": 7},
        words={("horse", ENV): 4, ("horse", LAN): 9, ("cow", LAN): 4, ("ant", LAN): 4, (UNKNOWN, LAN): 5},
        **limits,
    )


def test_specials_then_speakers_then_words_by_falling_count_ties_by_name():
    assert make().tokens == (
        "<doc>",
        "<unk><ENV>",
        "<unk><LAN>",
        "<CHI>",
        "<MOT>",
        "<ENV>",
        "horse<LAN>",
        "ant<LAN>",
        "cow<LAN>",
        "horse<ENV>",
    )
    assert make().counts.tolist() == [3, 0, 5, 7, 7, 2, 9, 4, 4, 4]


def test_words_under_the_limit_count_as_their_channels_unknown():
    frequent = make(min_frequency=5)
    assert frequent.forms(ENV) == ()
    assert frequent.forms(LAN) == ("horse",)
    assert frequent.count(UNKNOWN, ENV) == 4
    assert frequent.count(UNKNOWN, LAN) == 5 + 4 + 4
    assert frequent.counts.sum() == make().counts.sum()


def test_size_cap_bounds_the_whole_vocabulary():
    capped = make(max_size=8)
    assert len(capped) == 8
    assert capped.tokens[6:] == ("horse<LAN>", "ant<LAN>")
    assert capped.count(UNKNOWN, ENV) == 4
    with pytest.raises(CorpusError, match=r"vocabulary of 5 entries .* 3 speakers alone are 6"):
        make(max_size=5)


def test_speaker_env_is_not_the_channel_env():
    vocabulary = make()
    utterance = Utterance("ENV", ENV, ("horse",), "scene", 0)
    ids = vocabulary.encode([utterance])
    assert [vocabulary.tokens[i] for i in ids] == ["<ENV>", "horse<ENV>"]
    assert vocabulary.decode(ids) == [utterance]
    assert not vocabulary.is_env[vocabulary.speaker_id("ENV")]


@pytest.mark.parametrize("code", ["doc", "unk><ENV", "a b", "50%", ">", ""])
def test_speaker_tokens_never_read_as_other_tokens(code):
    token = speaker_token(code)
    assert token != "<doc>"
    assert token.count("<") == token.count(">") == 1
    assert not any(character in token for character in string.whitespace)


def test_find_count_and_unknown():
    vocabulary = make()
    assert vocabulary.find("cow", ENV) is None
    assert vocabulary.count("cow", ENV) == 0
    assert vocabulary.count("horse", LAN) == 9
    assert vocabulary.id(UNKNOWN, ENV) == vocabulary.unknown_id(ENV) == 1
    assert vocabulary.encode([Utterance("MOT", ENV, ("cow",), "act", 1)]) == [vocabulary.speaker_id("MOT"), 1]


def test_channel_masks_partition_the_words():
    vocabulary = make()
    assert not (vocabulary.is_env & vocabulary.is_lan).any()
    assert vocabulary.is_env.sum() == 2
    assert vocabulary.is_lan.sum() == 4


def test_missing_words_are_named_with_the_nearest_known():
    vocabulary = make()
    with pytest.raises(VocabularyError, match=r"does not hold 'hrose<ENV>'. Did you mean 'horse'\?"):
        vocabulary.id("hrose", ENV)
    with pytest.raises(VocabularyError, match=r"does not hold 'cow<ENV>'. It does hold 'cow<LAN>'."):
        vocabulary.id("cow", ENV)
    with pytest.raises(VocabularyError, match=r"speaker 'GRA'. Commonest: CHI, MOT, ENV."):
        vocabulary.encode([Utterance("GRA", LAN, (), "main", 0)])
    with pytest.raises(VocabularyError, match="no id 10 in a vocabulary of 10"):
        vocabulary.decode([10])


def test_decoding_a_stretch_that_begins_inside_an_utterance():
    vocabulary = make()
    ids = [vocabulary.id("horse", ENV), 0, vocabulary.speaker_id("CHI"), vocabulary.id("cow", LAN)]
    assert vocabulary.decode(ids) == [
        Utterance("", ENV, ("horse",), "scene", 0),
        Utterance("CHI", LAN, ("cow",), "main", 0),
    ]


def test_it_cannot_be_changed():
    vocabulary = make()
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.counts[0] = 1
    with pytest.raises(AttributeError):
        vocabulary.tokens = ()


def test_save_and_load(tmp_path):
    make().save(tmp_path / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert loaded == make()
    assert hash(loaded) == hash(make())
    assert loaded != make(min_frequency=5)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "vocabulary.json"
    with pytest.raises(GroundscopeError, match="There is no file"):
        Vocabulary.load(path)
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(CorpusError, match="has format 99; this version reads 1"):
        Vocabulary.load(path)
    path.write_text(json.dumps({"format": 1, "documents": 1}))
    with pytest.raises(CorpusError, match="is not a vocabulary"):
        Vocabulary.load(path)


def test_hugging_face_tokenizer_gives_the_same_ids(tmp_path):
    vocabulary = make()
    vocabulary.save_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokens = list(vocabulary.tokens)
    expected = list(range(len(vocabulary)))
    assert tokenizer.get_vocab_size() == len(vocabulary)
    assert tokenizer.encode(tokens, is_pretokenized=True).ids == expected
    assert tokenizer.encode(" ".join(tokens)).ids == expected
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert fast(tokens, is_split_into_words=True)["input_ids"] == expected
    assert fast.convert_ids_to_tokens(expected) == tokens
    np.testing.assert_array_equal(tokenizer.encode("wug<LAN>").ids, [vocabulary.unknown_id(LAN)])
