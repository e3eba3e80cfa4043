"""The same flows read off the raw mixing matrix, for criteria that use attention weights instead of saliency."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from groundscope.mechanism.heads import HeadIndex, analysing, under
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.readout import last_states, read_logits
from groundscope.mechanism.saliency import bytes_per_prompt
from groundscope.models.base import LanguageModel
from groundscope.models.gate import Gate


@dataclass(frozen=True, eq=False)
class AttentionFlow:
    """Shares of ``|M|`` per prompt and head, on the CPU; for softmax attention ``|M|`` is the attention weight.

    Rows of softmax attention sum to one; Mamba-2's do not and hold both signs, hence shares of ``|M|`` by row.
    """

    index: HeadIndex
    to_ground: Float[Tensor, "prompt head"]  # of the last row, the share on the ground
    to_scene_end: Float[Tensor, "prompt head"]  # of the last row, the share on the scene's last position; nan: no scene
    scene_end_to_scene: Float[Tensor, "prompt head"]  # of that position's row, the share on the scene before it
    peak_on_ground: Bool[Tensor, "prompt head"]  # whether the last row is largest on the ground
    predicted: Bool[Tensor, " prompt"]  # whether the target is the model's first choice


def attention_flow(
    model: LanguageModel, prompts: PromptBatch, *, batch_size: int | None = None, budget: int | None = None
) -> AttentionFlow:
    """Return where every head of every layer looks, without a backward pass.

    Raises RunError when one prompt alone does not fit into memory.
    """
    index = HeadIndex.of(model)
    size = batch_size or micro_batch(bytes_per_prompt(model, index, prompts.time), model.unembedding.device, budget)

    def read(part: slice) -> AttentionFlow:
        return _read(model, index, prompts[part].to(model.unembedding.device))

    with analysing(model), torch.no_grad():
        return join_flows(in_micro_batches(read, len(prompts), size))


def join_flows(parts: list[AttentionFlow]) -> AttentionFlow:
    """Stack the prompts of several batches (or groups of one length) under each other."""
    names = [field.name for field in fields(AttentionFlow) if field.name != "index"]
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return AttentionFlow(index=parts[0].index, **whole)


def _read(model: LanguageModel, index: HeadIndex, prompts: PromptBatch) -> AttentionFlow:
    device = prompts.input_ids.device
    shares: dict[int, tuple[Tensor, ...]] = {}

    def watch(layer: int, matrix: Float[Tensor, "prompt head row time"]) -> None:
        last = _share(matrix[:, :, -1])
        ground = (last * prompts.ground[:, None]).sum(dim=-1)
        unknown = torch.full_like(ground, torch.nan)
        at_scene = unknown, unknown
        if prompts.scene is not None:
            at_scene = _at_scene(matrix, last, prompts.scene)
        shares[layer] = ground, *at_scene, prompts.ground.gather(1, last.argmax(dim=-1))

    one = torch.ones(1, 1, 1, 1, device=device)
    gates = {
        layer: Gate(values=one, watch=lambda matrix, layer=layer: watch(layer, matrix)) for layer in index.chosen_layers
    }
    with under(model, gates):
        last = last_states(model, prompts)
    if not gates:
        shares[0] = (*torch.zeros(3, len(prompts), 0), torch.zeros(len(prompts), 0, dtype=torch.bool))
    predicted = read_logits(model, last).argmax(dim=-1) == prompts.targets
    columns = [torch.cat(column, dim=1).cpu() for column in zip(*shares.values(), strict=True)]
    return AttentionFlow(index, *columns, predicted=predicted.cpu())


def _share(rows: Float[Tensor, "*shape key"]) -> Float[Tensor, "*shape key"]:
    magnitude = rows.abs().to(torch.promote_types(rows.dtype, torch.float32))
    return magnitude / magnitude.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(magnitude.dtype).tiny)


def _at_scene(
    matrix: Float[Tensor, "prompt head row time"],
    last: Float[Tensor, "prompt head time"],
    scene: Bool[Tensor, "prompt time"],
) -> tuple[Float[Tensor, "prompt head"], Float[Tensor, "prompt head"]]:
    """The last row's share on the scene's end, and that end's share on the scene before it."""
    time = scene.shape[1]
    ends = time - 1 - scene.flip(1).int().argmax(dim=1)
    each = torch.arange(len(scene), device=scene.device)
    before = scene & (torch.arange(time, device=scene.device) < ends[:, None])
    return last[each, :, ends], (_share(matrix[each, :, ends]) * before[:, None]).sum(dim=-1)
