"""Cells `viewer/MODEL/seed-S/step-N`: a few prompts of each model's first seed, token by token, for the page."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from groundscope.mechanism.options import PromptOptions
from groundscope.mechanism.prompt_saliency import PROMPT_SALIENCY, prompt_saliency
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.analysis import prompts_of
from groundscope.study.cells.frames import judgement, setting
from groundscope.study.cells.tables import joined, kept, statistics_cell
from groundscope.study.cells.train import Point, points_at
from groundscope.study.cells.words import SHIPPED
from groundscope.study.config import Study

SHOWN = PromptOptions(contexts=2, prompts=16, mismatches=0)
"""Enough to leaf through; spread evenly over words."""

_OURS = ("study.cells.viewer", "study.cells.analysis", "mechanism.study_prompts", "mechanism.prompt_saliency", *SHIPPED)


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell for each of a few checkpoints of each model's first seed; none where mechanism is not studied."""
    for model in study.models if study.mechanism else ():
        for point in points_at(study, model, study.seeds[0], "few"):
            yield Cell(
                name=f"viewer/{point.place}",
                code=(*_OURS, "trajectory.checkpoints"),
                settings=SHOWN.model_dump(mode="json") | setting(study),
                inputs=(Source("corpus"), Source("words"), point.weights, *judgement(study)),
                work=partial(_look, study, run, point),
            )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that joins what `cells` saw."""
    if study.mechanism is None:
        return
    code = ("study.cells.viewer", "mechanism.prompt_saliency")
    yield statistics_cell("viewer", cells(study, run), partial(_join, run), code=code, settings={})


def _look(study: Study, run: Path, point: Point, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    model, identity = point.open(study, run)
    return kept(folder, {PROMPT_SALIENCY: prompt_saliency(model, prompts_of(study, run, SHOWN), identity)})


def _join(run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    return kept(folder, {PROMPT_SALIENCY: joined(run, upstream, "viewer/", PROMPT_SALIENCY)})
