"""A model that sees, its weights set by hand: one head reads the box, another the whole picture, the rest nothing."""

import math

import pytest
import torch
from torch import nn

from groundscope.mechanism.causal import CausalOptions, causal_runs
from groundscope.mechanism.causal_table import causal_table
from groundscope.mechanism.criteria import CriterionOptions, Role, aggregate_score, find_heads
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.intervention import removal_effects
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.models.grounded_vlm import GroundedVLM, GroundedVLMConfig

DOC, SPEAKER, THE, WORDS = 0, 1, 2, (3, 4, 5)
VOCAB, HALF, SIDE = 6, 16, 4
EMPTY, THINGS, OUT = 6, (7, 8, 9), 12  # where the stream holds: an empty patch, each thing, each word
READS, WIDE = (1, 2), (0, 1)  # heads: of the box, of the whole picture
BOXES = {0: (0, 0), 1: (0, 2), 2: (2, 1), 3: (1, 1)}  # upper left patch of the thing, 2 x 2 patches
CRITERION = CriterionOptions(relative_to="scene", threshold=0.7, sweep=(0.7, 0.9))


def two_sided(place):
    row = torch.zeros(2 * HALF)
    row[place], row[HALF + place] = 1.0, -1.0  # negated once more, so that LayerNorm subtracts nothing
    return row


def picture(thing, box):
    patches = two_sided(EMPTY).repeat(SIDE, SIDE, 1)
    top, left = BOXES[box]
    patches[top : top + 2, left : left + 2] = two_sided(THINGS[thing])
    return patches.flatten(0, 1)


@pytest.fixture(scope="module")
@torch.no_grad()
def planted():
    config = GroundedVLMConfig(
        vocab_size=VOCAB, mixers=("attention",) * 2, d_model=2 * HALF, n_heads=4, norm_eps=1e-12,
        tie_word_embeddings=False, n_positions=32,
    )  # fmt: skip
    model = GroundedVLM(config).eval()
    nn.init.zeros_(model.positions.weight)
    torch.manual_seed(0)
    for block in model.blocks:
        nn.init.zeros_(block.mlp.out.weight)
        nn.init.normal_(block.mixer.qkv.weight, std=0.3)  # idle heads look around; nobody hears them
        nn.init.zeros_(block.mixer.out.weight)
    for token in range(VOCAB):
        model.embedding.weight[token] = two_sided(token)
    model.lm_head.weight.zero_()
    for word, token in enumerate(WORDS):
        model.lm_head.weight[token, OUT + word] = 4.0

    def head(place, look, *, value, push):
        mixer, part = model.blocks[place[0]].mixer, slice(8 * place[1], 8 * place[1] + 8)
        weight, bias = mixer.qkv.weight.view(3, 32, 32)[:, part], mixer.qkv.bias.view(3, 32)[:, part]
        weight.zero_()
        bias[0, 0] = math.sqrt(8)
        for kind in look:
            weight[1, 0, kind] = 1.0  # LayerNorm makes 4 of a token's 1
        for channel, kinds in enumerate(value):
            weight[2, channel, list(kinds)] = 0.25
        for channel, outs in enumerate(push):
            for out in outs:
                mixer.out.weight[OUT + out, part.start + channel] = 1.5
                mixer.out.weight[HALF + OUT + out, part.start + channel] = -1.5

    head(READS, THINGS, value=[(thing,) for thing in THINGS], push=[(0,), (1,), (2,)])
    head(WIDE, (EMPTY, *THINGS), value=[(EMPTY, *THINGS)], push=[(0, 1, 2)])

    cases = [(thing, box) for thing in range(3) for box in BOXES]
    shown = [picture(t, box) for thing, box in cases for t in (thing, *(t for t in range(3) if t != thing))]
    model.show(torch.cat(shown))
    n = SIDE * SIDE
    ids = torch.full((len(cases), 3, 1 + n + 2), DOC)
    ids[..., 1 : 1 + n] = VOCAB + torch.arange(len(cases) * 3 * n).view(len(cases), 3, n)
    ids[..., -2:] = torch.tensor([SPEAKER, THE])
    ground = torch.zeros(len(cases), 1 + n + 2, dtype=torch.bool)
    for row, (_, box) in enumerate(cases):
        top, left = BOXES[box]
        inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        inside[top : top + 2, left : left + 2] = True
        ground[row, 1 : 1 + n] = inside.flatten()
    scene = torch.zeros_like(ground)
    scene[:, 1 : 1 + n] = True
    targets = torch.tensor([WORDS[thing] for thing, _ in cases])
    return model, PromptBatch(ids[:, 0], targets, ground, scene=scene, mismatch=ids[:, 1:])


def test_exactly_the_head_that_reads_the_box_is_found(planted):
    model, prompts = planted
    index = HeadIndex.of(model)
    scores = saliency(model, prompts, rows="last")
    shares = aggregate_score(scores, CRITERION)
    expected = torch.zeros_like(shares, dtype=torch.bool)
    expected[:, index.position(*READS)] = True
    for threshold in (0.7, 0.9):
        options = CRITERION.model_copy(update={"threshold": threshold})
        assert torch.equal(find_heads(scores, options)[Role.AGGREGATE], expected)
    # the head that looks at everything sends what lies in the box, and no more: 4 of 16 patches
    assert shares[:, index.position(*WIDE)].tolist() == pytest.approx([0.25] * len(prompts), abs=0.01)


def test_the_picture_decides_and_its_reader_is_the_cause(planted):
    model, prompts = planted
    index = HeadIndex.of(model)
    scores = saliency(model, prompts, rows="last")
    found = find_heads(scores, CRITERION)
    runs = causal_runs(model, prompts, found, CausalOptions(draws=5))
    gain = runs.mismatch - runs.match
    assert (gain[:, 0] > 1.0).all()  # a repainted picture makes another word likely
    assert gain[:, runs.found(Role.AGGREGATE)] == pytest.approx(0, abs=1e-5)  # and without its reader none
    effects = removal_effects(model, prompts)
    # without the reader the three words are as likely as each other
    assert (scores.surprisal + effects[:, index.position(*READS)] > math.log(3) - 1e-6).all()
    assert (effects[:, index.position(*READS)] > 0.7).all()
    idle = [i for i in range(len(index)) if i not in (index.position(*READS), index.position(*WIDE))]
    assert effects[:, idle].abs().max() < 1e-5
    identity = {"arch": "planted", "seed": 0, "step": 0, "tokens_seen": 0, "weight_hash": "none"}
    row = causal_table(model, runs, CausalOptions(draws=5, unit="prompt"), identity).row(0, named=True)
    assert (row["role"], row["mean_count"], row["mean_layer"]) == ("aggregate", 1.0, 1.0)
    assert row["p"] < 0.001
    assert row["intervention_nats"] > row["control_nats"] + 0.7
