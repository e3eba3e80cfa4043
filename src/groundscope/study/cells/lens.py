"""Cells `lens/MODEL/seed-S/step-N`: what each layer of one checkpoint says about the words; `statistics/lens`: all."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import polars as pl

from groundscope.corpus.chunks import Corpus
from groundscope.files import sha256_file
from groundscope.mechanism.conclusions import LENS_CONCLUSIONS, lens_conclusions
from groundscope.mechanism.head_tables import Identity
from groundscope.mechanism.lens import Lens
from groundscope.mechanism.lens_files import PARAMS, load_lens, save_lens
from groundscope.mechanism.lens_study import FittedLenses, fit_lenses, read_lenses
from groundscope.mechanism.lens_table import LENS, LENS_FIT, lens_fit_table
from groundscope.models.base import LanguageModel
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.analysis import prompts_of, weighing
from groundscope.study.cells.frames import judgement, setting
from groundscope.study.cells.tables import joined, kept, statistics_cell
from groundscope.study.cells.train import Point, all_points_at
from groundscope.study.cells.words import SHIPPED
from groundscope.study.config import Study

_OURS = ("study.cells.lens", "study.cells.analysis")
MEASURES = (*_OURS, "mechanism.study_prompts", "mechanism.lens_study", "trajectory.checkpoints", *SHIPPED)
WEIGHS = (*_OURS, "mechanism.conclusions")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield one cell per checkpoint that is asked for; none where the study has no lens.

    Raises StudyError for a step that is no checkpoint.
    """
    options = study.lens
    if options is None:
        return
    for points in all_points_at(study, options.at, "lens.at"):
        for before, point in zip((None, *points), points, strict=False):
            begins_with = before if options.start == "previous" else None
            earlier = () if begins_with is None else (Source(f"lens/{begins_with.place}", "lenses"),)
            yield Cell(
                name=f"lens/{point.place}",
                code=MEASURES,
                settings=options.model_dump(mode="json", exclude={"at"}) | setting(study),
                inputs=(Source("corpus"), Source("words"), point.weights, *earlier, *judgement(study)),
                work=partial(_read, study, run, point, begins_with),
            )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cell that joins what `cells` read."""
    yield from joining(study, run, cells(study, run))


def joining(study: Study, run: Path, measured: Iterable[Cell]) -> Iterator[Cell]:
    """Yield the cell that joins and weighs what the cells ``measured`` read; none where the study has no lens."""
    if study.lens is None:
        return
    work = partial(_weigh, study, run)
    yield statistics_cell("lens", measured, work, code=WEIGHS, settings=weighing(study))


def _read(
    study: Study, run: Path, point: Point, before: Point | None, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    options = study.lens
    assert options is not None
    model, identity = point.open(study, run)
    prompts = prompts_of(study, run, options.prompts)
    starts = earlier_lenses(study, run, before)
    fitted = fit_lenses(model, Corpus.open(run / "corpus").chunks, options, starts)
    table = read_lenses(model, fitted.lenses, prompts.groups, prompts.words, identity)
    return keep_lenses(folder, point, model, fitted, table, identity)


def earlier_lenses(study: Study, run: Path, before: Point | None) -> dict[str, Lens]:
    """Return the lenses that the checkpoint ``before`` left, by kind; none without one."""
    if before is None or study.lens is None:
        return {}
    earlier, _ = before.open(study, run)  # a lens is read with the model that it was made for
    kinds = [kind for kind in study.lens.kinds if kind != "logit"]
    return {kind: load_lens(run / "lens" / before.place / kind, earlier) for kind in kinds}


def keep_lenses(
    folder: Path,
    point: Point,
    model: LanguageModel,
    fitted: FittedLenses,
    table: pl.DataFrame,
    identity: Identity,
) -> Digests:
    """Write the lenses of one checkpoint, what was read through them (table `LENS`), and how well they fit."""
    for kind, lens in fitted.trained.items():
        notes = {"weight_hash": identity["weight_hash"], "step": point.step}
        save_lens(folder / kind, lens, model, base_model=point.model, revision=f"step{point.step}", notes=notes)
    tables = kept(folder, {LENS: table, LENS_FIT: lens_fit_table(fitted.fits, identity)})
    return {**tables, "lenses": " ".join(sha256_file(folder / kind / PARAMS) for kind in fitted.trained)}


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    lens = joined(run, upstream, "lens/", LENS)
    return kept(
        folder,
        {
            LENS: lens,
            LENS_FIT: joined(run, upstream, "lens/", LENS_FIT),
            LENS_CONCLUSIONS: lens_conclusions(lens, **weighing(study)),
        },
    )
