"""Cells `ablation/DOSE/...`: a corpus without some of its co-occurrence, models trained on it, their behaviour.

`statistics/ablation` sets G against the share removed. Nothing removed is the study itself, which is not run again.
The words and frames are those of the whole corpus; where frames that favour words are left out, they are those that the
study itself leaves out, so that doses differ in nothing but what was removed. The number of updates stays, so that what
is left is read more often.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from groundscope.behaviour.dose import DOSE, dose
from groundscope.behaviour.dose_tests import DOSE_CONCLUSIONS, dose_conclusions
from groundscope.behaviour.options import AblationStudy
from groundscope.corpus.ablation import Ablation, ablate, dose_name, doses
from groundscope.corpus.arms import Arm
from groundscope.corpus.chunks import Corpus
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.behaviour import behaviour_cell
from groundscope.study.cells.corpus import CHUNKS
from groundscope.study.cells.frames import gain_of_branch, judgement
from groundscope.study.cells.tables import kept, statistics_cell
from groundscope.study.cells.train import Point, points_at, training_cell
from groundscope.study.cells.words import chosen
from groundscope.study.config import Study


def corpus_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield a corpus per dose; they come before all trainings, for a dose that cannot be made ends the study."""
    for arm, percent in _removals(study):
        yield Cell(
            name=f"{_branch(arm, percent)}corpus",
            code=("study.cells.ablation", "corpus.ablation"),
            settings={"arm": arm, "percent": percent, "seed": _options(study).seed},
            inputs=(Source("corpus"), Source("words")),
            work=partial(_ablate, study, run, arm, percent),
        )


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield, for each dose, model and seed, a training and a measurement of each of its checkpoints."""
    for arm, percent in _removals(study):
        for model in study.ablated_models:
            for seed in study.seeds:
                points = _points(study, model, seed, _branch(arm, percent))
                config = study.training_of(model).model_copy(
                    update={"checkpoints": tuple(point.step for point in points)}
                )
                yield training_cell(study, run, points[0].training, config)
                yield from (behaviour_cell(study, run, point) for point in points)


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that sets G against the share removed."""
    if study.ablation is None:
        return
    removed = [cell for cell in (*corpus_cells(study, run), *cells(study, run)) if "/train/" not in cell.name]
    whole = [behaviour_cell(study, run, point) for point in _whole(study)] if 0 in study.ablation.remove else []
    within = study.behaviour.neutral_within
    yield statistics_cell(
        "ablation",
        [*removed, *whole],
        partial(_weigh, study, run),
        code=("study.cells.ablation", "behaviour.dose", "behaviour.dose_tests"),
        settings={
            "statistics": study.statistics.model_dump(mode="json"),
            "ablation": study.ablation.model_dump(mode="json"),
            "kind": study.behaviour.kind,
            "neutral_within": within,
        },
        also=(Source("corpus"), Source("words"), *judgement(study)),
    )


def _options(study: Study) -> AblationStudy:
    assert study.ablation is not None
    return study.ablation


def _removals(study: Study) -> list[tuple[Arm, int]]:
    """The doses that take something away."""
    if study.ablation is None:
        return []
    return [(arm, percent) for arm, percent in doses(study.ablation.remove, study.ablation.arms) if percent]


def _branch(arm: Arm, percent: int) -> str:
    return f"ablation/{dose_name(arm, percent)}/"


def _points(study: Study, model: str, seed: int, branch: str) -> list[Point]:
    return [point._replace(branch=branch) for point in points_at(study, model, seed, _options(study).at, "ablation.at")]


def _whole(study: Study) -> list[Point]:
    """The checkpoints of the study itself that stand for nothing removed."""
    return [p for model in study.ablated_models for seed in study.seeds for p in _points(study, model, seed, "")]


def _ablate(
    study: Study, run: Path, arm: Arm, percent: int, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    corpus = Corpus.open(run / "corpus")
    left = ablate(corpus, _words(study, corpus), folder, share=percent / 100, arm=arm, seed=_options(study).seed)
    done = Ablation.of(left)
    assert done is not None
    progress.say(
        f"  {left.card.chunks:,} of {corpus.card.chunks:,} chunks left, {done.cooccurring_left:,} of "
        f"{done.cooccurring:,} co-occurring ones."
    )
    return {"": left.card.content_hash, CHUNKS: left.card.content_hash}


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    parts: list[tuple[Ablation, pl.DataFrame]] = []
    for arm, percent in _removals(study):
        gain = gain_of_branch(study, run, upstream, _branch(arm, percent))
        removed = Ablation.of(Corpus.open(run / _branch(arm, percent) / "corpus"))
        assert removed is not None
        parts.append((removed, gain))
    if 0 in _options(study).remove:
        corpus = Corpus.open(run / "corpus")
        gain = gain_of_branch(study, run, upstream, "")
        options, words = _options(study), _words(study, corpus)
        nothing = Ablation.of_nothing(corpus, words, options.arms[0], options.seed)
        parts += [(nothing.model_copy(update={"arm": arm}), gain) for arm in options.arms]
    weighing = study.statistics.model_dump()
    tested = dose_conclusions(parts, **study.statistics.model_dump(exclude={"resamples"}))
    return kept(folder, {DOSE: dose(parts, **weighing), DOSE_CONCLUSIONS: tested})


def _words(study: Study, corpus: Corpus) -> list[str]:
    words, _ = chosen(study, corpus)
    return [word.form for word in words]
