"""Whether every prompt of a study fits into its models; asked before anything is trained."""

from collections.abc import Iterator

from groundscope.behaviour.contexts import ContextSet
from groundscope.behaviour.controls import shapes_of
from groundscope.behaviour.options import Control
from groundscope.behaviour.prompts import Direction, Shape, render
from groundscope.corpus.chunks import Corpus
from groundscope.errors import StudyError
from groundscope.study.architecture import model_config
from groundscope.study.config import Study


def refuse_long_prompts(study: Study, corpus: Corpus, word: str, contexts: ContextSet, held_out: bool = False) -> None:
    """Raise StudyError where a prompt is longer than a model has positions.

    ``word`` is any of the study's words: prompts of a context are equally long. ``held_out`` says that ``contexts`` are
    the held-out ones, which stand in their plain shape alone.
    """
    limits = dict(_positions(study, corpus))
    if not limits:
        return
    model = min(limits, key=lambda name: limits[name])
    length, context = max(
        (
            (render(context, [word], corpus.vocabulary, direction, shape).ids.shape[1], context.name)
            for context in contexts.all()
            for direction, shape in _asked(study, held_out)
        ),
        default=(0, ""),
    )
    if length > limits[model]:
        raise StudyError(
            f"Context '{context}' makes prompts of up to {length} tokens, and '{model}' has {limits[model]} positions. "
            f"Raise corpus.chunks.length or models.{model}.n_positions, or shorten the context."
        )


def _asked(study: Study, held_out: bool) -> list[tuple[Direction, Shape]]:
    if held_out:
        return [(Direction.ENV2LAN, Shape.PLAIN)]
    options = study.behaviour
    plain = [(direction, Shape.PLAIN) for direction in options.directions]
    retrieval = [(Direction.LAN2LAN, Shape.PLAIN)] if Control.ONE_VOCABULARY in options.controls else []
    return [*plain, *retrieval, *((Direction.ENV2LAN, shape) for shape in shapes_of(options.controls))]


def _positions(study: Study, corpus: Corpus) -> Iterator[tuple[str, int]]:
    """Models whose positions are learned, and how many they have."""
    for name, settings in study.models.items():
        config = model_config(settings, len(corpus.vocabulary), corpus.card.chunk_length)
        if getattr(config, "has_attention", False):
            yield name, int(config.n_positions)
