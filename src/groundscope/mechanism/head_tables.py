"""Saliency and head roles as tidy tables: one row per layer or head and checkpoint, ready to be drawn over time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from torch import Tensor

from groundscope.mechanism.criteria import CriterionOptions, Role, agreement, share_of_total
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.saliency import Saliency
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

_HEAD = (
    Column("layer", pl.Int64(), "counted from 0 (the paper's figures count from 1)"),
    Column("head", pl.Int64(), "counted from 0"),
    Column("name", pl.String(), "layer and head as one word, e.g. L7H3"),
)
_PROMPTS = Column("n_prompts", pl.Int64(), "prompts averaged over")

SALIENCY_LAYERS = TableSchema(
    "saliency_layers",
    "one layer at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("layer", pl.Int64(), "counted from 0 (the paper's figures count from 1)"),
        Column("flow_nats", pl.Float64(), "|sum over heads of A dL/dA| from the ground into the last position, mean"),
        Column("flow_sd_nats", pl.Float64(), "its standard deviation over prompts; null for a single prompt"),
        _PROMPTS,
    ),
)
SALIENCY_HEADS = TableSchema(
    "saliency_heads",
    "one head at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        *_HEAD,
        Column("flow_nats", pl.Float64(), "|A dL/dA| from the ground into the last position, mean over prompts"),
        Column("signed_flow_nats", pl.Float64(), "the same without |.|: negative where it makes the target likelier"),
        Column("total_nats", pl.Float64(), "|A dL/dA| over all computed entries of the head, mean over prompts"),
        _PROMPTS,
    ),
)
HEAD_ROLES = TableSchema(
    "head_roles",
    "one head at one checkpoint under one criterion and threshold",
    (
        *CHECKPOINT_COLUMNS,
        *_HEAD,
        Column("criterion", pl.String(), "aggregate, gather, or one of the criteria compared with them"),
        Column("threshold", pl.Float64(), "least score for a prompt to count"),
        Column("frequency", pl.Float64(), "share of prompts in which the score reaches the threshold; for criterion "
               "retrieval, at any threshold, the retrieval score"),
        Column("mean_score", pl.Float64(), "mean score over prompts, 0 to 1"),
        _PROMPTS,
    ),
)  # fmt: skip
HEADS_FOUND = TableSchema(
    "heads_found",
    "one head that was found in one prompt at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("prompt", pl.Int64(), "number of the prompt in the study"),
        *_HEAD,
        Column("role", pl.String(), "aggregate or gather"),
        Column("threshold", pl.Float64(), "the criterion's threshold"),
    ),
)
HEAD_SHARES = TableSchema(
    "head_shares",
    "one role at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("role", pl.String(), "role of the heads, found per prompt in the final model"),
        Column("share", pl.Float64(), "their share of all heads' |saliency| at this checkpoint, mean over prompts"),
        Column("share_sd", pl.Float64(), "its standard deviation over prompts; null for a single prompt"),
        Column("mean_count", pl.Float64(), "heads found per prompt in the final model"),
        _PROMPTS,
    ),
)
HEAD_AGREEMENT = TableSchema(
    "head_agreement",
    "one pair of criteria at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("first", pl.String(), "criterion"),
        Column("second", pl.String(), "criterion"),
        Column("threshold", pl.Float64(), "least score, of both"),
        Column("jaccard", pl.Float64(), "heads found by both over heads found by either; null where neither finds any"),
        Column("correlation", pl.Float64(), "Pearson's, of the heads' mean scores; null where one does not vary"),
    ),
)

SALIENCY_MAPS = TableSchema(
    "saliency_maps",
    "one head at one checkpoint: its saliency over one frame, the context that most prompts share",
    (
        *CHECKPOINT_COLUMNS,
        *_HEAD,
        Column("prompt", pl.Int64(), "number of one prompt of the frame (see table mechanism_prompts)"),
        Column("length", pl.Int64(), "tokens of the frame"),
        Column("saliency_nats", pl.List(pl.Float32()), "|A dL/dA|, mean over the prompts: rows (queries) one after the "
               "other, each with as many keys as the frame has tokens"),
        _PROMPTS,
    ),
)  # fmt: skip

Identity = Mapping[str, Any]
"""A value for each of `CHECKPOINT_COLUMNS`."""


def saliency_layer_table(saliency: Saliency, identity: Identity) -> pl.DataFrame:
    """Return table `SALIENCY_LAYERS` of one checkpoint."""
    flow = saliency.layer_flow.double()
    columns = {
        "layer": saliency.index.chosen_layers,
        "flow_nats": flow.mean(dim=0).numpy(),
        "flow_sd_nats": flow.numpy().std(axis=0, ddof=1) if len(flow) > 1 else [None] * flow.shape[1],
    }
    return _frame(SALIENCY_LAYERS, columns, {**identity, "n_prompts": len(flow)})


def saliency_head_table(saliency: Saliency, identity: Identity) -> pl.DataFrame:
    """Return table `SALIENCY_HEADS` of one checkpoint."""
    columns = {
        **_head_columns(saliency.index),
        "flow_nats": _means(saliency.flow),
        "signed_flow_nats": _means(saliency.signed_flow),
        "total_nats": _means(saliency.total),
    }
    return _frame(SALIENCY_HEADS, columns, {**identity, "n_prompts": len(saliency)})


def saliency_map_table(saliency: Saliency, identity: Identity) -> pl.DataFrame:
    """Return table `SALIENCY_MAPS` of one checkpoint from a saliency whose kept maps are of one frame."""
    mean = saliency.maps.abs().mean(dim=0)
    columns = {**_head_columns(saliency.index), "saliency_nats": mean.flatten(1).float().numpy()}
    if not len(saliency.index):
        return SALIENCY_MAPS.frame([])
    about = {"prompt": int(saliency.kept[0]), "length": mean.shape[-1], "n_prompts": len(saliency.kept)}
    return _frame(SALIENCY_MAPS, columns, {**identity, **about})


def head_role_table(
    index: HeadIndex,
    scores: Mapping[str, Float[Tensor, "prompt head"]],
    options: CriterionOptions,
    identity: Identity,
) -> pl.DataFrame:
    """Return table `HEAD_ROLES` of one checkpoint: every criterion at the threshold and at all of the sweep's."""
    frames = []
    for criterion, score in scores.items():
        for threshold in sorted({options.threshold, *options.sweep}):
            columns = {
                **_head_columns(index),
                "frequency": _means((score >= threshold).double()),
                "mean_score": _means(score),
            }
            about = {"criterion": criterion, "threshold": threshold, "n_prompts": len(score)}
            frames.append(_frame(HEAD_ROLES, columns, {**identity, **about}))
    return pl.concat(frames)


