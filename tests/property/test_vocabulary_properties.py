"""For any talk at all: what is encoded comes back, counts are those of a plain loop, and no token reads as another."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from groundscope.corpus.utterance import UNKNOWN, Channel, Utterance
from groundscope.corpus.vocabulary import Vocabulary

forms = st.text(min_size=1, max_size=6).filter(lambda form: not any(map(str.isspace, form)))
forms = forms | st.sampled_from([UNKNOWN, "<doc>", "<CHI>", "a<ENV>", "horse", "horse<LAN>"])
speakers = st.text(max_size=5) | st.sampled_from(["CHI", "ENV", "LAN", "doc", "unk", "unk><ENV", "%64oc"])


# Plain tuples, for the type checker draws random numbers when an Utterance is made, which strategies must not
talks = st.lists(st.tuples(speakers, st.sampled_from(Channel), st.lists(forms, max_size=5)), max_size=8)


def utterances(drawn) -> list[Utterance]:
    return [
        Utterance(
            speaker,
            channel if words else Channel.LAN,
            tuple(words),
            "scene" if words and channel is Channel.ENV else "main",
            0,
        )
        for speaker, channel, words in drawn
    ]


def vocabulary_of(talk: list[Utterance], **limits) -> Vocabulary:
    return Vocabulary.from_counts(
        documents=1,
        speakers=Counter(u.speaker for u in talk),
        words=Counter((word, u.channel) for u in talk for word in u.words),
        **limits,
    )


@given(talks)
def test_decode_inverts_encode(drawn):
    talk = utterances(drawn)
    vocabulary = vocabulary_of(talk)
    assert vocabulary.decode(vocabulary.encode(talk)) == talk


@given(talks, st.integers(1, 4))
def test_counts_are_those_of_what_is_encoded(drawn, min_frequency):
    talk = utterances(drawn)
    vocabulary = vocabulary_of(talk, min_frequency=min_frequency)
    found = Counter(vocabulary.encode(talk))
    assert vocabulary.counts.tolist() == [1] + [found[i] for i in range(1, len(vocabulary))]


@given(talks)
def test_every_entry_has_its_own_spelling(drawn):
    talk = utterances(drawn)
    tokens = vocabulary_of(talk).tokens
    assert len(set(tokens)) == len(tokens)


@given(talks, st.integers(1, 3))
def test_ids_are_ordered_by_count_then_name(drawn, min_frequency):
    talk = utterances(drawn)
    vocabulary = vocabulary_of(talk, min_frequency=min_frequency)
    for channel in Channel:
        ranks = [(-vocabulary.count(form, channel), form) for form in vocabulary.forms(channel)]
        assert ranks == sorted(ranks)
