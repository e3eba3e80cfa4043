"""What the command line does with pictures: from files and strings to analyses, and from these to lines and tables."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image, ImageOps

from groundscope.corpus.boxes import Box
from groundscope.corpus.photographs import Photograph, read_coco, read_yolo
from groundscope.corpus.picture_files import pictures_in
from groundscope.corpus.utterance import Problem
from groundscope.errors import AnalysisError, CorpusError, ModelError
from groundscope.mechanism.box_criterion import BOX_CRITERION
from groundscope.mechanism.causal import CausalOptions
from groundscope.mechanism.causal_table import CAUSAL
from groundscope.mechanism.detect_pictures import LEAST, DetectOptions, detect
from groundscope.mechanism.detect_pictures_tables import (
    DETECTED,
    DETECTED_PICTURES,
    AskedPicture,
    detected_heads_frame,
    detected_pictures_frame,
    detection_json,
    detection_lines,
)
from groundscope.mechanism.inspect_picture import box_positions_share, inspect_picture, inspection_lines
from groundscope.mechanism.inspect_picture_tables import (
    INSPECT_PICTURE,
    PictureSubject,
    inspect_picture_frame,
    inspect_picture_json,
)
from groundscope.mechanism.lens_files import tensor_sha256
from groundscope.mechanism.picture_questions import (
    GroundedSight,
    PhotographQuestion,
    PictureQuestion,
    Ready,
    prompt_of,
    questions_of,
    ready,
)
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.pretrained_vlm import PretrainedVLM, vlm_from_pretrained
from groundscope.progress import Progress, counted
from groundscope.report.overlay import write_overlay_page
from groundscope.report.place import check_place
from groundscope.study.sight import is_ours, open_sight
from groundscope.tables import write_table

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that are no pictures, broken off, or too large."""
_SHOWN = 5


def inspect_image(
    model: str,
    image: Path | None,
    box: str | None,
    prompt: str,
    target: str,
    *,
    revision: str | None,
    device: str,
    dtype: str,
    threshold: float,
    draws: int,
    page: Path | None,
    vocabulary: Path | None = None,
    out: Path | None = None,
    as_json: bool = False,
    question: str | None = None,
) -> str:
    """Inspect a picture and word; returns text for a terminal, or JSON. Raises an error of exit status 2 for bad input.

    ``question`` is put through the model's chat template, and ``prompt`` then begins the answer. ``vocabulary`` is the
    corpus of a model of ours; none: it stands near the model. ``page`` and ``out`` are where the
    page of overlays and the table go.
    """
    if image is None or box is None:
        raise AnalysisError("Give both --image and --box x,y,w,h.")
    if page is not None:
        check_place(page, ".html", "--overlay")
    picture, place = open_picture(image), parse_box(box)
    _refuse_outside(place, picture)
    sight = sight_of(model, revision, device=device, dtype=dtype, vocabulary=vocabulary)
    asked = PictureQuestion(picture, prompt, target, place, question)
    seeing, (read,) = ready(sight, [asked])
    options = BOX_CRITERION.model_copy(update={"threshold": threshold})
    found = inspect_picture(seeing, read.prompt, options=options, causal=CausalOptions(draws=draws))
    told = [*_as_read(sight, read, asked), *inspection_lines(found, threshold=threshold)]
    lines = "\n".join(told)
    if page is not None:
        title = f"{target} in {image.name}"
        write_overlay_page(page, found, picture, read.patches, place, title=title, lines=lines)
    subject = PictureSubject(**_subject(model, revision, sight), image=str(image), **_asked(sight, read, asked))
    if out is not None:
        write_table(out / f"{INSPECT_PICTURE.name}.parquet", inspect_picture_frame(found, subject), INSPECT_PICTURE)
    if as_json:
        return json.dumps(inspect_picture_json(found, subject), ensure_ascii=False, indent=2)
    return lines if page is None else f"{lines}\nThe page: {page}"


def refuse_options_of_text(**given: object) -> None:
    """Raise AnalysisError for an option that means nothing where a picture is inspected."""
    _refuse_given(given, "is for prompts of words: it says nothing where --image is given.")


