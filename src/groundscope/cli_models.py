"""The command line's verbs on finished models: `groundscope inspect` and `detect`, text and pictures."""

from pathlib import Path
from typing import Annotated

import typer

from groundscope.cli_corpus import Quiet, listed
from groundscope.errors import ModelError
from groundscope.progress import Progress

DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")


def _device(name: str) -> str:
    """Refuse what is no device of torch's, before it lists some twenty-five; whether one is there is seen later."""
    if name.partition(":")[0] not in DEVICES:
        raise ModelError(
            f"--device is one of {', '.join(DEVICES)}, where cuda is a GPU, cuda:1 a second; given: '{name}'."
        )
    return name


OwnVocabulary = Annotated[
    Path | None, typer.Option(help="Corpus or vocabulary.json of a checkpoint of ours outside its run.")
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda (or cuda:1, ...), or auto: the GPU where there is one.", callback=_device)
]


def inspect(
    model: Annotated[str, typer.Option(help="A Hugging Face name, a folder, or a training's folder.")],
    prompt: Annotated[str, typer.Option(help="The text up to the target; tokens by spaces for models of ours.")],
    target: Annotated[str, typer.Option(help="The word that should come next.")],
    ground: Annotated[str | None, typer.Option(help="The word of the prompt that shows the thing.")] = None,
    revision: Annotated[str | None, typer.Option(help="One revision, e.g. step1000.")] = None,
    revisions: Annotated[str | None, typer.Option(help="Several, by commas: a trajectory.")] = None,
    count: Annotated[
        int | None, typer.Option(min=2, help="This many of the revisions there are, evenly spread.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Least share of a head's saliency. Default: .3.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Random sets of heads to compare with.")] = 20,
    lens: Annotated[Path | None, typer.Option(help="A saved lens. Default: the logit lens.")] = None,
    vocabulary: OwnVocabulary = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    image: Annotated[Path | None, typer.Option(help="A picture, for a model that sees; wants --box.")] = None,
    box: Annotated[str | None, typer.Option(help="The thing's box in the picture: x,y,w,h in pixels.")] = None,
    box_threshold: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="With --image: least share of patch-to-word saliency. Default: .7."),
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="With --image: asked in the model's chat form; --prompt begins the answer.")
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="With --image: a page of where heads look.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the tables into this folder.")] = None,
) -> None:
    """Inspect one prompt in any causal language model: surprisal by layer, saliency, heads and their removal.

    With --image and --box, in a vision-language model or a training of a study of pictures: which heads take the word
    from the box.
    """
    import json

    from groundscope.models.float32 import whole_float32
    from groundscope.picture_verbs import inspect_image, refuse_options_of_pictures, refuse_options_of_text

    if image is not None or box is not None:
        refuse_options_of_text(ground=ground, revisions=revisions, count=count, lens=lens, threshold=threshold)
        with whole_float32():
            told = inspect_image(
                model, image, box, prompt, target, revision=revision, device=device, dtype=dtype,
                threshold=0.7 if box_threshold is None else box_threshold, draws=draws, page=overlay,
                vocabulary=vocabulary, out=out, as_json=as_json, question=question,
            )  # fmt: skip
        typer.echo(told)
        return
    refuse_options_of_pictures(overlay=overlay, box_threshold=box_threshold, question=question)

    from groundscope.mechanism.criteria import CriterionOptions
    from groundscope.mechanism.inspect_models import Question, inspect_subjects, subjects_of
    from groundscope.mechanism.inspect_tables import inspection_json, trajectory_text, write_inspection
    from groundscope.mechanism.inspect_text import inspection_text

    threshold = 0.3 if threshold is None else threshold
    subjects = subjects_of(
        model, revision=revision, revisions=listed(revisions or ""), count=count, device=device, dtype=dtype
    )
    asked = Question(prompt, target, ground, CriterionOptions(threshold=threshold), draws, 0, vocabulary, lens)
    progress = Progress(quiet=as_json)
    answers = []
    with whole_float32():
        for answer in inspect_subjects(subjects, asked):
            answers.append(answer)
            if len(subjects) > 1:
                progress.say(f"{answer.subject.revision}: {answer.inspection.surprisal:.3f} nats")
    if out:
        write_inspection(out, answers)
    if as_json:
        typer.echo(json.dumps(inspection_json(answers), ensure_ascii=False, indent=2))
        return
    if len(answers) > 1:
        typer.echo("\n".join(trajectory_text(answers)) + f"\n\n{answers[-1].subject.revision}")
    typer.echo(inspection_text(answers[-1].inspection, answers[-1].tokens, threshold=threshold))


def detect(
    model: Annotated[
        str, typer.Option(help="A model that sees: a Hugging Face name, a folder, or a training of ours.")
    ],
    images: Annotated[Path, typer.Option(help="A folder of photographs.")],
    boxes: Annotated[Path, typer.Option(help="COCO's instances JSON, or YOLO's data YAML beside its labels.")],
    prompt: Annotated[str, typer.Option(help="The text up to the thing's word, the same for all.")] = "This is a",
    question: Annotated[
        str | None, typer.Option(help="Asked in the model's chat form; --prompt begins the answer.")
    ] = None,
    words: Annotated[str, typer.Option(help="Only these words, separated by commas.")] = "",
    at_most: Annotated[int | None, typer.Option(min=4, help="Only the first so many photographs.")] = None,
    box_threshold: Annotated[float, typer.Option(min=0.01, max=1, help="Least share from inside the box.")] = 0.7,
    frequency: Annotated[float, typer.Option(min=0.01, max=1, help="Least share of photographs.")] = 0.3,
    draws: Annotated[int, typer.Option(min=1, help="Random sets of heads to compare with.")] = 20,
    revision: Annotated[str | None, typer.Option(help="One revision.")] = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    vocabulary: OwnVocabulary = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the tables into this folder.")] = None,
    quiet: Quiet = False,
) -> None:
    """Find the heads of a model that sees which take words from boxes, over many photographs, and test them."""
    from groundscope.models.float32 import whole_float32
    from groundscope.picture_verbs import detect_heads

    with whole_float32():
        told = detect_heads(
            model, images, boxes, prompt, listed(words), at_most=at_most, threshold=box_threshold,
            frequency=frequency, draws=draws, revision=revision, device=device, dtype=dtype, out=out,
            vocabulary=vocabulary, as_json=as_json, progress=Progress(quiet=quiet), question=question,
        )  # fmt: skip
    typer.echo(told)
