"""A vocabulary that holds the shipped contexts and a few nouns, and tiny models over it."""

import pytest

from groundscope.behaviour.contexts import SLOT, load_contexts
from groundscope.behaviour.words import Kind, candidates
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.models import build, preset

NOUNS = ("horse", "cow", "ball", "book", "box", "cup", "spoon")


@pytest.fixture(scope="session")
def vocabulary():
    counts = {(noun, channel): 200 + 10 * at for at, noun in enumerate(NOUNS) for channel in Channel}
    for kind in Kind:
        for context in load_contexts(kind).all():
            counts |= {(word, Channel.ENV): 1000 for word in context.env if word != SLOT}
            counts |= {(word, Channel.LAN): 1000 for word in context.lan}
    return Vocabulary.from_counts(documents=1, speakers={"CHI": 9, "MOT": 9}, words=counts)


@pytest.fixture(scope="session")
def nouns():
    return candidates(Kind.NOUN, NOUNS)


@pytest.fixture(scope="session")
def contexts():
    return load_contexts()


@pytest.fixture(scope="session", params=["transformer-4", "lstm-4", "mamba2-4"])
def any_model(request, vocabulary):
    return tiny(request.param, vocabulary)


@pytest.fixture(scope="session")
def model(vocabulary):
    return tiny("transformer-4", vocabulary)


def tiny(name, vocabulary):
    sizes = {"n_layers": 2, "d_model": 32}
    return build(preset(name, len(vocabulary), **sizes), seed=1).eval()
