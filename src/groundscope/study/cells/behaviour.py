"""Cells `behaviour/MODEL/seed-S/step-N`: surprisal, gain and audit of one checkpoint; `statistics/behaviour`: evidence.

`statistics/generality` asks whether the evidence holds for other contexts, seeds, kinds of words and frames, and
`statistics/words` when each word is grounded.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import polars as pl

from groundscope.behaviour.acquisition import (
    ACQUISITION,
    WORD_EMERGENCE,
    acquisition,
    can_emerge,
    read_acquisition,
    word_emergence,
)
from groundscope.behaviour.audit import (
    AUDIT,
    NEUTRAL_FRAMES,
    audit_frames,
    frames_within,
    gain_in_neutral_frames,
    neutral_frames,
)
from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.contrasts import CONTRASTS, contrasts
from groundscope.behaviour.cooccurrence import Exposure, Seen
from groundscope.behaviour.evidence import EVIDENCE, evidence
from groundscope.behaviour.generalisation import (
    CATEGORIES,
    CROSSED,
    KINDS,
    REPLICATION,
    by_category,
    by_kind,
    crossed_evidence,
    replication,
)
from groundscope.behaviour.measure import GAIN, SURPRISAL, measure
from groundscope.behaviour.words import WORDS, Word
from groundscope.corpus.chunks import Corpus
from groundscope.files import sha256_file
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.tables import joined, kept, statistics_cell
from groundscope.study.cells.train import Point, all_points
from groundscope.study.cells.words import SHIPPED, chosen
from groundscope.study.config import Study
from groundscope.study.paths import located
from groundscope.tables import TableSchema, read_table

MEASURES = (
    "study.cells.behaviour",
    "study.cells.words",
    "behaviour.measure",
    "behaviour.audit",
    "behaviour.cooccurrence",
    "trajectory.checkpoints",
    *SHIPPED,
)
WEIGHS = (
    "study.cells.behaviour",
    "behaviour.acquisition",
    "behaviour.audit",
    "behaviour.conclusions",
    "behaviour.contrasts",
    "behaviour.evidence",
    "behaviour.generalisation",
)
MEASURED = {"kinds", "directions", "mismatch", "mismatches", "window", "precision", "seed"}
"""What of the options a measurement depends on, besides the words and contexts that cell `words` chose."""
TABLES = (SURPRISAL, GAIN, AUDIT)


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per checkpoint."""
    for point in all_points(study):
        yield behaviour_cell(study, run, point)


