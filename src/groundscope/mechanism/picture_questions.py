"""A picture, a prompt, a word and a box as people give them, made ready for `inspect_picture` and `detect`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from groundscope.corpus.boxes import Box, Patches
from groundscope.corpus.photographs import Photograph
from groundscope.errors import AnalysisError
from groundscope.mechanism.inspect_picture import picture_prompt
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.pretrained_vlm import PretrainedVLM
from groundscope.models.wording import word_prompt


@dataclass(frozen=True, slots=True)
class PictureQuestion:
    """What is asked about one picture."""

    picture: Image.Image
    prompt: str  # stops right before the word
    target: str
    box: Box


def ready(model: PretrainedVLM, question: PictureQuestion, number: int = 0) -> tuple[PromptBatch, Patches]:
    """Return the prompt as the analyses take it, and where its picture's tokens look.

    A target of several pieces is followed by its first piece. Raises ModelError where the model cannot read it, and
    CorpusError where it sees nothing of the box.
    """
    seen, patches = model.ask([question.picture], [question.prompt])
    wording = word_prompt(model.tokenizer, question.prompt, question.target, target_pieces="sum")
    batch = picture_prompt(
        seen.input_ids,
        wording.target[0],
        seen.picture,
        patches[0],
        question.box,
        extras={name: value.cpu() for name, value in seen.extras.items()},
        numbers=torch.tensor([number]),
    )
    return batch, patches[0]


def questions_of(
    photographs: Sequence[Photograph], prompt: str, words: Sequence[str] = ()
) -> Iterator[PictureQuestion]:
    """Yield one question per photograph: about its largest object, of ``words`` where some are given.

    Raises AnalysisError where no photograph shows any.
    """
    asked = False
    for photograph in photographs:
        objects = [thing for thing in photograph.objects if not words or thing.word in words]
        if objects:
            largest = max(objects, key=lambda thing: thing.box.area)
            asked = True
            yield PictureQuestion(photograph.open(), prompt, largest.word, largest.box)
    if not asked:
        raise AnalysisError(f"No photograph shows {' or '.join(words) if words else 'an object with a box'}.")
