import numpy as np
import pytest

from groundscope.behaviour.mismatch import Mismatch, mismatching
from groundscope.behaviour.words import Kind, candidates

WORDS = candidates(Kind.NOUN, ("horse", "cow", "pig", "cup", "spoon", "ball"))
COUNTS = np.array([100, 1000, 110, 90, 5000, 4000])


def marked(rule, size=2, seed=0):
    found = mismatching(WORDS, rule, size=size, counts=COUNTS, seed=seed)
    assert not found.diagonal().any(), "a word never mismatches itself"
    return {w.form: {WORDS[u].form for u in np.flatnonzero(row)} for w, row in zip(WORDS, found, strict=True)}


def test_all_others():
    assert all(len(others) == 5 for others in marked(Mismatch.ALL).values())


def test_categories_split_the_others():
    same, other = marked(Mismatch.SAME_CATEGORY), marked(Mismatch.OTHER_CATEGORY)
    assert same["horse"] == {"cow", "pig"}
    assert same["cup"] == {"spoon"}
    assert same["ball"] == set(), "the only toy has no partner"
    assert all(same[word] | other[word] | {word} == {w.form for w in WORDS} for word in same)


def test_a_sample_depends_on_its_seed_alone():
    assert marked(Mismatch.SAMPLE) == marked(Mismatch.SAMPLE)
    assert marked(Mismatch.SAMPLE) != marked(Mismatch.SAMPLE, seed=1)
    assert all(len(others) == 2 for others in marked(Mismatch.SAMPLE).values())


def test_frequency_matched_scenes_are_the_nearest():
    assert marked(Mismatch.FREQUENCY)["horse"] == {"pig", "cup"}
    assert marked(Mismatch.FREQUENCY)["spoon"] == {"ball", "cow"}


@pytest.mark.parametrize("rule", [Mismatch.SAMPLE, Mismatch.FREQUENCY])
def test_asking_for_more_than_there_are_gives_all(rule):
    assert marked(rule, size=99) == marked(Mismatch.ALL)
