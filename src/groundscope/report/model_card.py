"""The card of a trained model: what it is, what it was trained on and how, what was measured, and what it is not for.

It stands in for weights that are kept elsewhere or nowhere: whoever has some can tell by the hashes whether they are
these. Everything in it is read from the run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from groundscope.errors import GroundscopeError, StudyError, did_you_mean
from groundscope.files import atomic_file, read_json
from groundscope.progress import counted, duration
from groundscope.report.claims_of_run import claims_of
from groundscope.report.numbers import whole
from groundscope.report.run import Run, open_run
from groundscope.study.runs import trainings
from groundscope.training.checkpoints import WEIGHTS
from groundscope.trajectory.checkpoints import Trajectory

OF_MIXERS = {"n_heads": "attention", "ssm_expand": "mamba2", "ssm_d_head": "mamba2", "ssm_d_state": "mamba2"}
SIZES = ("mixers", "d_model", "n_layers", *OF_MIXERS, "d_mlp", "n_positions", "vocab_size", "dropout")
LEARNING = ("steps", "batch_size", "learning_rate", "schedule", "warmup_steps", "weight_decay", "betas", "clip")
LIMITS = (
    "Trained to be looked into, not to be used: it has seen nothing but the corpus above, and writes no text that "
    "anybody should read. What was found holds for these words, contexts and seeds as far as its intervals say."
)


def write_model_card(run: Path, model: str | None, out: Path) -> Path:
    """Write the card of a model of a run (None: of its only one) as Markdown; return ``out``.

    Raises StudyError where the run has no such training.
    """
    known = trainings(run)
    if not known:
        raise StudyError(f"{run} holds no trainings, so that there is no model to describe. Name the run that trained.")
    if model is None and len(known) > 1:
        raise StudyError(f"{run} holds several models: {', '.join(known)}. Name one.")
    name = model or next(iter(known))
    if name not in known:
        raise StudyError(f"{run} has no model '{name}'; it has {', '.join(known)}.{did_you_mean(name, known)}")
    opened = [Trajectory.open(run / "train" / name / f"seed-{seed}") for seed in known[name]]
    text = "\n".join(_lines(open_run(run), name, opened)) + "\n"
    with atomic_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return out


def _lines(run: Run, name: str, trained: Sequence[Trajectory]) -> Iterator[str]:
    card = trained[0].card
    yield "---"
    yield yaml.safe_dump({"library_name": "transformers", "tags": ["groundscope", "symbol-grounding"]}).strip()
    yield "---"
    yield f"# {name}"
    yield ""
    yield f"{run.description or run.name} {_parameters(trained[0])} parameters, {counted(len(trained), 'seed')}."
    yield ""
    yield "## Model"
    yield ""
    yield from _table(("setting", "value"), list(_sizes(card.model)))
    yield ""
    yield "## Training"
    yield ""
    training = card.training.model_dump(mode="json")
    rows = [(key, _value(training[key])) for key in LEARNING] + [("precision", card.precision)]
    yield from _table(("setting", "value"), [*rows, ("tokens per step", whole(card.tokens_per_step))])
    yield ""
    yield from _table(
        ("seed", "checkpoints", "last step", "SHA-256 of its weights", "trained"), list(map(_seed, trained))
    )
    yield ""
    yield "## Corpus"
    yield ""
    yield from _corpus(run)
    yield ""
    yield "## What was measured"
    yield ""
    yield from _findings(run, name)
    yield ""
    yield "## Limits"
    yield ""
    yield LIMITS
    yield ""
    yield "## How it was made"
    yield ""
    versions = run.provenance.get("versions", {})
    yield from (f"- {package} {version}" for package, version in versions.items())
    if command := run.provenance.get("command"):
        yield f"- `{command}`"
    yield ""
    yield "A checkpoint's folder is read by `transformers` once `groundscope.models` is imported:"
    yield ""
    folder = trained[0].checkpoints[-1].path.relative_to(run.folder)
    yield "```python"
    yield "import groundscope.models"
    yield "from transformers import AutoModelForCausalLM"
    yield ""
    yield f'model = AutoModelForCausalLM.from_pretrained("{folder.as_posix()}")'
    yield "```"


def _sizes(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The sizes that this model has: a pure Mamba-2 has no attention whose heads could be counted."""
    for key in SIZES:
        if key in model and OF_MIXERS.get(key) in (None, *model.get("mixers", ())):
            yield key, _value(model[key])


def _seed(training: Trajectory) -> tuple[str, ...]:
    last = training.checkpoints[-1]
    unfinished = "" if training.is_finished else " (unfinished)"
    return (
        str(training.seed),
        str(len(training.checkpoints)),
        f"{whole(last.step)}{unfinished}",
        f"`{last.weight_hash}`",
        _trained(training.path),
    )


def _trained(training: Path) -> str:
    """On what, for how long; empty where the training does not say."""
    try:
        sessions = read_json(training / "speed.json")["sessions"]
        seconds = sum(session["seconds"] for session in sessions)
        return f"{duration(seconds)} on {sessions[-1]['device']}, {whole(sessions[-1]['tokens_per_second'])} tokens/s"
    except (GroundscopeError, KeyError, IndexError, TypeError):
        return ""


def _parameters(training: Trajectory) -> str:
    """Count the numbers in the last checkpoint's weights, by the shapes that their file names."""
    file = training.checkpoints[-1].path / WEIGHTS
    try:
        with safe_open(file, framework="numpy") as weights:
            return whole(sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys()))  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise GroundscopeError(f"{file} cannot be read ({error}). Train it again.") from None


def _corpus(run: Run) -> Iterator[str]:
    if run.card is None:
        yield "The run does not hold its corpus."
        return
    yield from _table(("what", "how much"), run.card.rows())
    yield ""
    yield "The content hash is over chunks and vocabulary. None of the corpus's text is in this card."


def _findings(run: Run, name: str) -> Iterator[str]:
    rows = [
        (claim.title, statement.verdict, statement.signs)
        for claim in claims_of(run)
        for statement in claim.statements
        if statement.arch == name
    ]
    if not rows:
        yield "Nothing yet."
        return
    yield from _table(("claim", "verdict", "numbers"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |"


def _value(value: object) -> str:
    if isinstance(value, list) and len(set(map(str, value))) == 1 and len(value) > 1:
        return f"{len(value)} x {value[0]}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
