"""Cell `words`: which words, in which contexts. It comes first: a study that cannot be measured fails in seconds."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from groundscope.behaviour.contexts import ContextSet, load_contexts, usable_contexts
from groundscope.behaviour.options import BehaviourOptions
from groundscope.behaviour.words import WORDS, Word, candidates, select_words, words_table
from groundscope.corpus.chunks import Corpus
from groundscope.files import sha256_file, sha256_json, write_json
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.config import Study
from groundscope.study.paths import located
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


def chosen(study: Study, corpus: Corpus) -> tuple[tuple[Word, ...], ContextSet]:
    """Return the study's words and contexts; raises StudyError where too few words reach the count."""
    options = study.behaviour
    words = select_words(
        corpus.vocabulary, options.kind, minimum=options.minimum, choice=options.words, at_most=options.at_most
    )
    return words, usable_contexts(load_contexts(options.kind, context_file(options)), corpus.vocabulary)


def context_file(options: BehaviourOptions) -> Path | None:
    """Return the study's own contexts, where it has some."""
    return located(options.contexts) if options.contexts else None


def _context_hash(options: BehaviourOptions) -> Mapping[str, str]:
    path = context_file(options)
    return {"contexts": sha256_file(path)} if path and path.is_file() else {}


def _choose(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = Corpus.open(run / "corpus")
    options = study.behaviour
    words, contexts = chosen(study, corpus)
    asked = candidates(options.kind, options.words)
    write_table(folder / "words.parquet", words_table(corpus.vocabulary, asked, words), WORDS)
    loaded = load_contexts(options.kind, context_file(options)).all()
    kept = {"words": [asdict(word) for word in words], "contexts": [asdict(context) for context in contexts.all()]}
    write_json(folder / "chosen.json", kept)
    progress.say(f"{len(words)} of {len(asked)} words, {len(contexts.all())} of {len(loaded)} contexts.")
    return {"": sha256_json(kept)}