def refuse_options_of_pictures(**given: object) -> None:
    """Raise AnalysisError for an option that means nothing where no picture is inspected."""
    _refuse_given(given, "is for pictures: give --image and --box as well.")


def detect_heads(
    model: str,
    images: Path,
    boxes: Path,
    prompt: str,
    words: Sequence[str],
    *,
    at_most: int | None,
    threshold: float,
    frequency: float,
    draws: int,
    revision: str | None,
    device: str,
    dtype: str,
    out: Path | None,
    vocabulary: Path | None = None,
    as_json: bool = False,
    progress: Progress | None = None,
    question: str | None = None,
) -> str:
    """Detect heads over photographs; returns text for a terminal, or JSON, and writes the tables into ``out``.

    A photograph that cannot be read, of whose box the model sees nothing, or whose box fills so much of it that any
    head would reach the threshold, is left out and named. Raises an error of exit status 2 for bad input, and where
    fewer than four photographs are left.
    """
    progress = progress or Progress(quiet=True)
    problems: list[Problem] = []
    photographs = photographs_of(images, boxes, problems)
    questions = list(islice(questions_of(photographs, prompt, words, question), at_most))
    _tell(progress, "labels that could not be read", problems)
    sight = sight_of(model, revision, device=device, dtype=dtype, vocabulary=vocabulary)
    seeing = sight if isinstance(sight, PretrainedVLM) else sight.model
    asked: dict[int, AskedPicture] = {}
    left_out: list[Problem] = []

    def prompts() -> Iterator[PromptBatch]:
        with progress.task("photographs", len(questions)) as task:
            for number, one in enumerate(questions):
                read = _read(sight, one, number, threshold)
                if isinstance(read, Problem):
                    left_out.append(read)
                else:
                    asked[number], prompt_batch = read
                    yield prompt_batch
                task.advance()
        _tell(progress, "photographs left out", left_out)
        if len(asked) < LEAST and left_out:
            raise AnalysisError(
                f"Of {counted(len(questions), 'photograph')} {len(asked)} could be asked about, and a detection wants "
                f"{LEAST}. The first that could not, {left_out[0].file}: {left_out[0].why}"
            )

    def again(number: int) -> PromptBatch:
        _, (read,) = ready(sight, [questions[number].open()], first=number)
        return read.prompt

    options = DetectOptions(
        criterion=BOX_CRITERION.model_copy(update={"threshold": threshold}),
        frequency=frequency,
        causal=CausalOptions(unit="prompt", draws=draws),
    )
    found = detect(seeing, prompts(), model, options, again=again)
    subject = _subject(model, revision, sight)
    if out is not None:
        write_table(out / f"{DETECTED.name}.parquet", detected_heads_frame(found, subject), DETECTED)
        pictures = detected_pictures_frame(found, asked, subject)
        write_table(out / f"{DETECTED_PICTURES.name}.parquet", pictures, DETECTED_PICTURES)
        write_table(out / f"{CAUSAL.name}.parquet", found.causal, CAUSAL)
    if as_json:
        return json.dumps(detection_json(found, asked, subject), ensure_ascii=False, indent=2)
    cut = sum(len(picture.target_pieces) > 1 for picture in asked.values())
    note = [f"{cut} of {len(asked)} words are cut into pieces: their first piece is predicted"] if cut else []
    return "\n".join([*note, *detection_lines(found)])


def sight_of(
    model: str, revision: str | None, *, device: str, dtype: str, vocabulary: Path | None = None
) -> PretrainedVLM | GroundedSight:
    """Open a model that sees: Hugging Face's by name or folder, or a checkpoint, or a training, of a study of ours."""
    if is_ours(model):
        return open_sight(Path(model), revision, vocabulary=vocabulary, device=device, dtype=dtype)
    if vocabulary is not None:
        raise ModelError(f"--vocabulary is for models of groundscope's; '{model}' has a tokenizer of its own.")
    return vlm_from_pretrained(model, revision, device=device, dtype=dtype)


