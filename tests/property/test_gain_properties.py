"""The batched gain against the definition, read off a plain loop over single prompts."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundscope.behaviour.contexts import SLOT, Context, ContextSet
from groundscope.behaviour.controls import shuffled
from groundscope.behaviour.gain import conditions
from groundscope.behaviour.mismatch import Mismatch, mismatching
from groundscope.behaviour.readings import Comparison, read
from groundscope.behaviour.words import Kind, candidates
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.models import build, preset

NOUNS = ("horse", "cow", "cup", "spoon", "ball")
FILLERS = ("look", "the", "at", "this", "and", "then")
WORDS = candidates(Kind.NOUN, NOUNS)
VOCABULARY = Vocabulary.from_counts(
    documents=1,
    speakers={"CHI": 2, "MOT": 1},
    words={(form, channel): 9 for form in NOUNS + FILLERS for channel in Channel},
)
COUNTS = np.arange(len(WORDS))
MODELS = {
    name: build(preset(name, len(VOCABULARY), n_layers=2, d_model=32), seed=5).eval()
    for name in ("transformer-4", "lstm-4", "mamba2-4")
}
fillers = st.lists(st.sampled_from(FILLERS), min_size=1, max_size=4).map(tuple)


sentences = st.tuples(st.sampled_from(["CHI", "MOT"]), fillers, st.lists(st.sampled_from(FILLERS), max_size=3), fillers)


def contexts_of(drawn):
    """Build contexts outside of strategies, where the type checker may draw random numbers of its own."""
    return tuple(
        Context(str(number), speaker, (*before, SLOT, *after), frame)
        for number, (speaker, before, after, frame) in enumerate(drawn)
    )


def plain_gain(model, contexts_for, mismatches):
    """Read G(v) off its definition: one prompt at a time, the whole softmax, no batches."""

    def surprisal(context, scene, target):
        tokens = [VOCABULARY.speaker_id(context.speaker)]
        tokens += [VOCABULARY.id(scene if w == SLOT else w, Channel.ENV) for w in context.env]
        tokens += [VOCABULARY.speaker_id(context.speaker)]
        tokens += [VOCABULARY.id(w, Channel.LAN) for w in context.lan]
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0, -1].double()
        return -float(torch.log_softmax(logits, dim=-1)[VOCABULARY.id(target, Channel.LAN)])

    gains = []
    for v, word in enumerate(NOUNS):
        others = [NOUNS[u] for u in np.flatnonzero(mismatches[v])]
        terms = [
            np.mean([surprisal(c, u, word) - surprisal(c, word, word) for u in others]) if others else np.nan
            for c in contexts_for(word)
        ]
        gains.append(np.mean(terms))
    return np.array(gains)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shared=st.lists(sentences, min_size=1, max_size=2),
    own=st.dictionaries(st.sampled_from(NOUNS), st.lists(sentences, min_size=1, max_size=2), max_size=2),
    rule=st.sampled_from(Mismatch),
    architecture=st.sampled_from(sorted(MODELS)),
)
def test_the_batched_gain_is_the_defined_gain(shared, own, rule, architecture):
    model = MODELS[architecture]
    contexts = ContextSet(contexts_of(shared), {word: contexts_of(drawn) for word, drawn in own.items()})
    mismatches = mismatching(WORDS, rule, size=2, counts=COUNTS, seed=0)
    found = read(model, VOCABULARY, WORDS, contexts, {"it": Comparison(np.arange(len(WORDS)), mismatches)})["it"]
    averages = found.per_word(len(WORDS))
    expected = plain_gain(model, lambda word: contexts.own.get(word, contexts.shared), mismatches)
    np.testing.assert_allclose(averages.mismatch - averages.match, expected, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 10**6), n_words=st.integers(3, 12), n_contexts=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_reduction_equals_a_plain_loop(seed, n_words, n_contexts):
    rng = np.random.default_rng(seed)
    cube = torch.tensor(rng.exponential(5, size=(n_contexts, n_words, n_words)), dtype=torch.float32)
    mismatches = rng.random((n_words, n_words)) < 0.5
    np.fill_diagonal(mismatches, False)
    found = conditions(cube, torch.arange(n_words), torch.tensor(mismatches))
    gain = found.gain
    for v in range(n_words):
        others = np.flatnonzero(mismatches[v])
        if len(others):
            terms = [float(cube[n, u, v] - cube[n, v, v]) for n in range(n_contexts) for u in others]
            assert float(gain[v]) == pytest.approx(np.mean(terms), abs=1e-5)
            as_expected = [cube[:, u, v].double().mean() <= cube[:, v, v].double().mean() for u in others]
            assert float(found.p[v]) == pytest.approx((1 + sum(as_expected)) / (1 + len(others)))
        else:
            assert gain[v].isnan()


def test_shuffled_scenes_give_no_gain():
    """However strong the grounding, the gain of scenes that belong to other words is zero on average."""
    rng = np.random.default_rng(0)
    n = 40
    cube = torch.tensor(rng.normal(6, 1, size=(5, n, n)), dtype=torch.float32)
    cube[:, torch.arange(n), torch.arange(n)] -= 4
    usual = Comparison(np.arange(n), ~np.eye(n, dtype=bool))

    def mean_gain(compared):
        own, mismatches = (torch.from_numpy(part) for part in compared)
        return float(conditions(cube, own, mismatches).gain.mean())

    assert mean_gain(usual) == pytest.approx(4, abs=0.2)
    means = []
    for seed in range(50):
        false = shuffled(usual, seed)
        assert (false.own != usual.own).all()
        assert sorted(false.own) == list(range(n))
        assert not false.mismatches.diagonal().any()
        means.append(mean_gain(false))
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(50) + 0.02
    assert max(map(abs, means)) < 0.4


def test_a_single_word_is_tested_at_its_level():
    """With scenes that do not matter, a word's exact p is uniform however consistent its contexts are."""
    rng = np.random.default_rng(1)
    n = 60
    consistent = rng.normal(6, 1e-3, size=(1, n, n)) + rng.normal(0, 1e-7, size=(14, n, n))
    found = conditions(torch.tensor(consistent), torch.arange(n), ~torch.eye(n, dtype=torch.bool))
    assert abs(float(found.p.double().mean()) - 0.5) < 0.15
    assert float((found.p <= 0.05).double().mean()) <= 0.12
