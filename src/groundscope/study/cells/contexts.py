"""Cell `statistics/contexts`: where words stand in the prompts, and what training has seen of their frames."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from groundscope.behaviour.controls import shapes_of
from groundscope.behaviour.layout import CONTEXTS, contexts_table
from groundscope.behaviour.prompts import Direction
from groundscope.corpus.chunks import Corpus
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.corpus import CHUNKS
from groundscope.study.cells.tables import kept
from groundscope.study.cells.words import SHIPPED, chosen, held_out
from groundscope.study.config import Study


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the one cell."""
    yield Cell(
        name="statistics/contexts",
        code=("study.cells.contexts", "study.cells.words", "behaviour.controls", "behaviour.layout", *SHIPPED),
        settings=study.behaviour.model_dump(mode="json", include={"kinds", "directions", "controls"}),
        inputs=(Source("corpus", CHUNKS), Source("words")),
        work=partial(_lay_out, study, run),
    )


def _lay_out(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus, options = Corpus.open(run / "corpus"), study.behaviour
    tables = []
    for kind in options.kinds:
        words, contexts = chosen(study, corpus, kind)
        tables.append(contexts_table(contexts, corpus.vocabulary, words, corpus.chunks, options.directions))
        if kind is options.kind:
            forward = (words, corpus.chunks, (Direction.ENV2LAN,))
            tables.append(contexts_table(contexts, corpus.vocabulary, *forward, shapes_of(options.controls)))
            rare = held_out(study, corpus)
            if rare:
                tables.append(contexts_table(rare, corpus.vocabulary, *forward, held_out=True))
    return kept(folder, {CONTEXTS: pl.concat(tables)})
