"""The batched gain against the definition, read off a plain loop over single prompts."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundscope.behaviour.contexts import SLOT, Context, ContextSet
from groundscope.behaviour.gain import conditions, shuffled_scenes
from groundscope.behaviour.mismatch import Mismatch, mismatching
from groundscope.behaviour.readings import Comparison, read
from groundscope.behaviour.words import Kind, candidates
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.models import build, preset

NOUNS = ("horse", "cow", "pig", "cup", "spoon", "ball")
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


@st.composite
def a_context(draw):
    before, after = draw(fillers), draw(st.lists(st.sampled_from(FILLERS), max_size=3).map(tuple))
    name = str(draw(st.integers(0, 10**9)))
    return Context(name, draw(st.sampled_from(["CHI", "MOT"])), (*before, SLOT, *after), draw(fillers))


def plain_gain(model, contexts_of, mismatches):
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
            for c in contexts_of(word)
        ]
        gains.append(np.mean(terms))
    return np.array(gains)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shared=st.lists(a_context(), min_size=1, max_size=3),
    own=st.dictionaries(st.sampled_from(NOUNS), st.lists(a_context(), min_size=1, max_size=2), max_size=2),
    rule=st.sampled_from(Mismatch),
    architecture=st.sampled_from(sorted(MODELS)),
)
def test_the_batched_gain_is_the_defined_gain(shared, own, rule, architecture):
    model = MODELS[architecture]
    contexts = ContextSet(tuple(shared), {word: tuple(entries) for word, entries in own.items()})
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
    gain = conditions(cube, torch.arange(n_words), torch.tensor(mismatches)).gain
    for v in range(n_words):
        others = np.flatnonzero(mismatches[v])
        if len(others):
            terms = [float(cube[n, u, v] - cube[n, v, v]) for n in range(n_contexts) for u in others]
            assert float(gain[v]) == pytest.approx(np.mean(terms), abs=1e-5)
        else:
            assert gain[v].isnan()


def test_shuffled_scenes_give_no_gain():
    """However strong the grounding, the gain of scenes that belong to other words is zero on average."""
    rng = np.random.default_rng(0)
    n = 40
    cube = torch.tensor(rng.normal(6, 1, size=(5, n, n)), dtype=torch.float32)
    cube[:, torch.arange(n), torch.arange(n)] -= 4
    others = ~torch.eye(n, dtype=torch.bool)
    assert float(conditions(cube, torch.arange(n), others).gain.mean()) == pytest.approx(4, abs=0.2)

    means = []
    for _ in range(50):
        cycle = torch.tensor(rng.permutation(n))
        moved = torch.empty(n, dtype=torch.int64)
        moved[cycle] = cycle.roll(1)
        false, left = shuffled_scenes(torch.arange(n), others, moved)
        assert not left[torch.arange(n), torch.arange(n)].any()
        means.append(float(conditions(cube, false, left).gain.mean()))
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(50) + 0.02
    assert max(map(abs, means)) < 0.4
