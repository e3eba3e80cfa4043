"""The disk that a study's trainings have yet to fill, all together: said in the plan, and refused before the first."""

import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from groundscope.corpus.ablation import dose_name, doses
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import GroundscopeError, TrainingError
from groundscope.files import read_json
from groundscope.study.architecture import count_parameters, model_config
from groundscope.study.cell import Record
from groundscope.study.config import BuiltSource, PicturesSource, ScenesSource, Study
from groundscope.study.paths import located
from groundscope.training.memory import DiskNeed, size
from groundscope.training.schedule import checkpoint_steps
from groundscope.training.state import count_states
from groundscope.trajectory.at import steps_at

ASSUMED_VOCABULARY = 20_000
COMPOSED_VOCABULARY = 500
"""Entries that talk about composed pictures does not exceed."""


class CorpusSize(NamedTuple):
    """Entries of the vocabulary and tokens per chunk; ``known`` is False where the corpus is yet to be built."""

    vocabulary: int
    chunk_length: int
    known: bool


def corpus_size(study: Study, run: Path) -> CorpusSize:
    """Return the size of the run's corpus, else of the built one that it will copy, else what its options allow."""
    if isinstance(study.corpus, PicturesSource):
        words = run / "corpus" / "vocabulary.json"
        assumed = COMPOSED_VOCABULARY if isinstance(study.corpus, ScenesSource) else ASSUMED_VOCABULARY
        entries = len(Vocabulary.load(words)) if words.is_file() else assumed
        return CorpusSize(entries, study.corpus.length, words.is_file())
    cards = [run / "corpus" / "card.json"]
    if isinstance(study.corpus, BuiltSource):
        cards.append(located(study.corpus.path) / "card.json")
    for card in cards:
        with suppress(GroundscopeError, KeyError, TypeError):  # damaged, or not there: what the options allow
            facts = read_json(card)
            entries, length = facts["vocabulary_size"], facts["chunk_length"]
            if all(isinstance(number, int) and number > 0 for number in (entries, length)):
                return CorpusSize(entries, length, True)
    chunks = getattr(study.corpus, "chunks", None)
    return CorpusSize(
        getattr(chunks, "max_vocabulary", None) or ASSUMED_VOCABULARY, getattr(chunks, "length", 512), False
    )


def disk_needs(study: Study, run: Path, anew: Container[str] = ()) -> Mapping[str, DiskNeed]:
    """Return what each training has yet to write, by its cell's name; finished ones write nothing more.

    Those in ``anew`` begin from nothing: what they have written is set aside, and stays.
    """
    corpus = corpus_size(study, run)
    parameters = {
        model: count_parameters(model_config(settings, corpus.vocabulary, corpus.chunk_length))
        for model, settings in study.models.items()
    }
    needs = {}
    for name, model, steps in _trainings(study):
        kept = 0 if name in anew else len(list((run / name).glob("checkpoints/step-*/model.safetensors")))
        states = 0 if name in anew else count_states(run / name)
        if left := max(0, len(steps) - kept):
            needs[name] = DiskNeed.of(parameters[model], left, states, study.training_of(model))
    return needs


def _trainings(study: Study) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(cell, model, steps that are kept) of every training: with each encoder, without co-occurrence, with one form."""
    encoders = study.corpus.encoders if isinstance(study.corpus, PicturesSource) else {}
    steps_of = {}
    for model in study.models:
        config = study.training_of(model)
        steps_of[model] = checkpoint_steps(config.checkpoints, config.steps)
        for name in [f"{model}.{encoder}" for encoder in encoders] or [model]:
            yield from ((f"train/{name}/seed-{seed}", model, steps_of[model]) for seed in study.seeds)
    ablation = study.ablation
    for arm, percent in doses(ablation.remove, ablation.arms) if ablation else ():
        for model in study.ablated_models if percent else ():
            kept = steps_at(ablation.at, steps_of[model]) if ablation else ()
            branch = f"ablation/{dose_name(arm, percent)}"
            yield from ((f"{branch}/train/{model}/seed-{seed}", model, kept) for seed in study.seeds)
    for model in study.one_form_models:
        kept = steps_at(study.one_form.at, steps_of[model]) if study.one_form else ()
        yield from ((f"one_form/train/{model}/seed-{seed}", model, kept) for seed in study.seeds)


def total_need(needs: Mapping[str, DiskNeed], at_once: int = 1) -> int:
    """Return the bytes that the trainings need together, ``at_once`` at a time: states are dropped at each end."""
    checkpoints = sum(need.checkpoints * need.checkpoint_bytes for need in needs.values())
    states = sorted((need.states * need.state_bytes for need in needs.values()), reverse=True)
    return checkpoints + sum(states[:at_once])


def refuse_full_disk(study: Study, run: Path) -> None:
    """Raise TrainingError when the trainings that are left do not fit on the disk together.

    As many have states at once as are begun: one process, several, or a cluster begin as many as they work on.
    """
    needs = disk_needs(study, run)
    begun = sum((record := Record.load(run, name)) is not None and not record.finished for name in needs)
    need, free = total_need(needs, max(1, begun)), shutil.disk_usage(run).free
    if need > free:
        raise TrainingError(
            f"The {len(needs)} trainings that are left need {size(need)}, but {run} has {size(free)} free. Lower it: "
            "training.checkpoints: {log: 20} keeps fewer, training.keep: bf16 halves them; or choose another --out."
        )
