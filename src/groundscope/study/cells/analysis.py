"""What the cells of mechanism and lenses share: which prompts, which ordinary text."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from groundscope.corpus.chunks import Corpus
from groundscope.mechanism.options import PromptOptions
from groundscope.mechanism.study_prompts import StudyPrompts, study_prompts
from groundscope.statistics.resampling import generator
from groundscope.study.cells.frames import neutral
from groundscope.study.cells.words import chosen
from groundscope.study.config import Study


def weighing(study: Study) -> dict[str, Any]:
    """Return what conclusions on mechanism and lenses take of the study's statistics; they draw no resamples."""
    return study.statistics.model_dump(exclude={"resamples"})


def prompts_of(study: Study, run: Path, options: PromptOptions) -> StudyPrompts:
    """Return the study's prompts, in the frames that count."""
    corpus = Corpus.open(run / "corpus")
    words, contexts = chosen(study, corpus)
    return study_prompts(words, neutral(study, run, contexts), corpus.vocabulary, options)


def text_of(run: Path, count: int, seed: int) -> Int[np.ndarray, "chunk time"]:
    """Return a seeded sample of at most ``count`` chunks of the corpus."""
    chunks = Corpus.open(run / "corpus").chunks
    chosen_rows = generator(seed, "ordinary text").permutation(len(chunks))[:count]
    return np.asarray(chunks[np.sort(chosen_rows)])
