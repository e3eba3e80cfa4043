"""Which runs are the authors' experiment, so that sizes are compared."""

from pathlib import Path

import pytest

from groundscope.reproduction.experiments import experiment
from groundscope.reproduction.settings import are_the_papers

STUDIES = Path(__file__).parents[2] / "studies" / "paper"
CARD = {"vocabulary_size": 80_731}


@pytest.mark.parametrize(
    "change",
    [
        {"corpus": {"chunks": {"min_frequency": 10}}},
        {"corpus": {"chunks": {"length": 256}}},
        {"corpus": {"chat": {"fold_case": True}}},
        {"training": {"learning_rate": 1e-3}},
        {"training": {"batch_size": 64}},
        {"models": {"transformer-12": {"n_heads": 4}}},
        {"models": {"transformer-12": {"training": {"steps": 1000}}}},
        {"behaviour": {"kinds": ["verb", "noun"]}},
        {"behaviour": {"words": ["ball", "dog"]}},
        {"behaviour": {"mismatch": "same_category"}},
        {"behaviour": {"window": 8}},
        {"mechanism": {"criterion": {"threshold": 0.1}}},
        {"mechanism": {"causal": {"ablation": "mean"}}},
    ],
)
def test_only_the_papers_own_settings_agree_in_size(change: dict):
    """Another vocabulary has other surprisals, whatever the model's width and depth."""
    study = experiment("transformer-12", STUDIES).study()
    theirs = study.model_dump(mode="json")
    assert are_the_papers(theirs, CARD, study)
    theirs["training"]["batch_size"] = 8  # the authors say 8 to 16
    assert are_the_papers(theirs, CARD, study)
    merge(theirs, change)
    assert not are_the_papers(theirs, CARD, study)
    without_heads = study.model_dump(mode="json") | {"mechanism": None}
    assert are_the_papers(without_heads, CARD, study)
    assert not are_the_papers(without_heads, {}, study)  # of what corpus nobody can tell


def test_a_corpus_built_before_is_known_by_its_card():
    study = experiment("transformer-12", STUDIES).study()
    run = study.model_dump(mode="json")
    theirs = run["corpus"]
    run["corpus"] = {"source": "built", "path": "corpora/childes"}
    by_study = {"reader": "chat", "options": {"source": "chat", "chat": theirs["chat"]}}
    by_command = {"reader": "chat", "options": theirs["chat"]}
    for provenance in (by_study, by_command):
        card = CARD | {"options": theirs["chunks"], "provenance": provenance}
        assert are_the_papers(run, card, study)
        assert not are_the_papers(run, card | {"options": theirs["chunks"] | {"length": 256}}, study)
        assert not are_the_papers(run, card | {"vocabulary_size": 5_720}, study)
    assert not are_the_papers(run, {}, study)


def merge(tree: dict, change: dict) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = value
