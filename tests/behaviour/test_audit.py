import numpy as np
import polars as pl
import pytest
import torch

from groundscope.behaviour.audit import (
    AUDIT,
    NEUTRAL_FRAMES,
    audit_frames,
    gain_in_neutral_frames,
    neutral_frames,
)
from groundscope.behaviour.contexts import SLOT, Context, ContextSet
from groundscope.behaviour.cooccurrence import Exposure
from groundscope.behaviour.layout import CONTEXTS, contexts_table, overlap
from groundscope.behaviour.measure import measure
from groundscope.behaviour.options import BehaviourOptions
from groundscope.behaviour.prompts import Direction, Shape
from groundscope.corpus.utterance import Channel, Utterance
from groundscope.errors import StudyError

IDENTITY = {"arch": "tiny", "seed": 1, "step": 9, "tokens_seen": 0, "weight_hash": "abc"}


def test_the_audit_is_of_the_frame_alone(model, vocabulary, nouns, contexts):
    table = audit_frames(model, vocabulary, nouns, contexts, IDENTITY)
    assert AUDIT.conform(table).equals(table)
    assert table["context"].to_list() == [context.name for context in contexts.shared]

    expected = []
    for context in contexts.shared:
        ids = vocabulary.encode([Utterance(context.speaker, Channel.LAN, context.lan, "", 0)])
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(dim=-1)
        expected.append([-float(logits[vocabulary.id(noun.form, Channel.LAN)]) for noun in nouns])
    values = np.array(expected)
    np.testing.assert_allclose(table["mean_nats"], values.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(table["spread_nats"], values.std(axis=1, ddof=1), atol=1e-5)
    assert (table["preference_nats"] <= table["spread_nats"] + 0.05).all()


def test_a_single_frame_has_no_preference_of_its_own(model, vocabulary, nouns, contexts):
    table = audit_frames(model, vocabulary, nouns, ContextSet(contexts.shared[:1]), IDENTITY)
    assert table["preference_nats"].item() == pytest.approx(0, abs=1e-9)


def test_frames_that_favour_words_can_be_left_out(model, vocabulary, nouns, contexts):
    chunks = np.random.default_rng(0).integers(0, len(vocabulary), size=(9, 30), dtype=np.int32)
    seen = Exposure.of(chunks, vocabulary, nouns).at(np.ones(9, dtype=np.int64))
    found = measure(model, vocabulary, nouns, contexts, seen, BehaviourOptions(), IDENTITY)
    audit = audit_frames(model, vocabulary, nouns, contexts, IDENTITY)
    unchanged = gain_in_neutral_frames(found.surprisal, found.gain, audit, threshold=99.0)
    np.testing.assert_allclose(unchanged["gain_nats"], found.gain["gain_nats"], atol=1e-12)
    recomputed = ("gain_nats", "match_nats", "mismatch_nats", "p_scene")
    assert unchanged.drop(recomputed).equals(found.gain.drop(recomputed))
    assert unchanged["p_scene"].is_null().all()

    threshold = audit["preference_nats"].sort()[3]
    names = audit.filter(pl.col("preference_nats") <= threshold)["context"].to_list()
    kept = ContextSet(tuple(context for context in contexts.shared if context.name in names))
    expected = measure(model, vocabulary, nouns, kept, seen, BehaviourOptions(), IDENTITY).gain
    fewer = gain_in_neutral_frames(found.surprisal, found.gain, audit, threshold)
    np.testing.assert_allclose(fewer["gain_nats"], expected["gain_nats"], atol=1e-6)
    assert fewer["n_contexts"].to_list() == expected["n_contexts"].to_list() == [4] * len(expected)

    with pytest.raises(StudyError, match="the most neutral is"):
        gain_in_neutral_frames(found.surprisal, found.gain, audit, threshold=0.0)


def test_the_most_neutral_frames_are_added_one_by_one(model, vocabulary, nouns, contexts):
    chunks = np.random.default_rng(0).integers(0, len(vocabulary), size=(9, 30), dtype=np.int32)
    seen = Exposure.of(chunks, vocabulary, nouns).at(np.ones(9, dtype=np.int64))
    found = measure(model, vocabulary, nouns, contexts, seen, BehaviourOptions(), IDENTITY)
    audit = audit_frames(model, vocabulary, nouns, contexts, IDENTITY)
    table = neutral_frames(found.surprisal, found.gain, audit, resamples=100)
    assert NEUTRAL_FRAMES.conform(table).equals(table)
    assert table.height == 2 * len(contexts.shared)
    forward = table.filter(direction="env2lan").sort("n_contexts")
    assert forward["within_nats"].to_list() == sorted(audit["preference_nats"])
    for row in forward.iter_rows(named=True):
        fewer = gain_in_neutral_frames(found.surprisal, found.gain, audit, row["within_nats"])
        assert row["gain_nats"] == pytest.approx(fewer.filter(direction="env2lan")["gain_nats"].mean(), abs=1e-9)

    own = ContextSet(contexts.shared[1:], {"horse": contexts.shared[:1]})
    found = measure(model, vocabulary, nouns, own, seen, BehaviourOptions(), IDENTITY)
    audit = audit_frames(model, vocabulary, nouns, own, IDENTITY)
    assert neutral_frames(found.surprisal, found.gain, audit).is_empty()


def test_overlap_equals_a_plain_search():
    chunks = np.random.default_rng(0).integers(0, 6, size=(40, 25), dtype=np.int32)
    frames = [[1, 2, 3, 4, 5], [0, 0, 0], [5], [4, 9, 4]]
    longest, counts = overlap(chunks, frames)
    for frame, found, count in zip(frames, longest, counts, strict=True):
        runs = {tuple(frame[a:b]) for a in range(len(frame)) for b in range(a + 1, len(frame) + 1)}
        windows = {
            size: [tuple(row[at : at + size]) for row in chunks.tolist() for at in range(25 - size + 1)]
            for size in range(1, len(frame) + 1)
        }
        assert found == max((len(run) for run in runs if run in set(windows[len(run)])), default=0)
        assert count == windows[len(frame)].count(tuple(frame))


def test_a_run_never_crosses_from_one_chunk_to_the_next():
    chunks = np.array([[9, 9, 1], [2, 9, 9]], dtype=np.int32)
    longest, counts = overlap(chunks, [[1, 2]])
    assert (longest[0], counts[0]) == (1, 0)


def test_where_everything_stands(vocabulary, nouns, contexts):
    own = Context("horse/ride", "MOT", ("looks", "at", "the", SLOT, "again"), ("look", "at", "the"))
    every = ContextSet(contexts.shared, {"horse": (own,)})
    look, at, the = (vocabulary.id(word, Channel.LAN) for word in ("look", "at", "the"))
    chunks = np.array([[0, look, at, the], [look, at, the, 0], [0, 0, at, the]], dtype=np.int32)
    table = contexts_table(every, vocabulary, nouns, chunks, Direction, Shape)
    assert CONTEXTS.conform(table).equals(table)
    assert table.height == 15 * len(Direction) * len(Shape)
    row = table.row(
        by_predicate=(pl.col("word") == "horse") & (pl.col("direction") == "env2lan") & (pl.col("shape") == "plain"),
        named=True,
    )
    assert row["context"] == "horse/ride"
    assert (row["length"], row["cue_position"], row["distance"]) == (10, 4, 6)
    assert (row["distractors"], row["unknown_share"]) == (0, 0)
    assert (row["frame"], row["frame_count"], row["frame_overlap"]) == ("look at the", 2, 1)
    single = table.row(
        by_predicate=(pl.col("word") == "horse")
        & (pl.col("direction") == "env2lan")
        & (pl.col("shape") == "single_word"),
        named=True,
    )
    assert (single["length"], single["cue_position"]) == (6, 1)


def test_distractors_are_counted(vocabulary, nouns):
    crowded = ContextSet((Context("x", "CHI", ("the", "cup", "and", "the", SLOT), ("look", "at", "the")),))
    table = contexts_table(crowded, vocabulary, nouns, np.zeros((1, 3), dtype=np.int32))
    assert table["distractors"].item() == 1
    assert table["frame_count"].item() == 0