def behaviour_cell(study: Study, run: Path, point: Point) -> Cell:
    """Return the cell that measures one checkpoint, on the words of the study whatever it was trained on."""
    return Cell(
        name=f"{point.branch}behaviour/{point.place}",
        code=MEASURES,
        settings=study.behaviour.model_dump(mode="json", include=MEASURED),
        inputs=(Source("corpus"), Source("words"), Source(point.training.corpus), point.weights),
        work=partial(_measure, study, run, point),
    )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cells that weigh what `cells` measured."""
    behaviour, weighing = study.behaviour, study.statistics.model_dump(mode="json")
    yield statistics_cell(
        "behaviour",
        cells(study, run),
        partial(_weigh, study, run),
        code=WEIGHS,
        settings={**weighing, "kind": behaviour.kind, "neutral_within": behaviour.neutral_within},
        also=(Source("words"),),
    )
    yield Cell(
        name="statistics/generality",
        code=WEIGHS,
        settings=weighing,
        inputs=tuple(Source("statistics/behaviour", schema.name) for schema in TABLES),
        work=partial(_generalise, study, run),
    )
    yield Cell(
        name="statistics/words",
        code=WEIGHS,
        settings=weighing,
        inputs=(Source("statistics/behaviour", GAIN.name),),
        files=_ages_hash(study),
        work=partial(_words, study, run),
    )


def seen_by(study: Study, run: Path, point: Point, words: tuple[Word, ...], counted_in: str | None = None) -> Seen:
    """Return what training had shown of ``words`` by this checkpoint, counted in the chunks of the cell ``counted_in``.

    Those are the chunks that it was trained on, unless another corpus has the same ones in the same order.
    """
    corpus = Corpus.open(run / (counted_in or point.training.corpus))
    exposure = _exposure(corpus.path, corpus.card.content_hash, words, study.behaviour.window)
    return exposure.at(point.trajectory(run).order.seen(point.step))


@lru_cache(maxsize=4)  # a study measures a few kinds of words in one corpus, at many checkpoints
def _exposure(path: Path, content_hash: str, words: tuple[Word, ...], window: int | None) -> Exposure:
    corpus = Corpus.open(path)
    return Exposure.of(corpus.chunks, corpus.vocabulary, words, window=window)


def weighed(run: Path, schema: TableSchema) -> pl.DataFrame:
    """Return a table of the finished cell `statistics/behaviour`."""
    return read_table(run / "statistics" / "behaviour" / f"{schema.name}.parquet", schema)


def _measure(study: Study, run: Path, point: Point, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = Corpus.open(run / "corpus")
    model, identity = point.open(study, run)
    options = study.behaviour
    parts: dict[TableSchema, list[pl.DataFrame]] = {schema: [] for schema in TABLES}
    for kind in options.kinds:
        words, contexts = chosen(study, corpus, kind)
        seen = seen_by(study, run, point, words)
        found = measure(model, corpus.vocabulary, words, contexts, seen, options, identity)
        audit = audit_frames(model, corpus.vocabulary, words, contexts, identity)
        for schema, table in zip(TABLES, (*found, audit), strict=True):
            parts[schema].append(table)
    return kept(folder, {schema: pl.concat(tables) for schema, tables in parts.items()})


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    surprisal, gain, audit = (joined(run, upstream, "behaviour/", schema) for schema in TABLES)
    within = study.behaviour.neutral_within
    if within is not None and not audit.is_empty():
        gain = gain_in_neutral_frames(surprisal, gain, audit, within)
        surprisal = surprisal.join(frames_within(audit, within), on=["kind", "context"], how="semi")
    main = gain.filter(kind=study.behaviour.kind.value)
    weighing = study.statistics.model_dump()
    return kept(
        folder,
        {
            SURPRISAL: surprisal,
            GAIN: gain,
            AUDIT: audit,
            EVIDENCE: evidence(main, **weighing),
            CONCLUSIONS: conclusions(main, **weighing),
            WORDS: read_table(run / "words" / "words.parquet", WORDS),
        },
    )


def _generalise(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    surprisal, gain, audit = (weighed(run, schema) for schema in TABLES)
    weighing = study.statistics.model_dump()
    main = gain.filter(kind=study.behaviour.kind.value)
    return kept(
        folder,
        {
            CROSSED: crossed_evidence(surprisal, confidence=study.statistics.confidence),
            REPLICATION: replication(main, **weighing),
            CONTRASTS: contrasts(main, confidence=study.statistics.confidence, seed=study.statistics.seed),
            KINDS: by_kind(gain, **weighing),
            CATEGORIES: by_category(gain, **weighing),
            NEUTRAL_FRAMES: neutral_frames(surprisal, gain, audit, **weighing),
        },
    )


def _words(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    gain, file = weighed(run, GAIN), study.behaviour.acquisition
    words = word_emergence(gain, read_acquisition(located(file)) if file else None)
    tables = {WORD_EMERGENCE: words}
    exchanged = gain.drop_nulls("p_scene")
    untested = exchanged.filter(~can_emerge())["word"].n_unique() if exchanged.height else 0
    if untested:
        progress.say(f"  {untested} words have too few mismatched scenes and seeds to be tested one by one.")
    if file:
        tables[ACQUISITION] = acquisition(words, gain, **study.statistics.model_dump())
        known = words.drop_nulls("age_months")["word"].n_unique()
        progress.say(f"  {known} of {words['word'].n_unique()} words have an age of acquisition.")
    return kept(folder, tables)


def _ages_hash(study: Study) -> Mapping[str, Any]:
    path = located(study.behaviour.acquisition) if study.behaviour.acquisition else None
    return {"acquisition": sha256_file(path)} if path and path.is_file() else {}
