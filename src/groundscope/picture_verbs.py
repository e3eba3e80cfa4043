"""What the command line does with pictures: from files and strings to analyses, and from these to lines and tables."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from groundscope.corpus.boxes import Box
from groundscope.corpus.photographs import Photograph, read_coco, read_yolo
from groundscope.corpus.picture_files import pictures_in
from groundscope.corpus.utterance import Problem
from groundscope.errors import AnalysisError, CorpusError
from groundscope.mechanism.causal import CausalOptions
from groundscope.mechanism.causal_table import CAUSAL
from groundscope.mechanism.detect_pictures import DETECTED, Detection, DetectOptions, detect
from groundscope.mechanism.inspect_picture import BOX_CRITERION, inspect_picture, inspection_lines
from groundscope.mechanism.inspect_picture_tables import (
    INSPECT_PICTURE,
    inspect_picture_frame,
    inspect_picture_json,
)
from groundscope.mechanism.picture_questions import GroundedSight, PictureQuestion, Ready, questions_of, ready
from groundscope.models.pretrained_vlm import PretrainedVLM, vlm_from_pretrained
from groundscope.report.overlay import write_overlay_page
from groundscope.study.sight import is_ours, open_sight
from groundscope.tables import write_table


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
) -> str:
    """Inspect a picture and word; returns text for a terminal, or JSON. Raises an error of exit status 2 for bad input.

    ``vocabulary`` is the corpus of a model of ours; none: it stands near the model. ``page`` and ``out`` are where the
    page of overlays and the table go.
    """
    if image is None or box is None:
        raise AnalysisError("Give both --image and --box x,y,w,h.")
    picture, place = open_picture(image), parse_box(box)
    sight = sight_of(model, revision, device=device, dtype=dtype, vocabulary=vocabulary)
    seeing, (question,) = ready(sight, [PictureQuestion(picture, prompt, target, place)])
    options = BOX_CRITERION.model_copy(update={"threshold": threshold})
    found = inspect_picture(seeing, question.prompt, options=options, causal=CausalOptions(draws=draws))
    told = [*_as_read(sight, question, prompt, target), *inspection_lines(found, threshold=threshold)]
    lines = "\n".join(told)
    if page is not None:
        title = f"{target} in {image.name}"
        write_overlay_page(page, found, picture, question.patches, place, title=title, lines=lines)
    if out is not None:
        write_table(out / f"{INSPECT_PICTURE.name}.parquet", inspect_picture_frame(found, model), INSPECT_PICTURE)
    if as_json:
        return json.dumps(inspect_picture_json(found, model), ensure_ascii=False, indent=2)
    return lines if page is None else f"{lines}\nThe page: {page}"


def refuse_options_of_text(**given: object) -> None:
    """Raise AnalysisError for an option that means nothing where a picture is inspected."""
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise AnalysisError(f"--{named[0]} is for prompts of words: it says nothing where --image is given.")


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
    layers_at_once: int,
    revision: str | None,
    device: str,
    dtype: str,
    out: Path | None,
) -> Iterator[str]:
    """Detect heads over photographs; yields lines for a terminal and writes both tables into ``out``."""
    problems: list[Problem] = []
    questions = list(questions_of(photographs_of(images, boxes, problems), prompt, words))[:at_most]
    yield from (f"{problem.file}: {problem.what}: {problem.why}" for problem in problems[:5])
    seeing, asked = ready(sight_of(model, revision, device=device, dtype=dtype), questions)
    prompts = [question.prompt for question in asked]
    options = DetectOptions(
        criterion=BOX_CRITERION.model_copy(update={"threshold": threshold}),
        frequency=frequency,
        layers_at_once=layers_at_once,
        causal=CausalOptions(unit="prompt", draws=draws),
    )
    found = detect(seeing, prompts, model.rstrip("/").split("/")[-1], options)
    if out is not None:
        write_table(out / "detected_heads.parquet", found.heads, DETECTED)
        write_table(out / "causal.parquet", found.causal, CAUSAL)
    yield from detection_lines(found, len(prompts))


def sight_of(
    model: str, revision: str | None, *, device: str, dtype: str, vocabulary: Path | None = None
) -> PretrainedVLM | GroundedSight:
    """Open a model that sees: Hugging Face's by name or folder, or a checkpoint, or a training, of a study of ours."""
    if is_ours(model):
        return open_sight(Path(model), revision, vocabulary=vocabulary, device=device, dtype=dtype)
    return vlm_from_pretrained(model, revision, device=device, dtype=dtype)


def _as_read(sight: PretrainedVLM | GroundedSight, question: Ready, prompt: str, target: str) -> list[str]:
    if isinstance(sight, PretrainedVLM):
        return [f"prompt    {prompt}", f"target    {target}"]
    return [
        f"encoder   {sight.encoder.name}",
        f"prompt    <doc> [{len(question.patches)} positions of the picture] {' '.join(question.wording.pieces)}",
        f"target    {question.wording.target_pieces[0]}",
    ]


def detection_lines(found: Detection, pictures: int, shown: int = 10) -> Iterator[str]:
    """Yield a detection as text for a terminal."""
    first = found.heads.row(0, named=True)
    stable = found.heads.filter(found.heads["stable"])
    yield (
        f"{pictures} pictures; a head reads a box where at least {100 * first['threshold']:.0f} % of its patch-to-word "
        f"saliency comes from it (the box holds {100 * first['chance_share']:.0f} % of the positions on average)"
    )
    yield f"{'heads':<10}{'found in':>10}{'held out':>10}{'mean share':>12}"
    for row in found.heads.sort("frequency_found", "mean_share", descending=True).head(shown).iter_rows(named=True):
        mark = "  stable" if row["stable"] else ""
        yield (
            f"{row['name']:<10}{100 * row['frequency_found']:>8.0f} %{100 * row['frequency_held_out']:>8.0f} %"
            f"{row['mean_share']:>12.2f}{mark}"
        )
    if not len(found.causal):
        yield "removal   no head is in the stable set, so nothing was removed"
        return
    yield f"removal   the {len(stable)} stable heads, in the {first['n_held_out']} held-out pictures"
    for row in found.causal.filter(found.causal["role"] == "aggregate").iter_rows(named=True):
        p = "-" if row["p"] is None else f"{row['p']:.4f}"
        yield (
            f"          original {row['original_nats']:.3f}   without {row['intervention_nats']:.3f}   "
            f"{row['control']} control {row['control_nats']:.3f} nats   p {p}"
        )


def photographs_of(images: Path, boxes: Path, problems: list[Problem]) -> list[Photograph]:
    """Read photographs with COCO's instances JSON, or with YOLO's YAML and the labels in its folder."""
    if not boxes.is_file():
        raise CorpusError(f"There is no file {boxes}.")
    pictures = pictures_in([images], problems)
    if boxes.suffix in (".yaml", ".yml"):
        return read_yolo(pictures, [boxes.parent], boxes, problems)
    return read_coco(pictures, [boxes], problems)


def open_picture(path: Path) -> Image.Image:
    """Load a picture in colours; raises CorpusError when it is none."""
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise CorpusError(f"{path} cannot be read as a picture: {error}") from None


def parse_box(text: str) -> Box:
    """Read ``x,y,w,h`` in pixels; raises CorpusError for anything else."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise CorpusError(f"A box is written x,y,w,h in pixels (120,40,80,60), found '{text}'.") from None
    return Box(x, y, width, height)
