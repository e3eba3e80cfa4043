"""What an experiment costs before it is run: floating-point operations of its trainings, hours, disk.

Operations are counted as usual (Kaplan et al. 2020; Hoffmann et al. 2022): six per parameter and token for forward and
backward, and for softmax attention ``6 T d`` per layer and token on top, half of the full matrix since it is causal.
Tied embeddings count once, as the unembedding; positions and the scan of a state-space layer are left out (a few per
cent). Measurements are not in it: they have no cost that a formula knows.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from groundscope.models.presets import Config
from groundscope.study.architecture import count_parameters, model_config
from groundscope.study.cell import Cell
from groundscope.study.cells import ablation, one_form, seeing_train, train
from groundscope.study.config import ChatSource, ModelSettings, PicturesSource, Study
from groundscope.study.disk import CorpusSize, corpus_size, total_need
from groundscope.training.config import TrainConfig
from groundscope.training.memory import DiskNeed
from groundscope.training.schedule import checkpoint_steps

GPU_RATE = 0.40 * 989e12
"""Operations per second at 40 % of an H100's dense bfloat16 peak (989 TFLOP/s)."""
CORE_RATE = 49e9
"""Operations per second and core at which ``results/childes-small`` trained a narrow Transformer (568 s, two cores).
Wide models come nearer to a core's peak, so for them this is an upper bound of the hours."""
AUTHORS_VOCABULARY = 89_057
"""Entries of the authors' vocabulary of CHILDES: assumed where it is not built and no limit is set."""


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
    vocabulary: int
    """Entries that were counted with."""
    known: bool
    """Whether the corpus is built, so that this is its vocabulary."""

    @property
    def gpu_hours(self) -> float:
        """Hours of one H100-class GPU at 40 % of its peak."""
        return self.flops / GPU_RATE / 3600

    @property
    def cpu_hours(self) -> float:
        """Core-hours of a CPU, one core for one hour each."""
        return self.flops / CORE_RATE / 3600


def cost(study: Study, run: Path) -> Cost:
    """Return what all trainings of ``study`` cost from their beginning; ``run`` may know the vocabulary."""
    corpus = _corpus(study, run)
    found = list(trainings(study, run, corpus))
    needs = {one.cell: DiskNeed.of(one.parameters, one.checkpoints, 0, one.config) for one in found}
    return Cost(len(found), sum(one.flops for one in found), total_need(needs), corpus.vocabulary, corpus.known)


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
    positions = getattr(model, "n_positions", 0) * model.d_model
    attention = sum(mixer == "attention" for mixer in getattr(model, "mixers", ()))
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


def _corpus(study: Study, run: Path) -> CorpusSize:
    found, source = corpus_size(study, run), study.corpus
    if found.known or not isinstance(source, ChatSource):
        return found
    whole = source.chunks.max_vocabulary is None and source.chunks.min_frequency == 1
    return found._replace(vocabulary=AUTHORS_VOCABULARY) if whole else found
