"""Detection must return exactly the planted heads, the intervention exactly their effect, controls nothing."""

import pytest
import torch

from groundscope.mechanism.causal import CausalOptions, causal_runs, text_losses
from groundscope.mechanism.causal_table import causal_table
from groundscope.mechanism.criteria import Role, aggregate_score, find_heads, gather_score
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.intervention import ablate, removal_effects
from groundscope.mechanism.keep import keep_table
from groundscope.mechanism.saliency import saliency

AGGREGATE, GATHER, READER = (1, 2), (0, 1), (1, 3)
IDENTITY = {"arch": "planted", "seed": 0, "step": 0, "tokens_seen": 0, "weight_hash": "none"}


@pytest.fixture(params=["planted_attention", "planted_mamba2"])
def planted(request):
    return request.getfixturevalue(request.param)


def only(model, *places):
    index = HeadIndex.of(model)
    mask = torch.zeros(1, len(index), dtype=torch.bool)
    for place in places:
        mask[0, index.position(*place)] = True
    return mask


def test_the_model_does_what_was_planted(planted):
    scores = saliency(planted.model, planted.prompts)
    assert scores.surprisal.tolist() == pytest.approx([planted.surprisal()] * 6, abs=planted.tolerance)


def test_detection_returns_exactly_the_planted_heads(planted):
    found = find_heads(saliency(planted.model, planted.prompts))
    assert torch.equal(found[Role.AGGREGATE], only(planted.model, AGGREGATE).expand(6, -1))
    assert torch.equal(found[Role.GATHER], only(planted.model, GATHER).expand(6, -1))


def test_the_planted_flows_are_whole(planted):
    scores, index = saliency(planted.model, planted.prompts), HeadIndex.of(planted.model)
    assert aggregate_score(scores)[:, index.position(*AGGREGATE)].tolist() == pytest.approx([1.0] * 6, abs=1e-6)
    assert gather_score(scores)[:, index.position(*GATHER)].tolist() == pytest.approx([1.0] * 6, abs=1e-6)
    assert (scores.strip_row[:, index.position(*GATHER)] == 6).all()
    idle = ~only(planted.model, AGGREGATE, GATHER, READER)[0]
    assert scores.total[:, idle].max() < 1e-15


def test_removal_has_exactly_the_planted_effect(planted):
    effects = removal_effects(planted.model, planted.prompts)
    index = HeadIndex.of(planted.model)
    expected = torch.zeros(6, len(index), dtype=effects.dtype)
    expected[:, index.position(*AGGREGATE)] = planted.surprisal(aggregates=False) - planted.surprisal()
    silenced = planted.surprisal(gathers=False) - planted.surprisal()
    expected[:, index.position(*GATHER)] = expected[:, index.position(*READER)] = silenced
    assert (effects - expected).abs().max() < planted.tolerance


def test_all_removals_together_are_the_design_without_them(planted):
    mask = only(planted.model, AGGREGATE, GATHER).expand(6, -1)
    outcome = ablate(planted.model, planted.prompts, torch.arange(6), mask)
    assert outcome.changed.all()
    expected = planted.surprisal(aggregates=False, gathers=False)
    assert outcome.surprisal.tolist() == pytest.approx([expected] * 6, abs=planted.tolerance)


def test_the_causal_table_tells_cause_from_control(planted):
    options = CausalOptions(draws=25)
    found = find_heads(saliency(planted.model, planted.prompts))
    runs = causal_runs(planted.model, planted.prompts, found, options)
    text = text_losses(planted.model, runs, planted.prompts.input_ids)
    table = causal_table(planted.model, runs, options, IDENTITY, text)
    mismatched = planted.surprisal(matches=False)
    for row in table.filter(role="aggregate").to_dicts():
        assert row["mean_count"] == 1
        assert row["mean_layer"] == 1
        assert row["original_nats"] == pytest.approx(planted.surprisal(), abs=planted.tolerance)
        assert row["intervention_nats"] == pytest.approx(planted.surprisal(aggregates=False), abs=planted.tolerance)
        # a random control may hold the reader: the only head without a role that does anything
        assert row["control_nats"] - row["original_nats"] < row["intervention_nats"] - row["original_nats"]
        assert row["gain_original_nats"] == pytest.approx(mismatched - planted.surprisal(), abs=planted.tolerance)
        assert row["gain_intervention_nats"] == pytest.approx(0, abs=planted.tolerance)
        assert row["effect"] == "the logits changed in 6 of 6 prompts that lost heads"
        assert row["p"] == pytest.approx(1 / 8)  # three words: the least p there is
    gather = table.filter(role="gather", control="layer-matched").to_dicts()[0]
    assert gather["intervention_nats"] == pytest.approx(planted.surprisal(gathers=False), abs=planted.tolerance)
    assert gather["control_nats"] == pytest.approx(
        planted.surprisal(), abs=planted.tolerance
    )  # layer 0 has only idle heads left
    assert gather["gain_intervention_nats"] > 0


def test_the_aggregate_head_suffices_in_its_layer(planted):
    found = find_heads(saliency(planted.model, planted.prompts))[Role.AGGREGATE]
    table = keep_table(planted.model, [planted.prompts], [found], "aggregate", CausalOptions(), IDENTITY)
    (row,) = table.to_dicts()
    assert row["layer"] == 1
    assert row["kept_nats"] == pytest.approx(planted.surprisal(gathers=False), abs=planted.tolerance)
    nothing = planted.surprisal(aggregates=False, gathers=False)
    assert row["none_kept_nats"] == pytest.approx(nothing, abs=planted.tolerance)
    assert row["kept_nats"] < row["random_kept_nats"] <= row["none_kept_nats"] + planted.tolerance
