"""Cells `controls/MODEL/seed-S/step-N`: the controls of one checkpoint; `statistics/controls`: what they show."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from groundscope.behaviour.controls import CONTROL_EVIDENCE, CONTROLS, control_evidence, measure_controls
from groundscope.corpus.chunks import Corpus
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.behaviour import MEASURED, MEASURES, seen_by
from groundscope.study.cells.tables import joined, kept
from groundscope.study.cells.train import Point, points_at
from groundscope.study.cells.words import chosen
from groundscope.study.config import Study

_MEASURES = (*MEASURES, "study.cells.controls", "behaviour.controls")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per checkpoint at which the study measures controls.

    Raises StudyError for a step that is no checkpoint.
    """
    options = study.behaviour
    for model in study.models if options.controls else ():
        places = (points_at(study, model, seed, options.controls_at, "behaviour.controls_at") for seed in study.seeds)
        for point in (point for place in places for point in place):
            yield Cell(
                name=f"controls/{point.place}",
                code=_MEASURES,
                settings=options.model_dump(mode="json", include={*MEASURED, "controls"} - {"directions"}),
                inputs=(Source("corpus"), Source("words"), point.weights),
                work=partial(_measure, study, run, point),
            )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that weighs what `cells` measured."""
    if study.behaviour.controls:
        yield Cell(
            name="statistics/controls",
            code=("study.cells.controls", "behaviour.controls"),
            settings=study.statistics.model_dump(mode="json"),
            inputs=tuple(Source(cell.name) for cell in cells(study, run)),
            work=partial(_weigh, study, run),
            tolerant=True,
        )


def _measure(study: Study, run: Path, point: Point, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = Corpus.open(run / "corpus")
    words, contexts = chosen(study, corpus)
    checkpoint, identity = point.open(run)
    seen = seen_by(study, run, point, words)
    found = measure_controls(checkpoint.load(), corpus.vocabulary, words, contexts, seen, study.behaviour, identity)
    return kept(folder, {CONTROLS: found})


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    controls = joined(run, upstream, "controls/", CONTROLS)
    return kept(
        folder, {CONTROLS: controls, CONTROL_EVIDENCE: control_evidence(controls, **study.statistics.model_dump())}
    )