def photographs_of(images: Path, boxes: Path, problems: list[Problem]) -> list[Photograph]:
    """Read photographs with COCO's instances JSON, or with YOLO's YAML and the labels in its folder."""
    if not boxes.is_file():
        raise CorpusError(f"There is no file {boxes}.")
    pictures = pictures_in([images], problems)
    if boxes.suffix in (".yaml", ".yml"):
        return read_yolo(pictures, [boxes.parent], boxes, problems)
    return read_coco(pictures, [boxes], problems)


def open_picture(path: Path) -> Image.Image:
    """Load a picture in colours, turned as viewers show it (EXIF); raises CorpusError when it is none."""
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except _UNREADABLE as error:
        raise CorpusError(f"{path} cannot be read as a picture: {error}") from None


def parse_box(text: str) -> Box:
    """Read ``x,y,w,h`` in pixels; raises CorpusError for anything else."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise CorpusError(f"A box is written x,y,w,h in pixels (120,40,80,60), found '{text}'.") from None
    return Box(x, y, width, height)


def _refuse_outside(box: Box, picture: Image.Image) -> None:
    left, top, right, bottom = box.corners
    if min(left, top) < -1 or right > picture.width + 1 or bottom > picture.height + 1:  # a pixel is rounding
        raise CorpusError(
            f"The box {box.x:g},{box.y:g},{box.width:g},{box.height:g} reaches beyond the picture of {picture.width} x "
            f"{picture.height}. A box is its upper left corner, its width and its height, in pixels."
        )


def _refuse_given(given: dict[str, object], why: str) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise AnalysisError(f"--{named[0].replace('_', '-')} {why}")


def _read(
    sight: PretrainedVLM | GroundedSight, one: PhotographQuestion, number: int, threshold: float
) -> tuple[AskedPicture, PromptBatch] | Problem:
    file = one.photograph.file.name
    try:
        asked = one.open()
        _, (read,) = ready(sight, [asked], first=number)
    except (CorpusError, ModelError, *_UNREADABLE) as error:
        return Problem(file, 0, "photograph", str(error))
    inside = box_positions_share(read.prompt)
    if inside >= threshold:
        why = (
            f"its box holds {100 * inside:.0f} % of the picture's positions, so that any head would reach the threshold"
        )
        return Problem(file, 0, "photograph", why)
    return AskedPicture(image=file, **_asked(sight, read, asked)), read.prompt


def _tell(progress: Progress, what: str, problems: Sequence[Problem]) -> None:
    for problem in problems[:_SHOWN]:
        progress.say(f"{problem.file}: {problem.why}")
    if problems:
        progress.say(f"{len(problems)} {what}")


def _as_read(sight: PretrainedVLM | GroundedSight, read: Ready, asked: PictureQuestion) -> list[str]:
    where, pieces = f"[{len(read.patches)} positions of the picture]", read.wording.target_pieces
    if not isinstance(sight, PretrainedVLM):
        return [
            f"encoder   {sight.encoder.name}",
            f"prompt    <doc> {where} {' '.join(read.wording.pieces)}",
            f"target    {pieces[0]}",
        ]
    shown = prompt_of(sight, asked).replace(sight.picture_mark, where).replace("\n", "\\n")
    cut = "" if len(pieces) == 1 else f", cut into {' '.join(pieces)}: all that follows is of its first piece"
    return [f"prompt    {shown}", f"target    {asked.target}{cut}"]


def _asked(sight: PretrainedVLM | GroundedSight, read: Ready, asked: PictureQuestion) -> dict:
    place = (asked.box.x, asked.box.y, asked.box.width, asked.box.height)
    prompt = prompt_of(sight, asked) if isinstance(sight, PretrainedVLM) else " ".join(read.wording.pieces)
    return {"box": place, "prompt": prompt, "target": asked.target, "target_pieces": read.wording.target_pieces}


def _subject(model: str, revision: str | None, sight: PretrainedVLM | GroundedSight) -> dict[str, str]:
    seeing = sight if isinstance(sight, PretrainedVLM) else sight.model
    return {"model": model, "revision": revision or "", "unembedding_sha256": tensor_sha256(seeing.unembedding)}
