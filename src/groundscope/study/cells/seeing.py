"""Cells of a study of pictures: what is measured of each checkpoint.

Behaviour is match against mismatch by repainted pictures, in the tables of text (`surprisal`, `gain`) and, per style of
drawing, in `pictures`. Mechanism is the same as in text, with the patches inside the box for the scene word.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.cooccurrence import Exposure, occurrences
from groundscope.behaviour.evidence import EVIDENCE, evidence
from groundscope.behaviour.measure import GAIN, SURPRISAL, gain_table
from groundscope.behaviour.pictures import (
    PICTURES,
    PictureTest,
    by_word,
    picture_prompts,
    pictures_table,
    read_pictures,
)
from groundscope.behaviour.prompts import Direction
from groundscope.behaviour.readings import Comparison, Readings
from groundscope.behaviour.words import WORDS, Word
from groundscope.corpus.utterance import Channel
from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_FAMILY, CAUSAL_WORDS, adjust_over_checkpoints
from groundscope.mechanism.conclusions import MECHANISM_CONCLUSIONS, mechanism_conclusions
from groundscope.mechanism.head_tables import HEADS_FOUND
from groundscope.mechanism.measure import TABLES, MechanismOptions, measure
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.seeing_corpus import PictureCorpus, tests_of, words_of
from groundscope.study.cells.seeing_train import cells as train_cells
from groundscope.study.cells.seeing_train import opened, points, points_at, trainings
from groundscope.study.cells.tables import joined, kept
from groundscope.study.cells.train import LOSS_PART, Point
from groundscope.study.config import ScenesSource, Study
from groundscope.tables import read_table
from groundscope.training.metrics import LOSS

_MEASURES = ("study.cells.seeing", "study.cells.seeing_corpus", "behaviour.pictures", "behaviour.measure")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cells that measure checkpoints: behaviour at all, mechanism where the study asks for it."""
    assert isinstance(study.corpus, ScenesSource)
    tested = {"tests": study.corpus.tests.model_dump(mode="json")}
    for model, encoder, seed in trainings(study):
        bank = Source("corpus", f"tests-{encoder}")
        for point in points(study, model, encoder, seed):
            yield Cell(
                name=f"behaviour/{point.place}",
                code=_MEASURES,
                settings=tested,
                inputs=(Source("corpus"), Source("words"), bank, point.weights),
                work=partial(_behaviour, study, run, point, encoder),
            )
        if study.mechanism is None:
            continue
        *earlier, final = points_at(study, model, encoder, seed, study.mechanism.at, "mechanism.at")
        for point in (final, *earlier):
            followed = () if point is final else (Source(f"mechanism/{final.place}", HEADS_FOUND.name),)
            yield Cell(
                name=f"mechanism/{point.place}",
                code=(*_MEASURES, "mechanism.measure"),
                settings={**tested, "options": _mechanism_options(study).model_dump(mode="json")},
                inputs=(Source("corpus"), bank, point.weights, *followed),
                work=partial(_mechanism, study, run, point, encoder, None if point is final else final),
            )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cells that join and weigh what was measured."""
    measured = list(cells(study, run))
    weighing = study.statistics.model_dump(mode="json")
    for room, work, code in (
        ("behaviour", _weigh, ("behaviour.evidence", "behaviour.conclusions")),
        ("mechanism", _join, ("mechanism.causal_table", "mechanism.conclusions")),
    ):
        mine = tuple(Source(cell.name) for cell in measured if cell.kind == room)
        if mine:
            yield Cell(
                name=f"statistics/{room}",
                code=("study.cells.seeing", *code),
                settings={**weighing, "negligible_nats": study.mechanism and study.mechanism.negligible_nats},
                inputs=(Source("words"), *mine),
                after=("words",),
                work=partial(work, study, run),
                tolerant=True,
            )
    yield Cell(
        name="statistics/training",
        code=("study.cells.tables", "tables"),
        settings={},
        inputs=tuple(Source(cell.name, LOSS_PART) for cell in train_cells(study, run)),
        work=partial(_losses, run),
        tolerant=True,
    )


def _mechanism_options(study: Study) -> MechanismOptions:
    """The study's options of mechanism, with the criterion of pictures."""
    assert study.mechanism is not None
    assert isinstance(study.corpus, ScenesSource)
    return MechanismOptions(
        criterion=study.corpus.criterion, causal=study.mechanism.causal, compare=study.mechanism.compare
    )


