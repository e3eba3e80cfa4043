import numpy as np
import polars as pl
import pytest

from groundscope.behaviour.contexts import SLOT, Context, ContextSet, load_contexts
from groundscope.behaviour.controls import CONTROL_EVIDENCE, CONTROLS, control_evidence, measure_controls
from groundscope.behaviour.cooccurrence import Exposure
from groundscope.behaviour.measure import measure
from groundscope.behaviour.options import BehaviourOptions, Control
from groundscope.behaviour.prompts import FILLER, Direction, Shape, render
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import StudyError
from groundscope.models import build, preset

IDENTITY = {"arch": "tiny", "seed": 1, "step": 0, "tokens_seen": 0, "weight_hash": "abc"}
CONTEXT = Context("pick", "CHI", ("picks", "up", "the", SLOT, "again"), ("i", "like", "this"))


@pytest.fixture(scope="module")
def speaking(vocabulary):
    """The usual vocabulary with the held-out frames' words and the remark's."""
    said = {word for context in load_contexts(held_out=True).all() for word in context.lan} | set(FILLER)
    shown = {word for context in load_contexts(held_out=True).all() for word in context.env if word != SLOT}
    words = {(form, Channel(channel)): n for form, channel, n in vocabulary.to_json()["words"]}
    words |= {(word, Channel.LAN): 10 for word in said} | {(word, Channel.ENV): 10 for word in shown}
    return Vocabulary.from_counts(documents=1, speakers={"CHI": 9, "MOT": 9}, words=words)


@pytest.fixture(scope="module")
def exposure(speaking, nouns):
    chunks = np.random.default_rng(0).integers(0, len(speaking), size=(60, 64), dtype=np.int32)
    return Exposure.of(chunks, speaking, nouns)


@pytest.fixture(scope="module")
def tiny_model(speaking):
    return build(preset("transformer-4", len(speaking), n_layers=2, d_model=32), seed=1).eval()


def spell(shape, vocabulary):
    prompts = render(CONTEXT, ["horse", "cow"], vocabulary, Direction.ENV2LAN, shape)
    assert vocabulary.tokens[prompts.ids[0, prompts.slot]] == "horse<ENV>"
    return " ".join(vocabulary.tokens[number].split("<")[0] or "|" for number in prompts.ids[0]), prompts


def test_shapes_of_prompts(speaking):
    plain, usual = spell(Shape.PLAIN, speaking)
    assert plain == "| picks up the horse again | i like this"
    assert spell(Shape.SINGLE_WORD, speaking)[0] == "| horse | i like this"
    assert spell(Shape.FILLER_FIRST, speaking)[0] == f"| {' '.join(FILLER)} {plain}"
    distant, prompts = spell(Shape.DISTANT, speaking)
    remarks = f"| {' '.join(FILLER)} " * 3
    assert distant == f"| picks up the horse again {remarks}| i like this"
    assert prompts.distance == usual.distance + 9
    assert prompts.slot == usual.slot


def test_every_control_is_a_measurement(tiny_model, speaking, nouns, contexts, exposure):
    options = BehaviourOptions(controls=tuple(Control), mismatches=2)
    seen = exposure.at(np.ones(60, dtype=np.int64))
    table = measure_controls(tiny_model, speaking, nouns, contexts, seen, options, IDENTITY)
    assert CONTROLS.conform(table).equals(table)
    assert table["control"].unique().sort().to_list() == sorted(Control)
    assert table.group_by("control").len()["len"].to_list() == [len(nouns)] * len(Control)
    assert table.filter(control="held_out")["n_contexts"].unique().item() == 10
    assert table.filter(control="one_vocabulary")["direction"].unique().item() == "lan2lan"
    assert table.filter(control="mismatch_sample")["n_mismatches"].unique().item() == 2

    main = measure(tiny_model, speaking, nouns, contexts, seen, options, IDENTITY).gain.filter(direction="env2lan")
    for control in ("single_word", "filler_first", "distant", "held_out", "mismatch_sample", "shuffled"):
        gains = table.filter(control=control)["gain_nats"]
        assert gains.is_not_null().all()
        assert not np.allclose(gains, main["gain_nats"]), f"{control} must measure something else"
    same = table.filter(control="mismatch_same_category")
    alone = same.filter(pl.col("n_mismatches") == 0)["word"].to_list()
    assert same.filter(pl.col("gain_nats").is_null())["word"].to_list() == alone

    strength = control_evidence(table, resamples=100)
    assert CONTROL_EVIDENCE.conform(strength).equals(strength)
    assert strength.height == len(Control)


def test_no_controls_asked_for_is_an_empty_table(tiny_model, speaking, nouns, contexts, exposure):
    seen = exposure.at(np.ones(60, dtype=np.int64))
    table = measure_controls(tiny_model, speaking, nouns, contexts, seen, BehaviourOptions(controls=()), IDENTITY)
    assert table.is_empty()
    assert control_evidence(table).is_empty()


def test_verbs_have_no_held_out_frames(tiny_model, speaking, nouns, contexts, exposure):
    options = BehaviourOptions(kinds=("verb",), controls=(Control.HELD_OUT,))
    seen = exposure.at(np.ones(60, dtype=np.int64))
    with pytest.raises(StudyError, match="no shipped contexts 'verbs-held-out'"):
        measure_controls(tiny_model, speaking, nouns, contexts, seen, options, IDENTITY)


def test_words_with_contexts_of_their_own(tiny_model, speaking, nouns, contexts, exposure):
    own = ContextSet(contexts.shared[:3], {"horse": (CONTEXT,)})
    seen = exposure.at(np.ones(60, dtype=np.int64))
    found = measure(tiny_model, speaking, nouns, own, seen, BehaviourOptions(directions=("env2lan",)), IDENTITY)
    counts = dict(found.gain.select("word", "n_contexts").iter_rows())
    assert counts.pop("horse") == 1
    assert set(counts.values()) == {3}
    assert found.surprisal.filter(word="horse")["context"].unique().to_list() == ["pick"]
