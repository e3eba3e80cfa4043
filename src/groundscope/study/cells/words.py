"""Cell `words`: which words, in which contexts. It comes first: a study that cannot be measured fails in seconds."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import polars as pl

from groundscope.behaviour.acquisition import read_acquisition
from groundscope.behaviour.contexts import ContextSet, load_contexts, usable_contexts
from groundscope.behaviour.options import BehaviourOptions, Control
from groundscope.behaviour.words import WORDS, Choice, Kind, Word, candidates, select_words, words_table
from groundscope.corpus.chunks import Corpus
from groundscope.files import sha256_file, sha256_json, write_json
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.config import Study
from groundscope.study.paths import located
from groundscope.study.prompt_lengths import refuse_long_prompts
from groundscope.tables import write_table

SHIPPED = ("data/words.yaml", "data/contexts.yaml")
"""The package's own words and contexts."""


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the one cell."""
    yield Cell(
        name="words",
        code=("study.cells.words", "behaviour.words", "behaviour.contexts", *SHIPPED),
        settings=study.behaviour.model_dump(mode="json"),
        inputs=(Source("corpus"),),
        files=_context_hash(study.behaviour),
        work=partial(_choose, study, run),
    )


def chosen(study: Study, corpus: Corpus, kind: Kind | None = None) -> tuple[tuple[Word, ...], ContextSet]:
    """Return the study's words of one kind and their contexts; without a ``kind``, of the one conclusions are about.

    Only that one takes the words and contexts that the study names; further kinds take what is shipped, without the
    forms of earlier kinds. Raises StudyError where too few words reach the count, no context can be used or a word has
    none.
    """
    options = study.behaviour
    kind = kind or options.kind
    path = context_file(options) if kind is options.kind else None
    earlier = options.kinds[: options.kinds.index(kind)]
    words = select_words(
        corpus.vocabulary,
        kind,
        minimum=options.minimum,
        choice=_choice(options, kind),
        at_most=options.at_most,
        taken={word.form for other in earlier for word in candidates(other, _choice(options, other))},
    )
    contexts = usable_contexts(load_contexts(kind, path), corpus.vocabulary)
    contexts.groups(words)  # to fail now, before anything is trained, where a word has no context
    return words, contexts


def held_out(study: Study, corpus: Corpus) -> ContextSet | None:
    """Return the held-out frames, where the study's controls ask for them; StudyError where none can be used."""
    if Control.HELD_OUT not in study.behaviour.controls:
        return None
    return usable_contexts(load_contexts(study.behaviour.kind, held_out=True), corpus.vocabulary)


def _choice(options: BehaviourOptions, kind: Kind) -> Choice:
    return options.words if kind is options.kind else "listed"


def context_file(options: BehaviourOptions) -> Path | None:
    """Return the study's own contexts, where it has some."""
    return located(options.contexts) if options.contexts else None


def _context_hash(options: BehaviourOptions) -> Mapping[str, str]:
    path = context_file(options)
    return {"contexts": sha256_file(path)} if path and path.is_file() else {}


def _choose(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = Corpus.open(run / "corpus")
    options = study.behaviour
    tables, kept = [], []
    for kind in options.kinds:
        words, contexts = chosen(study, corpus, kind)
        refuse_long_prompts(study, corpus, words[0].form, contexts)
        asked = candidates(kind, _choice(options, kind))
        tables.append(words_table(corpus.vocabulary, asked, words))
        kept.append({"words": list(map(asdict, words)), "contexts": list(map(asdict, contexts.all()))})
        progress.say(f"{len(words)} of {len(asked)} {kind}s, in {len(contexts.all())} contexts.")
        if kind is options.kind and (unheard := held_out(study, corpus)):
            refuse_long_prompts(study, corpus, words[0].form, unheard, held_out=True)
    if options.acquisition:  # to fail now if it must
        read_acquisition(located(options.acquisition))
    write_table(folder / "words.parquet", pl.concat(tables), WORDS)
    write_json(folder / "chosen.json", kept)
    return {"": sha256_json(kept)}
