"""Cells of a study of pictures: what is measured of each checkpoint.

Behaviour is match against mismatch by repainted pictures: of what training showed in the tables of text (`surprisal`,
`gain`), and of all in `pictures`. Mechanism is the same as in text, with the patches inside the box for the scene word.
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
from groundscope.behaviour.picture_worlds import PictureTest
from groundscope.behaviour.pictures import PICTURES, exchange_p, pictures_table, read_pictures
from groundscope.behaviour.prompts import Direction
from groundscope.behaviour.readings import Comparison, Readings
from groundscope.behaviour.words import WORDS, Word
from groundscope.corpus.utterance import Channel
from groundscope.mechanism.measure import MechanismOptions, measure
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.mechanism import final_first, heads_of, read_heads, weighed
from groundscope.study.cells.seeing_checkpoint import open_checkpoint
from groundscope.study.cells.seeing_train import cells as train_cells
from groundscope.study.cells.seeing_train import points, points_at, trainings
from groundscope.study.cells.tables import joined, kept, statistics_cell, training_cells
from groundscope.study.cells.train import Point
from groundscope.study.config import PicturesSource, Study
from groundscope.tables import read_table

_MEASURES = ("study.cells.seeing", "study.cells.seeing_corpus", "behaviour.pictures", "behaviour.measure")


def cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cells that measure checkpoints: behaviour at all, mechanism where the study asks for it."""
    assert isinstance(study.corpus, PicturesSource)
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
        for point, final in final_first(points_at(study, model, encoder, seed, study.mechanism.at, "mechanism.at")):
            yield Cell(
                name=f"mechanism/{point.place}",
                code=(*_MEASURES, "study.cells.mechanism", "mechanism.measure"),
                settings={**tested, "options": _mechanism_options(study).model_dump(mode="json")},
                inputs=(Source("corpus"), bank, point.weights, *heads_of(final)),
                work=partial(_mechanism, study, run, point, encoder, final),
            )


def statistics_cells(study: Study, run: Path) -> Iterator[Cell]:
    """Yield the cells that join and weigh what was measured."""
    measured = list(cells(study, run))
    settings = study.statistics.model_dump(mode="json")
    for room, work, code in (
        ("behaviour", _weigh, ("behaviour.evidence", "behaviour.conclusions")),
        ("mechanism", _join, ("study.cells.mechanism", "mechanism.causal_table", "mechanism.conclusions")),
    ):
        if mine := [cell for cell in measured if cell.kind == room]:
            yield statistics_cell(
                room,
                mine,
                partial(work, study, run),
                code=("study.cells.seeing", *code),
                settings={**settings, "negligible_nats": study.mechanism and study.mechanism.negligible_nats},
                also=(Source("words"),),
            )
    yield from training_cells(run, train_cells(study, run))


def _mechanism_options(study: Study) -> MechanismOptions:
    """The study's options of mechanism, with the criterion of pictures."""
    assert study.mechanism is not None
    assert isinstance(study.corpus, PicturesSource)
    return MechanismOptions(
        criterion=study.corpus.criterion, causal=study.mechanism.causal, compare=study.mechanism.compare
    )


def _behaviour(
    study: Study, run: Path, point: Point, encoder: str, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    _, corpus, model, identity, prompts = open_checkpoint(study, run, point, encoder)
    found = read_pictures(model, prompts)
    facts = {**identity, "encoder": corpus.eye(encoder), "projector": model.config.projector}
    words = corpus.words
    readings, compared = _as_text(corpus.tests, found.match, found.mismatch, tuple(corpus.categories))
    lan = occurrences(corpus.chunks, np.array([corpus.vocabulary.id(word.form, Channel.LAN) for word in words]))
    exposure = Exposure(*(part.astype(np.float32) for part in (corpus.shown & (lan > 0), corpus.shown, lan)))
    seen = exposure.at(point.trajectory(run).order.seen(point.step))
    who = {**identity, "direction": Direction.ENV2LAN.value}
    return kept(
        folder,
        {
            PICTURES: pictures_table(found, corpus.tests, facts),
            SURPRISAL: _surprisal_table(readings, words, who),
            GAIN: gain_table(readings, words, compared, seen, who),
        },
    )


def _as_text(
    tests: list[PictureTest], match: np.ndarray, mismatch: np.ndarray, words: tuple[str, ...]
) -> tuple[Readings, Comparison]:
    """Put the tests of what training showed into the form of text: one row per picture (context) and word."""
    rows = np.array([row for row, test in enumerate(tests) if not test.held_out], dtype=np.int64)
    shown, match, mismatch = [tests[row] for row in rows], match[rows], mismatch[rows]
    place = {word: number for number, word in enumerate(words)}
    own = np.array([place[test.word] for test in shown], dtype=np.int64)
    p = np.empty(len(rows))
    for word in np.unique(own):
        p[own == word] = exchange_p((mismatch - match)[own == word])
    others = np.zeros((len(words), len(words)), dtype=bool)
    for test in shown:
        others[place[test.word], [place[other] for other in test.instead]] = True
    readings = Readings([test.name for test in shown], own, match, mismatch, p)
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
    _, corpus, model, identity, prompts = open_checkpoint(study, run, point, encoder)
    names = {corpus.vocabulary.id(word, Channel.LAN): word for word in corpus.categories}
    found = measure(model, prompts, _mechanism_options(study), identity, final=read_heads(run, final), words=names)
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
    return kept(folder, weighed(study, run, upstream))
