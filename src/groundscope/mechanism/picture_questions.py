"""A picture, a prompt, a word and a box as people give them, made ready for `inspect_picture` and `detect`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from groundscope.corpus.boxes import Box, Patches, Size
from groundscope.corpus.photographs import Labelled, Photograph
from groundscope.corpus.picture_stream import picture_ids
from groundscope.corpus.scenes import ANSWERS
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import AnalysisError, ModelError, did_you_mean
from groundscope.mechanism.inspect_picture import picture_prompt
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.base import LanguageModel
from groundscope.models.grounded_vlm import GroundedVLM
from groundscope.models.pretrained_vlm import PretrainedVLM, Seen
from groundscope.models.vision import VisionEncoder
from groundscope.models.wording import Wording, word_listed, word_prompt


@dataclass(frozen=True, slots=True)
class PictureQuestion:
    """What is asked about one picture."""

    picture: Image.Image
    prompt: str  # stops right before the word
    target: str
    box: Box
    question: str | None = None  # asked through the model's chat template; the prompt then begins the answer


@dataclass(frozen=True, slots=True)
class PhotographQuestion:
    """What is asked about one photograph that is not loaded yet."""

    photograph: Photograph
    thing: Labelled
    prompt: str
    question: str | None = None

    def open(self) -> PictureQuestion:
        """Load it; raises CorpusError for a file that cannot be read, or of another size than its boxes are for."""
        return PictureQuestion(self.photograph.open(), self.prompt, self.thing.word, self.thing.box, self.question)


@dataclass(frozen=True, slots=True)
class GroundedSight:
    """A model of ours that sees, with the words and the frozen encoder that it was trained with."""

    model: GroundedVLM
    vocabulary: Vocabulary
    encoder: VisionEncoder


class Ready(NamedTuple):
    """A question as the analyses take it."""

    prompt: PromptBatch
    patches: Patches
    """Where the positions of its picture look."""
    wording: Wording
    """The prompt and the word as the model reads them."""


def ready(
    sight: PretrainedVLM | GroundedSight, questions: Sequence[PictureQuestion], first: int = 0
) -> tuple[LanguageModel, list[Ready]]:
    """Return the model, and the questions as prompts of it, numbered from ``first``.

    A model of ours is shown the pictures of these questions, in place of those that it was shown before. Of a target of
    several pieces the first one is what should come next. Raises ModelError where the model cannot read a question, and
    CorpusError where it sees nothing of a box.
    """
    if isinstance(sight, PretrainedVLM):
        return sight, [_of_pretrained(sight, question, first + row) for row, question in enumerate(questions)]
    features = list(sight.encoder.encode(question.picture for question in questions))
    sight.model.show(torch.from_numpy(np.concatenate(features)))
    return sight.model, [_of_ours(sight, question, row, first + row) for row, question in enumerate(questions)]


def prompt_of(model: PretrainedVLM, question: PictureQuestion) -> str:
    """Return the whole text that a wrapped model is given, its picture's mark included."""
    asked = question.question
    return model.dressed(question.prompt if asked is None else model.answering(asked, question.prompt))


def _of_pretrained(model: PretrainedVLM, question: PictureQuestion, number: int) -> Ready:
    prompt = prompt_of(model, question)
    seen, patches = model.ask([question.picture], [prompt])
    wording = word_prompt(model.tokenizer, prompt, question.target, target_pieces="sum")
    _refuse_other_end(model, seen, wording)
    batch = picture_prompt(
        seen.input_ids,
        wording.target[0],
        seen.picture,
        patches[0],
        question.box,
        extras={name: value.cpu() for name, value in seen.extras.items()},
        numbers=torch.tensor([number]),
    )
    return Ready(batch, patches[0], wording)


def _refuse_other_end(model: PretrainedVLM, seen: Seen, wording: Wording) -> None:
    """Whatever a processor does to a prompt, its last position must be the one before the word."""
    pictures = [place for place, token in enumerate(wording.ids) if token == model.image_token]
    behind = list(wording.ids[pictures[-1] + 1 :]) if pictures else list(wording.ids)
    if behind and seen.input_ids[0, -len(behind) :].tolist() != behind:
        read = model.tokenizer.decode(seen.input_ids[0, -len(behind) - 1 :].tolist())  # type: ignore[union-attr]
        raise ModelError(f"What the model is given does not end with the prompt but with {read!r}, so its last "
                         "position is not the one before the word.")  # fmt: skip


def _of_ours(sight: GroundedSight, question: PictureQuestion, row: int, number: int) -> Ready:
    if question.question is not None:
        raise ModelError("A model of ours has no chat template: write the question's tokens into the prompt.")
    wording = spoken(sight.vocabulary, question.prompt, question.target)
    patches = sight.encoder.patches(Size(*question.picture.size))
    shown = picture_ids(np.array([row]), len(patches), sight.vocabulary)[0]
    ids = torch.tensor([[sight.vocabulary.document_id, *shown.tolist(), *wording.ids]])
    picture = ids >= len(sight.vocabulary)
    batch = picture_prompt(
        ids, wording.target[0], picture, patches, question.box, numbers=torch.tensor([number])
    )  # fmt: skip
    return Ready(batch, patches, wording)


def spoken(vocabulary: Vocabulary, prompt: str, target: str) -> Wording:
    """Read a prompt about a picture: plain words are spoken, and whoever answers says what nobody else is said to.

    ``look at the`` becomes ``<A> look<LAN> at<LAN> the<LAN>``, as in the tests of a study; tokens that are written as
    the vocabulary has them stay. Raises ModelError for words that it does not hold.
    """
    known = {*vocabulary.tokens}
    pieces = [word if word in known else f"{word}<LAN>" for word in prompt.split()]
    answering = f"<{ANSWERS}>"
    tags = {f"<{speaker}>" for speaker in vocabulary.speakers}
    if answering in tags and (not pieces or pieces[0] not in tags):
        pieces.insert(0, answering)
    return word_listed(vocabulary.tokens, " ".join(pieces), target if target in known else f"{target}<LAN>")


def questions_of(
    photographs: Sequence[Photograph], prompt: str, words: Sequence[str] = (), question: str | None = None
) -> Iterator[PhotographQuestion]:
    """Yield one question per photograph: about its largest object, of ``words`` where some are given.

    Raises AnalysisError where no photograph shows any.
    """
    asked = False
    for photograph in photographs:
        objects = [thing for thing in photograph.objects if not words or thing.word in words]
        if objects:
            asked = True
            yield PhotographQuestion(photograph, max(objects, key=lambda thing: thing.box.area), prompt, question)
    if not asked:
        shown = sorted({thing.word for photograph in photographs for thing in photograph.objects})
        hint = did_you_mean(words[0], shown) if words else ""
        raise AnalysisError(f"No photograph shows {' or '.join(words) if words else 'an object with a box'}.{hint}")
