"""A study as cells: corpus, words, train[model, seed], behaviour[model, seed, checkpoint], tables, report."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from groundscope.files import sha256_file
from groundscope.study import work
from groundscope.study.cell import Cell, Source
from groundscope.study.config import BuiltSource, Study
from groundscope.study.work import WritePage
from groundscope.training.config import FREE_TO_CHANGE
from groundscope.training.schedule import checkpoint_steps

FOUNDATION = ("errors", "files", "tables")
CORPUS_ROOMS = (*FOUNDATION, "corpus")
TRAIN_ROOMS = ("models", "training")
BEHAVIOUR_ROOMS = (*FOUNDATION, "behaviour", "corpus", "data", "models", "statistics", "training/order", "trajectory")
TABLE_ROOMS = (*FOUNDATION, "behaviour", "statistics")


def plan(study: Study, run: Path, write_page: WritePage) -> list[Cell]:
    """The cells of ``study`` in an order in which each stands behind what it reads.

    ``write_page`` comes from the floor above, which this one may not import.
    """
    return [
        *_corpus(study),
        *_words(study, run),
        *_models(study, run),
        *_tables(study, run),
        *_report(study, run, write_page),
    ]


def _corpus(study: Study) -> Iterator[Cell]:
    settings = study.corpus.model_dump(mode="json", exclude={"paths", "path"})
    yield Cell(
        name="corpus",
        rooms=CORPUS_ROOMS,
        settings=settings,
        files=_hashes(study),
        work=partial(work.build, study),
    )


def _words(study: Study, run: Path) -> Iterator[Cell]:
    yield Cell(
        name="words",
        rooms=(*FOUNDATION, "behaviour", "data"),
        settings=study.behaviour.model_dump(mode="json"),
        inputs=(Source("corpus"),),
        files=_context_file(study),
        work=partial(work.choose_words, study, run),
    )


def _models(study: Study, run: Path) -> Iterator[Cell]:
    for model in study.models:
        config = study.training_of(model)
        for seed in study.seeds:
            trained = f"train/{model}/seed-{seed}"
            yield Cell(
                name=trained,
                rooms=TRAIN_ROOMS,
                settings={
                    "model": study.models[model].model_dump(mode="json", exclude={"training"}),
                    "training": config.model_dump(mode="json", exclude=set(FREE_TO_CHANGE)),
                    "seed": seed,
                },
                inputs=(Source("corpus", "chunks"),),
                after=("words",),  # a study whose words never reach the count must not train first
                work=partial(work.train_model, study, run, model, seed),
                resumable=True,
            )
            for step in checkpoint_steps(config.checkpoints, config.steps):
                yield Cell(
                    name=f"behaviour/{model}/seed-{seed}/step-{step:08d}",
                    rooms=BEHAVIOUR_ROOMS,
                    settings=study.behaviour.model_dump(mode="json"),
                    inputs=(Source("corpus"), Source("words"), Source(trained, f"step-{step:08d}")),
                    work=partial(work.measure_behaviour, study, run, model, seed, step),
                )


def _tables(study: Study, run: Path) -> Iterator[Cell]:
    measured = list(_models(study, run))
    yield Cell(
        name="tables",
        rooms=TABLE_ROOMS,
        settings=study.statistics.model_dump(mode="json"),
        inputs=tuple(Source(cell.name, "loss" if cell.kind == "train" else "") for cell in measured),
        work=partial(work.gather_tables, study, run),
        tolerant=True,
    )


def _report(study: Study, run: Path, write_page: WritePage) -> Iterator[Cell]:
    yield Cell(
        name="report",
        rooms=(*FOUNDATION, "report"),
        settings=study.model_dump(mode="json"),
        inputs=(Source("corpus"), Source("words"), Source("tables")),
        work=partial(work.write_report, study, run, write_page),
    )


def _hashes(study: Study) -> Mapping[str, str]:
    """Content hashes of the files that the corpus is read from; a folder's is that of its files."""
    if isinstance(study.corpus, BuiltSource):
        return work.hash_paths([path / "card.json" for path in work.sources(study)])
    return work.hash_paths(work.sources(study))


def _context_file(study: Study) -> Mapping[str, str]:
    path = work.context_file(study.behaviour)
    return {"contexts": sha256_file(path)} if path and path.is_file() else {}
