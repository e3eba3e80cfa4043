"""Criteria on numbers set by hand, criteria of others on explicit attention, and the tables."""

import numpy as np
import polars as pl
import pytest
import torch

from groundscope.errors import AnalysisError
from groundscope.mechanism.attention_flow import AttentionFlow, attention_flow
from groundscope.mechanism.criteria import (
    CriterionOptions,
    Role,
    aggregate_score,
    agreement,
    criterion_scores,
    find_heads,
    gather_score,
    share_of_total,
)
from groundscope.mechanism.head_tables import (
    head_agreement_table,
    head_role_table,
    head_share_table,
    heads_found_table,
    saliency_head_table,
    saliency_layer_table,
)
from groundscope.mechanism.heads import HeadIndex, analysing, head_name
from groundscope.mechanism.prompts import PromptBatch, group_by_length
from groundscope.mechanism.saliency import Saliency
from groundscope.models.language_model import GroundedLM, GroundedLMConfig
from groundscope.models.lstm import GroundedLSTM, GroundedLSTMConfig

IDENTITY = {"arch": "tiny", "seed": 1, "step": 150, "tokens_seen": 4096, "weight_hash": "abc"}


def build(*mixers):
    torch.manual_seed(3)
    config = GroundedLMConfig(
        vocab_size=30, mixers=mixers, d_model=24, n_heads=3, ssm_d_head=12, ssm_d_state=4, initializer_range=0.3
    )
    return GroundedLM(config).eval()


def by_hand(flow, strip, total, *, scene=None, last=None, rows="all"):
    """Saliency of one layer from its scores, [prompt, head]."""
    flow, strip, total = (torch.tensor(values, dtype=torch.float32) for values in (flow, strip, total))
    prompts, heads = flow.shape
    return Saliency(
        index=HeadIndex(np.zeros(heads, dtype=np.int64), np.arange(heads)),
        rows=rows,
        flow=flow,
        signed_flow=-flow,
        scene_flow=torch.full_like(flow, torch.nan) if scene is None else torch.tensor(scene),
        into_last=flow if last is None else torch.tensor(last),
        strip=strip,
        strip_row=torch.ones_like(flow).long(),
        total=total,
        layer_flow=flow.sum(1, keepdim=True),
        surprisal=torch.ones(prompts),
        numbers=torch.arange(prompts),
        kept=torch.zeros(0, dtype=torch.long),
        maps=torch.zeros(0, heads, 4, 4),
    )


def test_roles_are_shares_of_a_heads_own_saliency():
    scores = by_hand(flow=[[3.0, 2.9, 0.1, 0.4]], strip=[[1.0, 0.0, 0.3, 0.5]], total=[[10.0, 10.0, 1.0, 1.0]])
    assert aggregate_score(scores)[0].tolist() == pytest.approx([0.3, 0.29, 0.1, 0.4])
    assert gather_score(scores)[0].tolist() == pytest.approx([0.1, 0.0, 0.3, 0.5])
    found = find_heads(scores)
    assert found[Role.AGGREGATE][0].tolist() == [True, False, False, True]
    assert found[Role.GATHER][0].tolist() == [False, False, True, True]
    strict = find_heads(scores, CriterionOptions(threshold=0.4))
    assert strict[Role.AGGREGATE][0].tolist() == [False, False, False, True]


def test_the_strip_into_the_last_position_counts_only_when_asked_for():
    scores = by_hand(flow=[[0.0]], strip=[[1.0]], total=[[4.0]], last=[[3.0]])
    assert gather_score(scores).item() == pytest.approx(0.25)
    assert gather_score(scores, CriterionOptions(count_last_strip=True)).item() == pytest.approx(0.75)


def test_images_compare_the_box_with_the_scene_and_have_no_gather_heads():
    options = CriterionOptions(relative_to="scene", threshold=0.7)
    scores = by_hand(flow=[[3.0, 3.0]], strip=[[9.0, 9.0]], total=[[100.0, 10.0]], scene=[[4.0, 5.0]], rows="last")
    found = find_heads(scores, options)
    assert found[Role.AGGREGATE][0].tolist() == [True, False]
    assert not found[Role.GATHER].any()
    assert list(criterion_scores(scores, options=options)) == ["aggregate"]


