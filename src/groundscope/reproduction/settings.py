"""Whether a run is the authors' experiment in all that its numbers depend on, so that sizes can be compared.

Steps, width and depth are not enough: surprisal depends on the vocabulary, and what is learnt in so many steps on rate,
schedule and batch. So everything that the study file at the paper's size says of corpus, model and training has to be
the same, which words are measured, against which others and what co-occurs with them too, how heads are found and
removed, and a vocabulary of CHILDES about as large as the authors'. Seeds, contexts and statistics are free.
"""

from collections.abc import Mapping
from typing import Any

from groundscope.reproduction.cost import AUTHORS_VOCABULARY
from groundscope.study.cells.corpus import PATHS
from groundscope.study.config import ChatSource, Study

LEARNING = ("steps", "learning_rate", "schedule", "warmup_steps", "weight_decay", "betas", "eps", "clip")
"""Training settings that results depend on; the others change speed, memory or what is kept."""
BATCHES = range(8, 17)
"""Batch sizes that the authors may have used."""
NEAR = 0.25
"""How far from the authors', as a share of it, a vocabulary of CHILDES may lie: a part of the corpus is not theirs."""
WORDS = ("words", "minimum", "at_most", "mismatch", "window")
"""Settings of behaviour that say which words are measured, against which others, and what counts as co-occurring."""
SECTIONS = {"chat": "chat", "visdial": "dialogue", "jsonl": "jsonl"}
"""The section of a source that `groundscope corpus` writes down by itself."""


def are_the_papers(resolved: Mapping[str, Any], card: Mapping[str, Any], study: Study) -> bool:
    """Whether a run's ``resolved`` settings are those of ``study``; ``card``: its corpus', or empty."""
    if not resolved:
        return False
    theirs = study.model_dump(mode="json")
    mine = [_learning(resolved, model) for model in resolved["models"].values()]
    asked = [_learning(theirs, model) for model in theirs["models"].values()]
    return (
        _corpus(resolved["corpus"], card) == _corpus(theirs["corpus"], {})
        and _is_whole(card, study)
        and [_shape(model) for model in resolved["models"].values()] == list(map(_shape, theirs["models"].values()))
        and mine == asked
        and _words(resolved) == _words(theirs)
        and _heads(resolved) in (None, _heads(theirs))
        and all(_training(resolved, model).get("batch_size") in BATCHES for model in resolved["models"].values())
    )


def _is_whole(card: Mapping[str, Any], study: Study) -> bool:
    """Whether the card tells of a vocabulary that is about the authors', where they tell theirs."""
    if not isinstance(study.corpus, ChatSource):
        return True
    entries = card.get("vocabulary_size")
    return isinstance(entries, int) and abs(entries / AUTHORS_VOCABULARY - 1) <= NEAR


def _words(study: Mapping[str, Any]) -> dict[str, Any]:
    """Which words conclusions are about, those of the first kind, and what co-occurs with them."""
    behaviour = study.get("behaviour", {})
    return {"kind": behaviour.get("kinds", [])[:1]} | {key: behaviour.get(key) for key in WORDS}


def _heads(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """What makes a head one of a role, and how heads are removed; None where the study does not look at heads."""
    mechanism = study.get("mechanism")
    if not mechanism:
        return None
    criterion = {key: value for key, value in mechanism.get("criterion", {}).items() if key != "sweep"}
    return criterion | {"ablation": mechanism.get("causal", {}).get("ablation")}


def _training(study: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    return {**study.get("training", {}), **model.get("training", {})}


def _learning(study: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _training(study, model).items() if key in LEARNING}


def _shape(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "training"}


def _corpus(source: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """How documents were read and cut; of a corpus that was built before, its card says so."""
    if source["source"] != "built":
        return {key: value for key, value in source.items() if key not in PATHS}
    reader = card.get("provenance", {}).get("reader")
    options = card.get("provenance", {}).get("options", {})
    read = options if "source" in options else {"source": reader, SECTIONS.get(reader, "options"): options}
    return {**read, "chunks": card.get("options")}