def _behaviour(
    study: Study, run: Path, point: Point, encoder: str, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    source, corpus = study.corpus, PictureCorpus.open(run)
    assert isinstance(source, ScenesSource)
    world, tests = tests_of(study)
    model, identity = opened(run, point, encoder, corpus)
    patches = corpus.looks(encoder, source.scenes.side)
    groups = picture_prompts(tests, corpus.vocabulary, patches, inside=source.tests.inside)
    found = read_pictures(model, groups)
    facts = {**identity, "encoder": corpus.eye(encoder), "projector": model.config.projector}
    words = words_of(study, corpus.words)
    trained = np.array([test.style != source.scenes.held_out for test in tests])
    readings, compared = _as_text(tests, trained, found.match, found.mismatch, corpus.words)
    lan = occurrences(corpus.chunks, np.array([corpus.vocabulary.id(word, Channel.LAN) for word in corpus.words]))
    exposure = Exposure(*(part.astype(np.float32) for part in (corpus.shown & (lan > 0), corpus.shown, lan)))
    seen = exposure.at(point.trajectory(run).order.seen(point.step))
    who = {**identity, "direction": Direction.ENV2LAN.value}
    return kept(
        folder,
        {
            PICTURES: pictures_table(found, tests, world.options.held_out, facts),
            SURPRISAL: _surprisal_table(readings, words, who),
            GAIN: gain_table(readings, words, compared, seen, who),
        },
    )


def _as_text(
    tests: list[PictureTest], trained: np.ndarray, match: np.ndarray, mismatch: np.ndarray, words: tuple[str, ...]
) -> tuple[Readings, Comparison]:
    """Put the tests in the styles of the training into the form of text: one row per picture (context) and word."""
    place = {word: number for number, word in enumerate(words)}
    own = np.array([place[test.word] for test in tests])
    p = np.ones(len(tests))
    for _, _, chosen in by_word(tests):
        gains = mismatch[chosen] - match[chosen]
        signs = 1 - 2 * ((np.arange(2 ** len(gains))[:, None] >> np.arange(len(gains))) & 1)
        p[chosen] = (signs @ gains >= gains.sum() - 1e-12).mean()  # all exchanges of match and mismatch
    others = np.zeros((len(words), len(words)), dtype=bool)
    for test in tests:
        for scene in test.mismatches:
            others[place[test.word], place[scene.things[0].word]] = True
    names = [test.match.name for test in tests]
    rows = np.flatnonzero(trained)
    readings = Readings([names[row] for row in rows], own[rows], match[rows], mismatch[rows], p[rows])
    return readings, Comparison(np.arange(len(words)), others)


def _surprisal_table(readings: Readings, words: list[Word], who: dict[str, Any]) -> pl.DataFrame:
    return SURPRISAL.frame(
        [
            {
                **who,
                "context": context,
                "word": words[word].form,
                "kind": words[word].kind.value,
                "condition": condition,
                "surprisal_nats": float(nats),
            }
            for condition, values in (("match", readings.match), ("mismatch", readings.mismatch))
            for context, word, nats in zip(readings.context, readings.word, values, strict=True)
        ]
    )


def _mechanism(
    study: Study,
    run: Path,
    point: Point,
    encoder: str,
    final: Point | None,
    folder: Path,
    progress: Progress,
    upstream: Upstream,
) -> Digests:
    source, corpus = study.corpus, PictureCorpus.open(run)
    assert isinstance(source, ScenesSource)
    _, tests = tests_of(study)
    model, identity = opened(run, point, encoder, corpus)
    patches = corpus.looks(encoder, source.scenes.side)
    groups = picture_prompts(tests, corpus.vocabulary, patches, inside=source.tests.inside)
    earlier = None
    if final is not None:
        earlier = read_table(run / "mechanism" / final.place / f"{HEADS_FOUND.name}.parquet", HEADS_FOUND)
    names = {corpus.vocabulary.id(word, Channel.LAN): word for word in corpus.words}
    found = measure(model, groups, _mechanism_options(study), identity, final=earlier, words=names)
    return kept(folder, found.by_schema())


def _weigh(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    gain = joined(run, upstream, "behaviour/", GAIN)
    weighing = study.statistics.model_dump()
    return kept(
        folder,
        {
            SURPRISAL: joined(run, upstream, "behaviour/", SURPRISAL),
            GAIN: gain,
            PICTURES: joined(run, upstream, "behaviour/", PICTURES),
            EVIDENCE: evidence(gain, **weighing),
            CONCLUSIONS: conclusions(gain, **weighing),
            WORDS: read_table(run / "words" / "words.parquet", WORDS),
        },
    )


def _join(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    tables: dict[Any, pl.DataFrame] = {schema: joined(run, upstream, "mechanism/", schema) for schema in TABLES}
    if len(tables[CAUSAL]):
        tables[CAUSAL] = adjust_over_checkpoints([tables[CAUSAL]], CAUSAL_FAMILY)
    assert study.mechanism is not None
    drawn = mechanism_conclusions(
        tables[CAUSAL],
        tables[CAUSAL_WORDS],
        negligible_nats=study.mechanism.negligible_nats,
        confidence=study.statistics.confidence,
        seed=study.statistics.seed,
    )
    return kept(folder, {**tables, MECHANISM_CONCLUSIONS: drawn})


def _losses(run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    return kept(folder, {LOSS: joined(run, upstream, "train/", LOSS)})
