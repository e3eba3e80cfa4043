"""What single pictures look like from the inside: where each head, and each layer, takes the predicted word from."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from groundscope.mechanism.criteria import CriterionOptions, aggregate_score
from groundscope.mechanism.head_tables import Identity
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import Saliency, saliency
from groundscope.models.base import LanguageModel
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

PICTURE_SALIENCY = TableSchema(
    "picture_saliency",
    "one head, or all heads of one layer together, before one picture at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("picture", pl.Int64(), "number of the picture, as in table pictures_shown"),
        Column("layer", pl.Int64(), "counted from 0 (the paper's figures count from 1)"),
        Column("head", pl.Int64(), "counted from 0; null: the layer's heads together, |sum over heads of A dL/dA|"),
        Column("box_share", pl.Float64(), "of the |saliency| from all patches, what comes from patches inside the box"),
        Column("box_nats", pl.Float64(), "|saliency| from patches inside the box into the last position"),
        Column("surprisal_nats", pl.Float64(), "surprisal of the picture's word"),
        Column("saliency_nats", pl.List(pl.Float64()), "|A dL/dA| from each patch into the last position"),
    ),
)
PICTURES_SHOWN = TableSchema(
    "pictures_shown",
    "one test picture as one encoder cuts it",
    (
        Column("arch", pl.String(), "name of the model and, behind a dot, of its encoder"),
        Column("picture", pl.Int64(), "its number"),
        Column("word", pl.String(), "the word that is predicted, and whose thing is in the box"),
        Column("sentence", pl.String(), "what is said before the word"),
        Column("style", pl.String(), "style of its drawings; of photographs: seen or new (not in training)"),
        Column("held_out", pl.Boolean(), "whether training showed no picture in the style, none of the photographs"),
        Column("width", pl.Int64(), "of the picture, in pixels"),
        Column("height", pl.Int64(), "of the picture, in pixels"),
        Column("box", pl.List(pl.Float64()), "left, top, right, bottom of the box in pixels"),
        Column("patches", pl.List(pl.Float64()), "left, top, right, bottom of each patch, one patch after the other"),
        Column("jpeg", pl.String(), "the picture as a JPEG file, base64; may be smaller than it is"),
    ),
)


def picture_saliency(
    model: LanguageModel, groups: Sequence[PromptBatch], criterion: CriterionOptions, identity: Identity
) -> pl.DataFrame:
    """Return table `PICTURE_SALIENCY` of one checkpoint; the prompts' scenes are all patches, their grounds the box.

    Heads of a layer are summed before the absolute value is taken, as in the score of a layer (method, section 5).
    """
    rows = [
        row
        for group in groups
        for row in _rows(saliency(model, group, rows="last", keep_maps=group.numbers.tolist()), group, criterion)
    ]
    return PICTURE_SALIENCY.frame([{**identity, **row} for row in rows])


def _rows(found: Saliency, group: PromptBatch, criterion: CriterionOptions) -> Iterator[dict[str, Any]]:
    shares = aggregate_score(found, criterion)
    at = {number: row for row, number in enumerate(group.numbers.tolist())}
    own = {number: row for row, number in enumerate(found.numbers.tolist())}
    scene = group.ground if group.scene is None else group.scene
    for number, maps in zip(found.kept.tolist(), found.maps[:, :, 0], strict=True):
        patches, inside = scene[at[number]], group.ground[at[number]]
        about = {"picture": number, "surprisal_nats": float(found.surprisal[own[number]])}
        for layer in found.index.chosen_layers:
            heads = found.index.of_layer(layer)
            whole = maps[heads].sum(dim=0)
            seen = whole[patches].abs().sum()
            share = float(whole[inside].abs().sum() / seen) if seen > 0 else 0.0
            yield {**about, "layer": layer, "head": None, "box_share": share, **_flow(whole, patches, inside)}
            for head, values in enumerate(maps[heads]):
                share = float(shares[own[number], heads.start + head])
                yield {**about, "layer": layer, "head": head, "box_share": share, **_flow(values, patches, inside)}


def _flow(values: Float[Tensor, " time"], patches: Tensor, inside: Tensor) -> dict[str, Any]:
    return {
        "box_nats": float(values[inside].abs().sum()),
        "saliency_nats": values[patches].abs().double().tolist(),
    }


def of_numbers(groups: Sequence[PromptBatch], numbers: Sequence[int]) -> list[PromptBatch]:
    """Return of each group the prompts of the given numbers; groups without any are left out."""
    wanted = torch.tensor(sorted(numbers))
    kept = [group[torch.isin(group.numbers, wanted).nonzero()[:, 0]] for group in groups]
    return [group for group in kept if len(group)]
