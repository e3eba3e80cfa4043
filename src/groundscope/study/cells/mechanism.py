"""Cells `mechanism/MODEL/seed-S/step-N`: saliency, heads and the causal test of one checkpoint; the final one first.

The other checkpoints of a training read the final one's table of heads, whose shares are followed over time.
`statistics/mechanism` joins all: p values adjusted over checkpoints, and the paper's claims as tested statements.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import torch

from groundscope.corpus.chunks import Corpus
from groundscope.corpus.utterance import Channel
from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_FAMILY, CAUSAL_WORDS, adjust_over_checkpoints
from groundscope.mechanism.conclusions import MECHANISM_CONCLUSIONS, mechanism_conclusions
from groundscope.mechanism.head_tables import HEADS_FOUND
from groundscope.mechanism.keep import KEEP, KEEP_FAMILY
from groundscope.mechanism.measure import TABLES, measure
from groundscope.mechanism.study_prompts import MECHANISM_PROMPTS
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.analysis import prompts_of, text_of, weighing
from groundscope.study.cells.frames import judgement, setting
from groundscope.study.cells.tables import joined, kept, statistics_cell
from groundscope.study.cells.train import Point, all_points_at
from groundscope.study.cells.words import SHIPPED
from groundscope.study.config import Study
from groundscope.tables import TableSchema, read_table

_OURS = ("study.cells.mechanism", "study.cells.analysis", "mechanism.study_prompts", *SHIPPED)
MEASURES = (*_OURS, "mechanism.measure", "trajectory.checkpoints")
WEIGHS = (*_OURS, "mechanism.conclusions", "mechanism.causal_table")
_OF_STATISTICS = {"at", "negligible_nats"}


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per checkpoint that is asked for; none where the study has no mechanism.

    Raises StudyError for a step that is no checkpoint.
    """
    options = study.mechanism
    if options is None:
        return
    for points in all_points_at(study, options.at, "mechanism.at"):
        for point, final in final_first(points):
            yield Cell(
                name=f"mechanism/{point.place}",
                code=MEASURES,
                settings=options.model_dump(mode="json", exclude=_OF_STATISTICS) | setting(study),
                inputs=(Source("corpus"), Source("words"), point.weights, *heads_of(final), *judgement(study)),
                work=partial(_measure, study, run, point, final),
            )


def final_first(points: Sequence[Point]) -> Iterator[tuple[Point, Point | None]]:
    """Yield the checkpoints of one training in the order of their cells, each with the one whose heads it follows."""
    *earlier, final = points
    yield final, None
    yield from ((point, final) for point in earlier)


def heads_of(final: Point | None) -> tuple[Source, ...]:
    """Return the input that is the final checkpoint's table of heads; none for that checkpoint itself."""
    return () if final is None else (Source(f"mechanism/{final.place}", HEADS_FOUND.name),)


def read_heads(run: Path, final: Point | None) -> pl.DataFrame | None:
    """Read that table."""
    if final is None:
        return None
    return read_table(run / "mechanism" / final.place / f"{HEADS_FOUND.name}.parquet", HEADS_FOUND)


def weighed(study: Study, run: Path, upstream: Upstream) -> dict[TableSchema, pl.DataFrame]:
    """Return the tables of all checkpoints, p values adjusted over them, and the paper's claims, tested."""
    assert study.mechanism is not None
    tables = {schema: joined(run, upstream, "mechanism/", schema) for schema in TABLES}
    for schema, family in ((CAUSAL, CAUSAL_FAMILY), (KEEP, KEEP_FAMILY)):
        if len(tables[schema]):
            tables[schema] = adjust_over_checkpoints([tables[schema]], family)
    negligible = study.mechanism.negligible_nats
    conclusions = mechanism_conclusions(
        tables[CAUSAL], tables[CAUSAL_WORDS], negligible_nats=negligible, **weighing(study)
    )
    return {**tables, MECHANISM_CONCLUSIONS: conclusions}


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that joins and weighs what `cells` measured."""
    if study.mechanism is None:
        return
    yield statistics_cell(
        "mechanism",
        cells(study, run),
        partial(_weigh, study, run),
        code=WEIGHS,
        settings={
            "prompts": study.mechanism.prompts.model_dump(mode="json"),
            "negligible_nats": study.mechanism.negligible_nats,
            **weighing(study),
            **setting(study),
        },
        also=(Source("corpus"), Source("words"), *judgement(study)),
    )


def _measure(
    study: Study, run: Path, point: Point, final: Point | None, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    options = study.mechanism
    assert options is not None
    vocabulary = Corpus.open(run / "corpus").vocabulary
    prompts = prompts_of(study, run, options.prompts)
    model, identity = point.open(study, run)
    words = prompts.table["word"].unique().to_list()
    text = text_of(run, options.text_chunks, options.prompts.seed)
    found = measure(
        model,
        prompts.groups,
        options,
        identity,
        final=read_heads(run, final),
        text=torch.from_numpy(text).long() if len(text) else None,
        words={vocabulary.id(word, Channel.LAN): word for word in words},
    )
    return kept(folder, found.by_schema())


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    options = study.mechanism
    assert options is not None
    prompts = prompts_of(study, run, options.prompts).table
    return kept(folder, {**weighed(study, run, upstream), MECHANISM_PROMPTS: prompts})