def test_dead_heads_have_no_role():
    scores = by_hand(flow=[[1e-12, 0.0, 1.0]], strip=[[1e-12, 0.0, 0.0]], total=[[1e-12, 0.0, 1.0]])
    assert aggregate_score(scores)[0].tolist() == [0, 0, 1]
    assert gather_score(scores)[0].tolist() == [0, 0, 0]


def test_what_a_share_needs_is_asked_for():
    scores = by_hand(flow=[[1.0]], strip=[[0.0]], total=[[1.0]], rows="last")
    with pytest.raises(AnalysisError, match="rows='all'"):
        aggregate_score(scores)
    with pytest.raises(AnalysisError, match="rows='all'"):
        share_of_total(scores, torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(AnalysisError, match="`scene`"):
        aggregate_score(scores, CriterionOptions(relative_to="scene"))


def test_share_of_total_is_that_of_the_heads_given():
    scores = by_hand(flow=[[0.0] * 3] * 2, strip=[[0.0] * 3] * 2, total=[[1.0, 2.0, 5.0], [0.0, 0.0, 0.0]])
    found = torch.tensor([[True, False, True], [True, True, True]])
    assert share_of_total(scores, found).tolist() == pytest.approx([0.75, 0.0])


def test_attention_flow_is_read_off_the_attention_matrix():
    model = build("attention", "attention")
    ids = torch.randint(30, (4, 7), generator=torch.Generator().manual_seed(0))
    scene = torch.zeros(4, 7, dtype=torch.bool)
    scene[:, 1:4] = True
    with torch.no_grad():
        first_choice = (model.hidden(ids)[:, -1] @ model.unembedding.T).argmax(-1)
    targets = torch.where(torch.tensor([True, False, True, False]), first_choice, (first_choice + 1) % 30)
    prompts = PromptBatch.with_ground_at(ids, targets, torch.tensor([1, 2, 3, 2]), scene=scene)
    flow = attention_flow(model, prompts, batch_size=3)
    assert flow.predicted.tolist() == [True, False, True, False]

    block, x = model.blocks[0], model.embed(ids)  # the first layer, by hand
    query, key, _ = block.mixer.qkv(block.norm(x)).view(4, 7, 3, 3, 8).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / 8**0.5
    attention = (scores + torch.full((7, 7), -torch.inf).triu(1)).softmax(-1).detach()
    for i, ground in enumerate([1, 2, 3, 2]):
        torch.testing.assert_close(flow.to_ground[i, :3], attention[i, :, -1, ground])
        torch.testing.assert_close(flow.to_scene_end[i, :3], attention[i, :, -1, 3])
        torch.testing.assert_close(flow.scene_end_to_scene[i, :3], attention[i, :, 3, 1:3].sum(-1))
        assert flow.peak_on_ground[i, :3].tolist() == (attention[i, :, -1].argmax(-1) == ground).tolist()


def test_other_criteria_are_computed_from_the_flow():
    saliency = by_hand(flow=[[1.0, 0.0]] * 2, strip=[[0.0, 0.0]] * 2, total=[[1.0, 1.0]] * 2)
    flow = AttentionFlow(
        index=saliency.index,
        to_ground=torch.tensor([[0.6, 0.2], [0.7, 0.1]]),
        to_scene_end=torch.tensor([[0.1, 0.5], [0.1, 0.6]]),
        scene_end_to_scene=torch.tensor([[0.9, 0.0], [0.8, 0.0]]),
        peak_on_ground=torch.tensor([[True, False], [True, True]]),
        predicted=torch.tensor([True, False]),
    )
    scores = criterion_scores(saliency, flow)
    assert scores["attention_aggregate"].tolist() == flow.to_ground.tolist()
    assert scores["retrieval"].mean(0).tolist() == [0.5, 0.0], "Wu et al.'s retrieval score"
    assert scores["retrieval_forced"].mean(0).tolist() == [1.0, 0.5]
    assert scores["bick_gather"].tolist() == flow.scene_end_to_scene.tolist()
    pairs = agreement(scores, threshold=0.3)
    jaccard, correlation = pairs["aggregate", "attention_aggregate"]
    assert jaccard == 1.0
    assert correlation == pytest.approx(1.0)
    assert pairs["aggregate", "bick_aggregate"] == (0.0, pytest.approx(-1.0))
    assert np.isnan(pairs["aggregate", "gather"]).tolist() == [False, True]


def test_without_a_scene_the_scenes_criteria_are_left_out():
    model, ids = build("mamba2"), torch.zeros(2, 5, dtype=torch.long)
    prompts = PromptBatch.with_ground_at(ids, torch.zeros(2, dtype=torch.long), torch.tensor([1, 2]))
    flow = attention_flow(model, prompts)
    saliency = by_hand(flow=[[1.0] * 4] * 2, strip=[[0.0] * 4] * 2, total=[[1.0] * 4] * 2)
    names = set(criterion_scores(saliency, flow))
    assert names == {"aggregate", "gather", "attention_aggregate", "retrieval", "retrieval_forced"}
    assert (flow.to_ground <= 1).all(), "shares of |M| in Mamba-2, whose rows do not sum to one"


def test_tables_hold_means_and_frequencies():
    saliency = by_hand(flow=[[1.0, 0.0], [3.0, 1.0]], strip=[[0.0, 2.0]] * 2, total=[[4.0, 4.0]] * 2)
    layers = saliency_layer_table(saliency, IDENTITY).to_dicts()
    assert layers[0]["flow_nats"] == pytest.approx(2.5)
    assert layers[0]["flow_sd_nats"] == pytest.approx(np.std([1, 4], ddof=1))
    heads = saliency_head_table(saliency, IDENTITY)
    assert heads["name"].to_list() == ["L0H0", "L0H1"]
    assert heads["flow_nats"].to_list() == [2.0, 0.5]
    assert heads["signed_flow_nats"].to_list() == [-2.0, -0.5]

    options = CriterionOptions(sweep=(0.2, 0.7))
    scores = criterion_scores(saliency)
    roles = head_role_table(saliency.index, scores, options, IDENTITY)
    aggregate = roles.filter(criterion="aggregate", head=0)
    assert aggregate.select("threshold", "frequency").rows() == [(0.2, 1.0), (0.3, 0.5), (0.7, 0.5)]
    assert aggregate["mean_score"].to_list() == pytest.approx([0.5] * 3)

    found = find_heads(saliency)
    rows = heads_found_table(saliency, found, options, IDENTITY).select("prompt", "name", "role").rows()
    assert rows == [(1, "L0H0", "aggregate"), (0, "L0H1", "gather"), (1, "L0H1", "gather")]
    shares = head_share_table(saliency, found, IDENTITY)
    assert shares.select("role", "share", "mean_count").rows() == [("aggregate", 0.25, 0.5), ("gather", 0.5, 1.0)]
    assert head_agreement_table(scores, options, IDENTITY)["jaccard"].to_list() == [0.0]
    assert layers[0]["weight_hash"] == "abc"


def test_tables_of_a_model_without_heads_are_empty():
    saliency = by_hand(flow=[[]], strip=[[]], total=[[]])
    empty = [
        saliency_head_table(saliency, IDENTITY),
        heads_found_table(saliency, find_heads(saliency), CriterionOptions(), IDENTITY),
        head_role_table(saliency.index, criterion_scores(saliency), CriterionOptions(), IDENTITY),
    ]
    assert [len(frame) for frame in empty] == [0, 0, 0]
    assert isinstance(pl.concat([empty[0], empty[0]]), pl.DataFrame)


def test_heads_of_a_hybrid_are_counted_through_the_model():
    index = HeadIndex.of(build("mamba2", "attention"))
    assert index.names == ["L0H0", "L0H1", "L0H2", "L0H3", "L1H0", "L1H1", "L1H2"]
    assert index.of_layer(1) == slice(4, 7)
    assert index.position(1, 2) == 6
    assert head_name(7, 3) == "L7H3"
    with pytest.raises(AnalysisError, match="L1H3"):
        index.position(1, 3)
    lstm = GroundedLSTM(GroundedLSTMConfig(vocab_size=10, d_model=8, n_layers=1))
    assert len(HeadIndex.of(lstm)) == 0
    with pytest.raises(AnalysisError, match="no mixing matrices"):
        HeadIndex.of(lstm, layers=[0])


def test_analysing_restores_the_model_on_error():
    model = build("attention").train()
    seen = []
    with pytest.raises(ZeroDivisionError), analysing(model):
        seen.append(model.training or any(parameter.requires_grad for parameter in model.parameters())) or 1 / 0
    assert seen == [False]
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_prompts_are_grouped_by_length():
    assert group_by_length([5, 3, 5, 4]) == {5: [0, 2], 3: [1], 4: [3]}
