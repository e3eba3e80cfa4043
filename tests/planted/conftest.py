"""Models whose weights are set by hand, so that what each head does is known and what follows can be computed.

Both read ``<doc> filler SCENE filler ... <SPK> filler the`` and predict the word of the scene. In layer 1 one head
moves the scene word to the last position: it aggregates. In layer 0 one head gathers all words into the speaker tag,
from where another head of layer 1 takes them to the last position: all scene words become likelier. No other head acts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.language_model import GroundedLM, GroundedLMConfig

DOC, SPEAKER, FILLER, THE = 0, 1, 2, 3
SCENE = (4, 5, 6)  # three things in the scene
WORDS = (7, 8, 9)  # and their words
VOCAB = 10
OUT, SCRATCH, ONE = 10, 13, 14  # where the residual stream holds: words predicted, what was gathered, a constant
TIME = 9

AGGREGATE, GATHER, READER = (1, 2), (0, 1), (1, 3)


@dataclass(frozen=True)
class Planted:
    """A model with known heads; ``surprisal(aggregates, gathers, matches)`` is computed from the design alone."""

    model: GroundedLM
    prompts: PromptBatch
    surprisal: Callable[..., float]
    tolerance: float  # of nats: that of the model's precision


def planted_prompts() -> PromptBatch:
    """Every thing at two places, with the two other things as mismatches."""
    rows, targets, places, mismatches = [], [], [], []
    for thing in range(3):
        for place in (2, 4):
            row = torch.tensor([DOC, FILLER, FILLER, FILLER, FILLER, FILLER, SPEAKER, FILLER, THE])
            others = row.repeat(2, 1)
            row[place] = SCENE[thing]
            others[:, place] = torch.tensor([SCENE[other] for other in range(3) if other != thing])
            rows.append(row)
            mismatches.append(others)
            targets.append(WORDS[thing])
            places.append(place)
    scene = torch.zeros(len(rows), TIME, dtype=torch.bool)
    scene[:, 1:6] = True
    return PromptBatch.with_ground_at(
        torch.stack(rows), torch.tensor(targets), torch.tensor(places), scene=scene, mismatch=torch.stack(mismatches)
    )


def odds(out: list[float], scale: float, matches: bool) -> float:
    """Surprisal of the word when the stream holds ``out`` for (the thing in the scene, each of the two others)."""
    logits = [4 * scale * o for o in (out[0], out[1], out[1])] + [0.0] * (VOCAB - 3)
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[0 if matches else 1]


def unembed(model: GroundedLM) -> None:
    model.lm_head.weight.zero_()
    for word in range(3):
        model.lm_head.weight[WORDS[word], OUT + word] = 4.0


@pytest.fixture(scope="session")
@torch.no_grad()
def planted_attention() -> Planted:
    """Two layers of four attention heads.

    The stream holds every number twice, once negated, so that LayerNorm subtracts nothing.
    """
    half, d, d_head = 16, 32, 8
    config = GroundedLMConfig(
        vocab_size=VOCAB, mixers=("attention",) * 2, d_model=d, n_heads=4, norm_eps=1e-30, tie_word_embeddings=False
    )
    model = GroundedLM(config).double().eval()
    torch.nn.init.zeros_(model.positions.weight)
    torch.manual_seed(0)
    for block in model.blocks:
        nn.init.zeros_(block.mlp.out.weight)
        nn.init.normal_(block.mixer.qkv.weight, std=0.3)  # idle heads look around; nobody hears them
        nn.init.zeros_(block.mixer.out.weight)
    model.embedding.weight.zero_()
    for token in range(VOCAB):
        model.embedding.weight[token, token], model.embedding.weight[token, half + token] = 1.0, -1.0
    unembed(model)
    unit = math.sqrt(d / 2)  # what LayerNorm makes of a token's 1

    def plant(place: tuple[int, int]) -> dict[str, Tensor]:
        layer, head = place
        mixer, part = model.blocks[layer].mixer, slice(head * d_head, (head + 1) * d_head)
        weight = mixer.qkv.weight.view(3, d, d)[:, part]
        bias = mixer.qkv.bias.view(3, d)[:, part]
        weight.zero_()
        bias.zero_()
        names = ("query", "key", "value")
        return {
            **{name: weight[i] for i, name in enumerate(names)},
            **{f"{name}_bias": bias[i] for i, name in enumerate(names)},
            "out": mixer.out.weight[:, part],
        }

    def write(out: Tensor, dim: int, channel: int, amount: float) -> None:
        out[dim, channel], out[half + dim, channel] = amount, -amount

    look, strong, push, lift, gathered = 3.0, 40.0, 1.5, 0.25, 0.5
    root = math.sqrt(d_head)

    head = plant(GATHER)  # everywhere but in the speaker tag's row it looks at <doc>, which has no value
    head["query_bias"][0] = root
    head["query"][0, SPEAKER] = -2 * root / unit
    head["key"][0, DOC] = strong / unit
    head["value"][0, [t for t in range(VOCAB) if t != DOC]] = 1 / unit
    write(head["out"], SCRATCH, 0, gathered)

    head = plant(READER)
    head["query_bias"][0] = root
    head["key"][0, SPEAKER] = look / unit * math.sqrt(1 + gathered**2)
    head["value"][0, SCRATCH] = 1.0
    for word in range(3):
        write(head["out"], OUT + word, 0, lift)

    head = plant(AGGREGATE)
    head["query_bias"][0] = root
    for thing in range(3):
        head["key"][0, SCENE[thing]] = look / unit
        head["value"][thing, SCENE[thing]] = 1 / unit
        write(head["out"], OUT + thing, thing, push)

    weight = math.exp(look) / (math.exp(look) + TIME - 1)

    def surprisal(*, aggregates: bool = True, gathers: bool = True, matches: bool = True) -> float:
        lifted = gathers * lift * weight * gathered * math.sqrt(d / (2 * (1 + gathered**2)))
        out = [lifted + aggregates * push * weight, lifted]
        scale = math.sqrt(d / (2 * (1 + out[0] ** 2 + 2 * out[1] ** 2)))
        return odds(out, scale, matches)

    return Planted(model, planted_prompts(), surprisal, tolerance=1e-9)


@pytest.fixture(scope="session")
@torch.no_grad()
def planted_mamba2() -> Planted:
    """Two layers of four Mamba-2 heads that share B and C; a head chooses its keys by its step dt.

    Head 0 carries a constant past the matrix (through D), or the norm inside the mixer would undo what others add.
    """
    d, d_head, z_at, x_at, bc_at, dt_at = 16, 4, 0, 16, 32, 34
    config = GroundedLMConfig(
        vocab_size=VOCAB,
        mixers=("mamba2",) * 2,
        d_model=d,
        ssm_expand=1,
        ssm_d_head=d_head,
        ssm_d_state=1,
        norm_eps=1e-30,
        tie_word_embeddings=False,
    )
    model = GroundedLM(config).eval()
    model.embedding.weight.zero_()
    model.embedding.weight[:, ONE] = 1.0
    for token in range(VOCAB):
        model.embedding.weight[token, token] = 1.0
    unembed(model)
    unit = math.sqrt(d / 2)  # what the norm makes of a token's 1, and of the constant
    never, once = -40.0, math.log(math.e - 1)  # softplus of these: 0 and 1
    gathered, push, lift = 0.5, 1.0, 0.25

    for block in model.blocks:
        mixer = block.mixer
        for parameter in mixer.parameters():
            parameter.zero_()
        mixer.norm_weight.fill_(1.0)
        mixer.conv_weight[:, -1] = 1.0  # the convolution looks at its own position only
        mixer.dt_bias.fill_(never)
        mixer.A_log.fill_(-60.0)  # nothing is ever forgotten
        mixer.D[0] = 1.0
        mixer.project.weight[bc_at : bc_at + 2, ONE] = 1 / unit  # B = C = silu(1)
        mixer.project.weight[z_at, ONE] = mixer.project.weight[x_at, ONE] = 1 / unit

    def reads(layer: int, head: int, tokens: list[int], scale: float) -> None:
        model.blocks[layer].mixer.project.weight[dt_at + head, tokens] = (once - never) / scale

    first, second = model.blocks[0].mixer, model.blocks[1].mixer
    everything_else = [token for token in range(VOCAB) if token != DOC]
    channel = GATHER[1] * d_head
    reads(*GATHER, everything_else, unit)
    first.project.weight[x_at + channel, everything_else] = 1 / unit
    first.project.weight[z_at + channel, SPEAKER] = 1 / unit  # only the speaker tag lets it out
    first.out.weight[SCRATCH, channel] = gathered

    def scratch() -> float:
        moved = 6 * silu(1) ** 3 * silu(1)  # six words up to the tag, each C B x, then the output gate
        return gathered * moved / math.sqrt((moved**2 + silu(1) ** 4) / d)

    at_tag = math.sqrt(d / (2 + scratch() ** 2))  # what the norm makes of 1 at the speaker tag, in layer 1
    channel = READER[1] * d_head
    reads(*READER, [SPEAKER], at_tag)
    second.project.weight[x_at + channel, SCRATCH] = 1.0
    second.project.weight[z_at + channel, ONE] = 1 / unit
    second.out.weight[OUT : OUT + 3, channel] = lift

    reads(*AGGREGATE, list(SCENE), unit)
    for thing in range(3):
        channel = AGGREGATE[1] * d_head + thing
        second.project.weight[x_at + channel, SCENE[thing]] = 1 / unit
        second.project.weight[z_at + channel, ONE] = 1 / unit
        second.out.weight[OUT + thing, channel] = push

    def surprisal(*, aggregates: bool = True, gathers: bool = True, matches: bool = True) -> float:
        constant = silu(1) ** 2
        moved = aggregates * silu(1) ** 3 * silu(1)
        lifted = gathers * silu(1) * silu(at_tag / unit) * silu(scratch() * at_tag) * silu(1)
        norm = math.sqrt((constant**2 + moved**2 + lifted**2) / d)
        out = [push * moved / norm + lift * lifted / norm, lift * lifted / norm]
        scale = math.sqrt(d / (2 + out[0] ** 2 + 2 * out[1] ** 2))
        return odds(out, scale, matches)

    return Planted(model, planted_prompts(), surprisal, tolerance=2e-5)


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))
