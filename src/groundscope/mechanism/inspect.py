"""One prompt: what the model expects, at which layer, which heads carry the ground there, what is lost without them."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from groundscope.errors import ModelError
from groundscope.mechanism.causal import CausalOptions, CausalRuns, causal_runs
from groundscope.mechanism.criteria import CriterionOptions, Role, aggregate_score, find_heads
from groundscope.mechanism.heads import HeadIndex, analysing
from groundscope.mechanism.intervention import removal_effects
from groundscope.mechanism.lens import Lens, LogitLens, lens_surprisal
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.readout import read_logits
from groundscope.mechanism.saliency import saliency
from groundscope.models.base import LanguageModel
from groundscope.models.mamba2 import Mamba2
from groundscope.models.wording import Wording

NEXT_WORDS = 5


@dataclass(frozen=True, slots=True)
class HeadReading:
    """One head in this prompt."""

    name: str  # L7H3, both counted from 0
    flow: float  # |saliency| from the ground into the last position, in nats
    share: float  # of the head's |saliency|
    effect: float  # by how many nats the target's surprisal rises without this head alone
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """The target's surprisal without a role's heads, and without as many random ones."""

    role: Role
    heads: tuple[str, ...]
    without: float  # nats
    control: float  # nats, mean over draws
    control_range: tuple[float, float]  # nats, least and greatest draw
    draws: int
    changed: bool  # whether the removal changed the logits at all


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that is known about one prompt. Surprisals in nats."""

    wording: Wording
    surprisal: float  # of the whole target, summed over its pieces
    first_piece: float  # of the target's first piece, which all that follows is about
    rank: int  # of the first piece among the model's expectations; 1: first choice
    expected: tuple[tuple[int, float], ...]  # likeliest next tokens and their probabilities
    lens: str
    by_layer: tuple[float, ...]  # the first piece's surprisal read at layers 0 (embedding) to n_layers (output)
    # |sum over heads of saliency| ground -> last position, by layer; None: no heads there. Empty: nowhere, or no ground
    layer_flow: tuple[float | None, ...]
    heads: tuple[HeadReading, ...]  # all heads, largest flow first
    removals: tuple[Removal, ...]
    no_heads: str  # why there are no heads to show; "" where there are
    beside: str  # what carries words beside the matrices of the heads shown; "": nothing


def inspect_prompt(
    model: LanguageModel,
    wording: Wording,
    *,
    options: CriterionOptions,
    lens: Lens | None = None,
    draws: int = 20,
    seed: int = 0,
) -> Inspection:
    """Inspect one prompt; with a ``ground`` in the wording, its heads too.

    ``lens`` None takes the logit lens. Controls are ``draws`` random sets of as many heads of no role, each layer
    giving as many as the role's heads have there. A target of several pieces is scored as a whole and explained by
    its first piece. Raises RunError when the prompt does not fit into memory.
    """
    ids, target = torch.tensor([wording.ids]), torch.tensor([wording.target[0]])
    reader = lens or LogitLens.from_model(model)
    with analysing(model), torch.no_grad():
        chain = torch.tensor([[*wording.ids, *wording.target[:-1]]], device=model.unembedding.device)
        states = model.hidden(chain)[0, len(wording.ids) - 1 :]
        log_p = read_logits(model, states).log_softmax(dim=-1).cpu()
    pieces = log_p[range(len(wording.target)), list(wording.target)]
    top = log_p[0].topk(min(NEXT_WORDS, log_p.shape[1]))
    layer_flow, heads, removals, no_heads = _heads(model, wording, ids, target, options, draws, seed)
    return Inspection(
        wording=wording,
        surprisal=-float(pieces.sum()),
        first_piece=-float(pieces[0]),
        rank=1 + int((log_p[0] > pieces[0]).sum()),
        expected=tuple(zip(top.indices.tolist(), top.values.exp().tolist(), strict=True)),
        lens=reader.kind,
        by_layer=tuple(lens_surprisal(model, reader, ids, target)[0].tolist()),
        layer_flow=layer_flow,
        heads=heads,
        removals=removals,
        no_heads=no_heads,
        beside=_beside(model) if heads else "",
    )


def _heads(
    model: LanguageModel,
    wording: Wording,
    ids: Int[Tensor, "one time"],
    target: Int[Tensor, " one"],
    options: CriterionOptions,
    draws: int,
    seed: int,
) -> tuple[tuple[float | None, ...], tuple[HeadReading, ...], tuple[Removal, ...], str]:
    if not wording.ground:
        return (), (), (), "no ground was named, so there is no flow to follow: name it with --ground"
    try:
        index = HeadIndex.of(model)
    except ModelError as error:  # attention that no gate reaches; it says why
        return (), (), (), str(error)
    if not len(index):
        return (), (), (), "this model has no mixing matrices that are read here, and so no heads"
    ground = torch.zeros_like(ids, dtype=torch.bool)
    ground[0, list(wording.ground)] = True
    batch = PromptBatch(ids, target, ground)
    scores = saliency(model, batch)
    roles = find_heads(scores, options)
    share, effects = aggregate_score(scores, options)[0], removal_effects(model, batch)[0]
    heads = tuple(
        HeadReading(
            name=index.names[head],
            flow=float(scores.flow[0, head]),
            share=float(share[head]),
            effect=float(effects[head]),
            roles=tuple(role for role, found in roles.items() if bool(found[0, head])),
        )
        for head in scores.flow[0].argsort(descending=True, stable=True).tolist()
    )
    runs = causal_runs(model, batch, roles, CausalOptions(draws=draws, seed=seed))
    removals = tuple(_removal(runs, role, index) for role in roles if roles[role].any())
    flow = dict(zip(index.chosen_layers, scores.layer_flow[0].tolist(), strict=True))
    return tuple(flow.get(layer) for layer in range(model.n_layers)), heads, removals, ""


def _beside(model: LanguageModel) -> str:
    if any(isinstance(mixer, Mamba2) for mixer in model.mixers):
        return "in Mamba-2 layers the short convolution, the skip D x and the output gate pass beside the matrix"
    unseen = [f"L{layer}" for layer in range(len(model.mixers)) if not model.heads(layer)]
    if not unseen:
        return ""
    return f"{', '.join(unseen)} mix positions without attention; what they carry is in no head and is not removed"


def _removal(runs: CausalRuns, role: Role, index: HeadIndex) -> Removal:
    found, controls = runs.found(role), runs.match[0, runs.drawn(role, "layer-matched")]
    return Removal(
        role=role,
        heads=tuple(name for name, out in zip(index.names, runs.removed[0, found], strict=True) if out),
        without=float(runs.match[0, found]),
        control=float(controls.mean()),
        control_range=(float(controls.min()), float(controls.max())),
        draws=len(controls),
        changed=bool(runs.changed[0, found]),
    )
