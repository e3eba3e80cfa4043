"""Cells `controls/MODEL/seed-S/step-N`: the controls of one checkpoint; `statistics/controls`: what they show."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from groundscope.behaviour.controls import CONTROL_EVIDENCE, CONTROLS, control_evidence, measure_controls
from groundscope.corpus.chunks import Corpus
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.behaviour import MEASURED, MEASURES, seen_by
from groundscope.study.cells.frames import judgement, neutral, setting
from groundscope.study.cells.tables import joined, kept, statistics_cell
from groundscope.study.cells.train import Point, all_points_at
from groundscope.study.cells.words import chosen
from groundscope.study.config import Study

_MEASURES = (*MEASURES, "study.cells.controls", "study.cells.frames", "behaviour.controls")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per checkpoint at which the study measures controls.

    Raises StudyError for a step that is no checkpoint.
    """
    options = study.behaviour
    if not options.controls:
        return
    for point in chain.from_iterable(all_points_at(study, options.controls_at, "behaviour.controls_at")):
        yield Cell(
            name=f"controls/{point.place}",
            code=_MEASURES,
            settings=options.model_dump(mode="json", include={*MEASURED, "controls"} - {"directions"}) | setting(study),
            inputs=(Source("corpus"), Source("words"), point.weights, *judgement(study)),
            work=partial(_measure, study, run, point),
        )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that weighs what `cells` measured."""
    if study.behaviour.controls:
        yield statistics_cell(
            "controls",
            cells(study, run),
            partial(_weigh, study, run),
            code=("study.cells.controls", "behaviour.controls"),
            settings=study.statistics.model_dump(mode="json"),
        )


def _measure(study: Study, run: Path, point: Point, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = Corpus.open(run / "corpus")
    words, contexts = chosen(study, corpus)
    model, identity = point.open(study, run)
    seen, frames = seen_by(study, run, point, words), neutral(study, run, contexts)
    found = measure_controls(model, corpus.vocabulary, words, frames, seen, study.behaviour, identity)
    return kept(folder, {CONTROLS: found})


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    controls = joined(run, upstream, "controls/", CONTROLS)
    return kept(
        folder, {CONTROLS: controls, CONTROL_EVIDENCE: control_evidence(controls, **study.statistics.model_dump())}
    )
