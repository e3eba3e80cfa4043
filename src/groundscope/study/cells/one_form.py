"""Cells `one_form/...`: the corpus with one form for scene and speech, models trained on it, their behaviour.

`statistics/one_form` sets their G beside that of the study's own models. Words, frames, seeds and updates are the same,
so that the two differ in nothing but the split.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from groundscope.behaviour.measure import GAIN, SURPRISAL, comparison, measure
from groundscope.behaviour.one_form import ONE_FORM, one_form_table
from groundscope.behaviour.prompts import Direction
from groundscope.corpus.chunks import Corpus
from groundscope.corpus.one_form import one_form
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.behaviour import MEASURED, MEASURES, seen_by, weighed
from groundscope.study.cells.corpus import CHUNKS
from groundscope.study.cells.frames import gain_of_branch, judgement, setting
from groundscope.study.cells.tables import kept, statistics_cell
from groundscope.study.cells.train import Point, points_at, training_cell
from groundscope.study.cells.words import chosen
from groundscope.study.config import Study

BRANCH = "one_form/"


def corpus_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that writes the corpus; none where the study does not ask."""
    if study.one_form:
        code = ("study.cells.one_form", "corpus.one_form")
        yield Cell(f"{BRANCH}corpus", code=code, settings={}, inputs=(Source("corpus"),), work=partial(_merge, run))


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield, for each model and seed, a training and a measurement of each of its checkpoints."""
    for points in _points(study):
        config = study.training_of(points[0].model)
        kept_steps = config.model_copy(update={"checkpoints": tuple(point.step for point in points)})
        yield training_cell(study, run, points[0].training, kept_steps)
        for point in points:
            yield Cell(
                name=f"{BRANCH}behaviour/{point.place}",
                code=(*MEASURES, "study.cells.one_form"),
                settings=study.behaviour.model_dump(mode="json", include=MEASURED - {"kinds", "directions"}),
                inputs=(Source("corpus"), Source("words"), Source(point.training.corpus), point.weights),
                work=partial(_measure, study, run, point),
            )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that sets one form beside two."""
    if study.one_form is None:
        return
    measured = [cell for cell in cells(study, run) if "/behaviour/" in cell.name]
    yield statistics_cell(
        "one_form",
        measured,
        partial(_weigh, study, run),
        code=("study.cells.one_form", "behaviour.one_form"),
        settings={**study.statistics.model_dump(mode="json"), **setting(study)},
        also=(Source("statistics/behaviour", GAIN.name), *judgement(study)),
    )


def _points(study: Study) -> list[list[Point]]:
    """The checkpoints of every training with one form."""
    if study.one_form is None:
        return []
    at = study.one_form.at
    trainings = chain.from_iterable(((model, seed) for seed in study.seeds) for model in study.one_form_models)
    return [
        [point._replace(branch=BRANCH) for point in points_at(study, model, seed, at, "one_form.at")]
        for model, seed in trainings
    ]


def _merge(run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    merged = one_form(Corpus.open(run / "corpus"), folder)
    return {"": merged.card.content_hash, CHUNKS: merged.card.content_hash}


def _measure(study: Study, run: Path, point: Point, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = Corpus.open(run / "corpus")
    words, contexts = chosen(study, corpus)
    model, identity = point.open(study, run)
    seen = seen_by(study, run, point, words, counted_in="corpus")
    options = study.behaviour.model_copy(update={"directions": (Direction.ENV2LAN,)})
    vocabulary, compared = corpus.vocabulary.in_one_form(), comparison(words, corpus.vocabulary, options)
    found = measure(model, vocabulary, words, contexts, seen, options, identity, compared)
    return kept(folder, {SURPRISAL: found.surprisal, GAIN: found.gain})


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    gain = gain_of_branch(study, run, upstream, BRANCH)
    two = weighed(run, GAIN).filter(kind=study.behaviour.kind.value)
    return kept(folder, {ONE_FORM: one_form_table(gain, two, **study.statistics.model_dump())})
