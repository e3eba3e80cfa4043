import pytest

from groundscope.behaviour.words import UNLISTED, Kind, Word, candidates, select_words, words_table
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import StudyError, VocabularyError
from groundscope.tables import read_table, write_table


def corpus_of(**counts):
    words = {(word, channel): n for word, both in counts.items() for channel, n in zip(Channel, both, strict=True) if n}
    return Vocabulary.from_counts(documents=1, speakers={"CHI": 1}, words=words)


def test_the_paper_has_a_hundred_listed_nouns():
    words = candidates(Kind.NOUN, "paper")
    assert len(words) == len(set(words)) == 100
    assert not [word for word in words if word.category == UNLISTED]


@pytest.mark.parametrize(("kind", "fewest"), [(Kind.NOUN, 300), (Kind.VERB, 60), (Kind.ADJECTIVE, 40)])
def test_listed_words_are_single_and_unique(kind, fewest):
    forms = [word.form for word in candidates(kind)]
    assert len(forms) == len(set(forms)) >= fewest
    assert all(form.isalpha() and form.islower() for form in forms)


def test_homographs_are_left_out_unless_asked_for():
    listed = {word.form for word in candidates(Kind.NOUN)}
    homographs = {"can", "slide", "watch", "drink", "light", "brush", "train", "orange", "comb"}
    assert not homographs & listed
    assert {"light", "brush", "train", "comb"} <= {word.form for word in candidates(Kind.NOUN, "paper")}
    assert candidates(Kind.NOUN, ("can",)) == (Word("can", Kind.NOUN, "household"),)


def test_a_word_of_ones_own_is_taken_as_it_is():
    assert candidates(Kind.NOUN, ("blicket",)) == (Word("blicket", Kind.NOUN, UNLISTED),)


def test_the_paper_has_no_verbs():
    with pytest.raises(StudyError, match="nouns"):
        candidates(Kind.VERB, "paper")


def test_words_must_reach_the_count_in_both_channels():
    vocabulary = corpus_of(horse=(100, 100), cow=(99, 500), dog=(500, 99), pig=(101, 300))
    assert [word.form for word in select_words(vocabulary)] == ["horse", "pig"]
    assert [word.form for word in select_words(vocabulary, minimum=99, at_most=3)] == ["cow", "horse", "pig"]


def test_a_word_asked_for_by_name_must_exist():
    vocabulary = corpus_of(horse=(100, 100), cow=(100, 100), dog=(0, 9))
    with pytest.raises(VocabularyError, match=r"'hose' was asked for.*Did you mean 'horse'"):
        select_words(vocabulary, choice=("horse", "cow", "hose"))
    with pytest.raises(VocabularyError, match="'dog<ENV>'"):
        select_words(vocabulary, choice=("horse", "cow", "dog"))


def test_too_few_words_say_how_many_reach_what():
    vocabulary = corpus_of(horse=(12, 100), cow=(7, 9), dog=(120, 100))
    with pytest.raises(StudyError, match=r"1 of \d+ do. Highest smaller counts: dog \(100\), horse \(12\), cow \(7\)"):
        select_words(vocabulary)


def test_the_table_says_why_a_word_is_in_or_out(tmp_path):
    vocabulary = corpus_of(horse=(100, 150), cow=(99, 500), pig=(101, 300))
    asked = candidates(Kind.NOUN, ("horse", "cow", "pig"))
    table = words_table(vocabulary, asked, select_words(vocabulary, choice=("horse", "cow", "pig")))
    assert table["selected"].to_list() == [True, False, True]
    assert table["count_env"].to_list() == [100, 99, 101]
    from groundscope.behaviour.words import WORDS

    write_table(tmp_path / "words.parquet", table, WORDS)
    assert read_table(tmp_path / "words.parquet", WORDS).equals(table)
