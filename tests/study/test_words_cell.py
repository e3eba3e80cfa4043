"""Which words a study measures, kind by kind: no form counts twice."""

from pathlib import Path

import pytest

from groundscope.behaviour.contexts import SLOT, load_contexts
from groundscope.behaviour.words import Kind
from groundscope.corpus.chunks import ChunkOptions, Corpus, build_corpus
from groundscope.corpus.utterance import Channel, Document, Utterance
from groundscope.errors import StudyError
from groundscope.study.cells.words import chosen
from groundscope.study.load import load_study


def corpus_of(folder: Path, *forms: str) -> Corpus:
    """Each of the ``forms`` a thousand times in both channels, and the words of the shipped contexts."""
    contexts = [context for kind in Kind for context in load_contexts(kind).all()]
    shown = [tuple(word for word in context.env if word != SLOT) for context in contexts]
    said = [*(context.lan for context in contexts), *[forms] * 1000]
    talk = [Utterance("CHI", Channel.ENV, words, "act", 0) for words in (*shown, *[forms] * 1000)]
    talk += [Utterance(speaker, Channel.LAN, words, "main", 0) for words in said for speaker in ("CHI", "MOT")]
    return build_corpus([Document("a", "b", tuple(talk), (), 1)], folder, ChunkOptions(length=64), provenance={})


@pytest.mark.parametrize(
    ("kinds", "verbs"), [("verb", ["button", "eat", "jump"]), ("adjective, noun, verb", ["eat", "jump"])]
)
def test_a_form_counts_for_the_first_kind_that_has_it(tmp_path: Path, kinds: str, verbs: list[str]) -> None:
    corpus = corpus_of(tmp_path / "corpus", "big", "red", "ball", "button", "eat", "jump")
    study = load_study(None, [f"behaviour.kinds=[{kinds}]", "behaviour.minimum=1000"])
    words, _ = chosen(study, corpus, Kind.VERB)
    assert sorted(word.form for word in words) == verbs
    fewer = load_study(None, [f"behaviour.kinds=[{kinds}]", "behaviour.minimum=1000", "behaviour.at_most=2"])
    assert len(chosen(fewer, corpus, Kind.VERB)[0]) == 2


def test_a_further_kind_wants_two_words_of_its_own(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", "ball", "button", "eat")
    study = load_study(None, ["behaviour.kinds=[noun, verb]", "behaviour.minimum=1000"])
    with pytest.raises(StudyError, match="At least two verbs must stand 1000 times"):
        chosen(study, corpus, Kind.VERB)


def test_a_word_without_a_context_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", "ball", "button")
    file = tmp_path / "contexts.yaml"
    file.write_text("ball:\n- {name: look, speaker: CHI, env: looks at the _, lan: look at the}\n")
    study = load_study(None, ["behaviour.words=[ball, button]", "behaviour.minimum=1000", f"behaviour.contexts={file}"])
    with pytest.raises(StudyError, match=r"no context for 1 of the words \(button\)\. Add them"):
        chosen(study, corpus)