def heads_found_table(
    saliency: Saliency,
    found: Mapping[Role, Bool[Tensor, "prompt head"]],
    options: CriterionOptions,
    identity: Identity,
) -> pl.DataFrame:
    """Return table `HEADS_FOUND` of one checkpoint."""
    frames = []
    for role, mask in found.items():
        prompts, heads = np.nonzero(mask.numpy())
        columns = {"prompt": saliency.numbers.numpy()[prompts], **_head_columns(saliency.index[heads])}
        about = {"role": role.value, "threshold": options.threshold}
        frames.append(_frame(HEADS_FOUND, columns, {**identity, **about}))
    return pl.concat(frames)


def head_share_table(
    saliency: Saliency, final: Mapping[Role, Bool[Tensor, "prompt head"]], identity: Identity
) -> pl.DataFrame:
    """Return table `HEAD_SHARES` of one checkpoint, given the final model's heads in the same prompts."""
    rows = []
    for role, mask in final.items():
        share = share_of_total(saliency, mask).double()
        rows.append(
            {
                **identity,
                "role": role.value,
                "share": float(share.mean()),
                "share_sd": float(share.std()) if len(share) > 1 else None,
                "mean_count": float(mask.sum() / len(mask)),
                "n_prompts": len(share),
            }
        )
    return HEAD_SHARES.frame(rows)


def head_agreement_table(
    scores: Mapping[str, Float[Tensor, "prompt head"]], options: CriterionOptions, identity: Identity
) -> pl.DataFrame:
    """Return table `HEAD_AGREEMENT` of one checkpoint."""
    rows = [
        {**identity, "first": first, "second": second, "threshold": options.threshold, "jaccard": j, "correlation": r}
        for (first, second), (j, r) in agreement(scores, options.threshold).items()
    ]
    return HEAD_AGREEMENT.frame(rows).with_columns(pl.col("jaccard", "correlation").fill_nan(None))


def _head_columns(index: HeadIndex) -> dict[str, Any]:
    return {"layer": index.layers, "head": index.heads, "name": index.names}


def _means(values: Float[Tensor, "prompt head"]) -> Float[np.ndarray, " head"]:
    return values.double().mean(dim=0).numpy()


def _frame(schema: TableSchema, columns: Mapping[str, Any], same: Mapping[str, Any]) -> pl.DataFrame:
    overrides = {k: v for k, v in schema.dtypes.items() if k in columns and not isinstance(v, pl.List)}
    frame = pl.DataFrame(columns, schema_overrides=overrides)
    return schema.conform(frame.with_columns(pl.lit(value).alias(name) for name, value in same.items()))
