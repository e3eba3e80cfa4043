"""Cells `behaviour/MODEL/seed-S/step-N`: surprisal and gain of one checkpoint; `statistics/behaviour`: the evidence."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.cooccurrence import Exposure
from groundscope.behaviour.evidence import EVIDENCE, evidence
from groundscope.behaviour.measure import GAIN, SURPRISAL, measure
from groundscope.behaviour.words import WORDS, Word
from groundscope.corpus.chunks import Corpus
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.tables import joined, kept
from groundscope.study.cells.train import Point, all_points
from groundscope.study.cells.words import SHIPPED, chosen
from groundscope.study.config import Study
from groundscope.tables import read_table

MEASURES = ("study.cells.behaviour", "behaviour.measure", "behaviour.cooccurrence", "trajectory.checkpoints", *SHIPPED)
WEIGHS = ("study.cells.behaviour", "behaviour.evidence", "behaviour.conclusions")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per checkpoint."""
    for point in all_points(study):
        yield Cell(
            name=f"behaviour/{point.place}",
            code=MEASURES,
            settings=study.behaviour.model_dump(mode="json"),
            inputs=(Source("corpus"), Source("words"), point.weights),
            work=partial(_measure, study, run, point),
        )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that weighs what `cells` measured."""
    yield Cell(
        name="statistics/behaviour",
        code=WEIGHS,
        settings=study.statistics.model_dump(mode="json"),
        inputs=(Source("words"), *(Source(cell.name) for cell in cells(study, run))),
        work=partial(_weigh, study, run),
        tolerant=True,
    )


def _measure(study: Study, run: Path, point: Point, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = Corpus.open(run / "corpus")
    words, contexts = chosen(study, corpus)
    checkpoint, identity = point.open(run)
    exposure = _exposure(corpus.path, corpus.card.content_hash, words, study.behaviour.window)
    seen = exposure.at(point.trajectory(run).order.seen(point.step))
    found = measure(checkpoint.load(), corpus.vocabulary, words, contexts, seen, study.behaviour, identity)
    return kept(folder, {SURPRISAL: found.surprisal, GAIN: found.gain})


@lru_cache(maxsize=1)  # one study measures one set of words in one corpus, at many checkpoints
def _exposure(path: Path, content_hash: str, words: tuple[Word, ...], window: int | None) -> Exposure:
    corpus = Corpus.open(path)
    return Exposure.of(corpus.chunks, corpus.vocabulary, words, window=window)


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    gain = joined(run, upstream, "behaviour/", GAIN)
    weighing = study.statistics.model_dump()
    return kept(
        folder,
        {
            SURPRISAL: joined(run, upstream, "behaviour/", SURPRISAL),
            GAIN: gain,
            EVIDENCE: evidence(gain, **weighing),
            CONCLUSIONS: conclusions(gain, **weighing),
            WORDS: read_table(run / "words" / "words.parquet", WORDS),
        },
    )
