"""A checkpoint of a study of pictures as every measurement opens it: shown its pictures, with the tests as prompts."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from groundscope.behaviour.pictures import picture_prompts
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.grounded_vlm import GroundedVLM
from groundscope.study.cells.seeing_corpus import PictureCorpus
from groundscope.study.cells.train import Point
from groundscope.study.config import PicturesSource, Study


class Checkpoint(NamedTuple):
    """What a measurement needs of a checkpoint and its pictures."""

    source: PicturesSource
    corpus: PictureCorpus
    model: GroundedVLM
    """Shown the pictures of one part of the corpus."""
    identity: dict[str, Any]
    """The columns that name the checkpoint in tables."""
    prompts: list[PromptBatch]
    """The tests, numbered as ``corpus.tests``; their pictures are in the part ``tests``."""


def open_checkpoint(study: Study, run: Path, point: Point, encoder: str, part: str = "tests") -> Checkpoint:
    """Open a checkpoint that was trained behind an encoder and show it the pictures of a part of the corpus."""
    source, corpus = study.corpus, PictureCorpus(run)
    assert isinstance(source, PicturesSource)
    model, identity = point.open(study, run)
    assert isinstance(model, GroundedVLM)
    model.show(torch.from_numpy(corpus.bank(encoder, part)))
    looks = corpus.looks(encoder)
    prompts = picture_prompts(corpus.tests, corpus.vocabulary, looks, inside=source.tests.inside)
    return Checkpoint(source, corpus, model, identity, prompts)
