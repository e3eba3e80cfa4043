"""One prompt in one model or along a trajectory: Hugging Face models, their revisions, and our own trainings.

What a person names becomes a list of subjects in the order of training; each is loaded, inspected and let go, so that
one model is in memory at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Mamba2ForCausalLM

from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import ModelError
from groundscope.mechanism.criteria import CriterionOptions
from groundscope.mechanism.inspect import Inspection, inspect_prompt
from groundscope.mechanism.lens_files import load_lens, tensor_sha256
from groundscope.models.base import LanguageModel
from groundscope.models.convert import from_mamba2
from groundscope.models.hub import device_named, dtype_named, from_pretrained
from groundscope.models.pretrained import PretrainedLM
from groundscope.models.wording import Wording, word_listed, word_prompt
from groundscope.trajectory.at import evenly
from groundscope.trajectory.checkpoints import Checkpoint, Trajectory
from groundscope.trajectory.revisions import list_revisions, order_revisions

SEARCHED = 6
"""How many folders upward from a checkpoint its vocabulary is looked for: a run's corpus stands five above it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One model to inspect: ``revision`` names it within its series, "" where it stands alone."""

    model: str
    revision: str
    load: Callable[[], LanguageModel]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every subject; ``ground`` None asks for no heads."""

    prompt: str
    target: str
    ground: str | None
    criterion: CriterionOptions
    draws: int = 20
    seed: int = 0
    vocabulary: Path | None = None  # a corpus or its vocabulary.json, for models of ours; None: found near the model
    lens: Path | None = None  # a saved lens; None: the logit lens


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found in one subject. Equal hashes of two revisions mean that one of them is not what it says."""

    subject: Subject
    inspection: Inspection
    unembedding_sha256: str
    tokens: Callable[[int], str]  # shows an id


def subjects_of(
    model: str,
    *,
    revision: str | None = None,
    revisions: Sequence[str] = (),
    count: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> list[Subject]:
    """Return what is to be inspected, in the order of training.

    ``model`` is a repository, a folder of one model, or the folder of one of our trainings, whose checkpoints then are
    the revisions. ``revisions`` are names (steps, for a training of ours); ``count`` takes so many of those there are,
    evenly spread; only one of the three may be given. Raises ModelError for what does not exist or cannot be ordered.
    """
    given = [name for name, value in (("revision", revision), ("revisions", revisions), ("count", count)) if value]
    if len(given) > 1:
        raise ModelError(f"{' and '.join(given)} are each a way to say which checkpoints are meant: give one of them.")
    folder = Path(model)
    if (folder / "run.json").is_file():
        return _trained(
            folder, [revision] if revision else list(revisions), count, device_named(device), dtype_named(dtype)
        )
    if revisions or count:
        if folder.is_dir():
            raise ModelError(f"{folder} is one model; revisions are those of a repository or of a training's folder.")
        series = order_revisions(revisions or [found.name for found in list_revisions(model)[0]])
        if not series:
            raise ModelError(f"No revision of '{model}' says where in training it stands. Name one with --revision.")
        names: list[str | None] = [found.name for found in (series if revisions else evenly(series, count or 2))]
    else:
        names = [revision]
    return [
        Subject(model, name or "", lambda name=name: from_pretrained(model, name, device=device, dtype=dtype))
        for name in names
    ]


def inspect_subjects(subjects: Sequence[Subject], question: Question) -> Iterator[Answer]:
    """Yield each subject's answer; raises ModelError for words that a model's vocabulary or tokenizer cannot take."""
    if question.lens and len(subjects) > 1:
        raise ModelError("A lens belongs to one checkpoint: inspect a single revision with it.")
    for subject in subjects:
        model = subject.load()
        wording, token = _worded(subject, model, question)
        model = _with_matrices(model)
        found = inspect_prompt(
            model,
            wording,
            options=question.criterion,
            lens=load_lens(question.lens, model) if question.lens else None,
            draws=question.draws,
            seed=question.seed,
        )
        answer = Answer(subject, found, tensor_sha256(model.unembedding), token)
        del model  # before the next one is loaded
        yield answer


def _with_matrices(model: LanguageModel) -> LanguageModel:
    """A Mamba-2 of Hugging Face's as one of ours, whose mixing matrices can be read; any other model as it is."""
    if not isinstance(model, PretrainedLM) or not isinstance(model.model, Mamba2ForCausalLM):
        return model
    try:
        return from_mamba2(model.model).to(model.model.device).eval()  # type: ignore[arg-type]
    except ModelError:  # a variant that ours are not: all but its heads can be read
        return model


def _trained(
    run: Path, steps: Sequence[str], count: int | None, device: torch.device, dtype: torch.dtype
) -> list[Subject]:
    trajectory = Trajectory.open(run)
    checkpoints: Sequence[Checkpoint] = trajectory.checkpoints
    if steps:
        for step in steps:
            if not step.removeprefix("step").isdigit():
                raise ModelError(f"The revisions of a training are its steps; '{step}' is none.")
        wanted = sorted({int(step.removeprefix("step")) for step in steps})
        checkpoints = [trajectory.at(step) for step in wanted]
    elif count:
        checkpoints = evenly(checkpoints, count)
    return [
        Subject(str(run), f"step{one.step}", lambda one=one: one.load(device).to(dtype))  # type: ignore[arg-type]
        for one in checkpoints
    ]


def _worded(subject: Subject, model: LanguageModel, question: Question) -> tuple[Wording, Callable[[int], str]]:
    """The prompt as this model reads it, and how its tokens are shown."""
    if isinstance(model, PretrainedLM):
        if question.vocabulary:
            raise ModelError(f"--vocabulary is for models of groundscope's; {subject.model} has its own tokenizer.")
        tokenizer = model.tokenizer
        wording = word_prompt(tokenizer, question.prompt, question.target, question.ground, target_pieces="sum")
        return wording, lambda number: repr(tokenizer.decode([number]))  # type: ignore[union-attr]
    tokens = Vocabulary.load(vocabulary_near(Path(subject.model), question.vocabulary)).tokens
    if len(tokens) != len(model.unembedding):
        raise ModelError(
            f"The vocabulary has {len(tokens)} entries, the model {len(model.unembedding)}: it is another corpus's. "
            "Name the right one with --vocabulary."
        )
    return word_listed(tokens, question.prompt, question.target, question.ground), lambda number: tokens[number]


def vocabulary_near(model: Path, named: Path | None = None) -> Path:
    """Return the vocabulary.json of a checkpoint or training of ours: ``named`` (or in it), or one near the model.

    Raises ModelError where there is none.
    """
    if named is not None:
        place = named / "vocabulary.json" if named.is_dir() else named
        if not place.is_file():
            raise ModelError(f"There is no vocabulary at {place}.")
        return place
    here = model.resolve()
    for folder in (here, *here.parents[:SEARCHED]):
        for place in (folder / "vocabulary.json", folder / "corpus" / "vocabulary.json"):
            if place.is_file():
                return place
    raise ModelError(f"No vocabulary stands near {model}. Name the corpus it was trained on with --vocabulary.")
