"""What an experiment costs before it is run: floating-point operations of its trainings, hours, disk.

Operations are counted as usual (Kaplan et al. 2020; Hoffmann et al. 2022): six per parameter and token for forward and
backward, and for softmax attention ``6 T d`` per layer and token on top, half of the full matrix since it is causal.
Tied embeddings count once, as the unembedding; positions and the scan of a state-space layer are left out (a few per
cent). Measurements are not in it: they have no cost that a formula knows.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from groundscope.files import sha256_json
from groundscope.models.presets import Config
from groundscope.study.architecture import count_parameters, model_config
from groundscope.study.cell import Cell, Record
from groundscope.study.cells import ablation, one_form, seeing_train, train
from groundscope.study.cells.corpus import PATHS
from groundscope.study.config import ChatSource, ModelSettings, PicturesSource, ScenesSource, Study
from groundscope.study.disk import CorpusSize, corpus_size, total_need
from groundscope.study.feature_disk import feature_need
from groundscope.training.config import TrainConfig
from groundscope.training.memory import DiskNeed
from groundscope.training.schedule import checkpoint_steps

GPU_RATE = 0.40 * 989e12
"""Operations per second at 40 % of an H100's dense bfloat16 peak (989 TFLOP/s)."""
AUTHORS_VOCABULARY = 89_057
CHILDES_VOCABULARIES = {1: AUTHORS_VOCABULARY, 10: 10_500}
"""Entries of CHILDES by least frequency, assumed where it is not built and no limit is set: the authors', and ours."""


class Training(NamedTuple):
    """One training of a study."""

    cell: str
    parameters: int
    flops: float
    checkpoints: int
    config: TrainConfig


@dataclass(frozen=True, slots=True)
class Cost:
    """All trainings of a study together."""

    trainings: int
    flops: float
    disk_bytes: int
    """Checkpoints, one training's states, and features of composed pictures (photographs would have to be there)."""
    vocabulary: int
    """Entries that were counted with."""
    known: bool
    """Whether such a corpus is built, so that this is its vocabulary."""

    @property
    def gpu_hours(self) -> float:
        """Hours of one H100-class GPU at 40 % of its peak."""
        return self.flops / GPU_RATE / 3600

    def core_hours(self, rate: float) -> float:
        """Hours of one CPU core at so many operations a second."""
        return self.flops / rate / 3600


def cost(study: Study, run: Path, others: Iterable[Path] = ()) -> Cost:
    """Return what all trainings of ``study`` cost from their beginning; ``run``, or else one of ``others`` that has
    built such a corpus, knows the vocabulary."""
    corpus = _corpus(study, run, others)
    found = list(trainings(study, run, corpus))
    needs = {one.cell: DiskNeed.of(one.parameters, one.checkpoints, 0, one.config) for one in found}
    features = feature_need(study.corpus, run).total if isinstance(study.corpus, ScenesSource) else 0
    operations = sum(one.flops for one in found)
    return Cost(len(found), operations, total_need(needs) + features, corpus.vocabulary, corpus.known)


def trainings(study: Study, run: Path, corpus: CorpusSize) -> Iterator[Training]:
    """Yield every training that the study asks for: its own, those on ablated corpora, those with each encoder."""
    for cell in _cells(study, run):
        config = TrainConfig.model_validate(cell.settings["training"])
        model, parameters = _model(json.dumps(cell.settings["model"]), corpus.vocabulary, corpus.chunk_length)
        yield Training(
            cell.name,
            parameters,
            flops(model, parameters, corpus.chunk_length, config),
            len(checkpoint_steps(config.checkpoints, config.steps)),
            config,
        )


def flops(model: Config, parameters: int, length: int, config: TrainConfig) -> float:
    """Return the operations of one training on chunks of ``length`` tokens."""
    attention = sum(mixer == "attention" for mixer in getattr(model, "mixers", ()))
    positions = getattr(model, "n_positions", 0) * model.d_model if attention else 0  # only attention is told them
    per_token = 6 * (parameters - positions) + 6 * attention * length * model.d_model
    return float(per_token) * length * config.batch_size * config.steps


def _cells(study: Study, run: Path) -> Iterator[Cell]:
    if isinstance(study.corpus, PicturesSource):
        yield from seeing_train.cells(study, run)
        return
    yield from train.cells(study, run)
    again = (*ablation.cells(study, run), *one_form.cells(study, run))
    yield from (cell for cell in again if "/train/" in cell.name)


@lru_cache  # the seeds and doses of a study share their model
def _model(settings: str, vocabulary: int, length: int) -> tuple[Config, int]:
    model = model_config(ModelSettings.model_validate_json(settings), vocabulary, length)
    return model, count_parameters(model)


def corpus_settings(study: Study) -> dict[str, Any]:
    """Return the settings that a corpus depends on, apart from what its files hold."""
    return study.corpus.model_dump(mode="json", exclude=set(PATHS))


def _corpus(study: Study, run: Path, others: Iterable[Path]) -> CorpusSize:
    found, source = corpus_size(study, run), study.corpus
    if found.known:
        return found
    settings = sha256_json(corpus_settings(study))
    for other in others:
        record = Record.load(other, "corpus")
        if record and record.finished and record.settings == settings:
            return corpus_size(study, other)
    if isinstance(source, ChatSource) and source.chunks.max_vocabulary is None:
        return found._replace(vocabulary=CHILDES_VOCABULARIES.get(source.chunks.min_frequency, found.vocabulary))
    return found
