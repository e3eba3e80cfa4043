"""What the cells of mechanism and lenses share: which checkpoints, which prompts, which ordinary text."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from groundscope.corpus.chunks import Corpus
from groundscope.errors import StudyError
from groundscope.mechanism.options import At, PromptOptions
from groundscope.mechanism.study_prompts import StudyPrompts, study_prompts
from groundscope.statistics.resampling import generator
from groundscope.study.cells.train import Point, points
from groundscope.study.cells.words import chosen
from groundscope.study.config import Study


def analysed(study: Study, model: str, seed: int, at: At, section: str) -> list[Point]:
    """Return the checkpoints of one training that ``at`` names, by rising step; the last one always is among them.

    Raises StudyError for a step that is no checkpoint.
    """
    there = points(study, model, seed)
    if at == "all":
        return there
    steps = () if at == "final" else at
    for step in steps:
        if not any(point.step == step for point in there):
            known = ", ".join(str(point.step) for point in there)
            raise StudyError(f"{section}.at names step {step}, which is no checkpoint of {model}. There are {known}.")
    return [point for point in there if point.step in steps or point is there[-1]]


def prompts_of(study: Study, run: Path, options: PromptOptions) -> StudyPrompts:
    """Return the study's prompts."""
    corpus = Corpus.open(run / "corpus")
    words, contexts = chosen(study, corpus)
    return study_prompts(words, contexts, corpus.vocabulary, options)


def text_of(run: Path, count: int, seed: int) -> Int[np.ndarray, "chunk time"]:
    """Return a seeded sample of at most ``count`` chunks of the corpus."""
    chunks = Corpus.open(run / "corpus").chunks
    chosen_rows = generator(seed, "ordinary text").permutation(len(chunks))[:count]
    return np.asarray(chunks[np.sort(chosen_rows)])
