"""Inspections as tables, as JSON, and, along a trajectory, as a few lines of text."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import polars as pl

from groundscope.mechanism.criteria import Role
from groundscope.mechanism.inspect_models import Answer
from groundscope.tables import Column, TableSchema, write_table

_WHO = (
    Column("model", pl.String(), "as it was named"),
    Column("revision", pl.String(), "revision or step; empty: the only one"),
)
INSPECT_LAYERS = TableSchema(
    "inspect_layers",
    "one layer of one model",
    (
        *_WHO,
        Column("layer", pl.Int64(), "layers passed: 0 embedding, last the model's own output"),
        Column("lens", pl.String(), "how the state was read"),
        Column("surprisal_nats", pl.Float64(), "of the target's first piece, as read there"),
        Column("flow_nats", pl.Float64(), "|sum over heads of saliency| from ground to last position in the layer that "
               "leads to this state; null: none, or no ground"),
    ),
)  # fmt: skip
INSPECT_HEADS = TableSchema(
    "inspect_heads",
    "one head of one model",
    (
        *_WHO,
        Column("name", pl.String(), "layer and head, both counted from 0"),
        Column("flow_nats", pl.Float64(), "|saliency| from the ground into the last position"),
        Column("share", pl.Float64(), "of the head's |saliency|"),
        Column("effect_nats", pl.Float64(), "rise of the target's surprisal without this head alone"),
        Column("roles", pl.String(), "aggregate, gather, both or neither, by spaces"),
    ),
)
INSPECT_REMOVALS = TableSchema(
    "inspect_removals",
    "one role of one model: its heads removed together",
    (
        *_WHO,
        Column("role", pl.String(), "aggregate or gather"),
        Column("heads", pl.String(), "the heads removed, by spaces"),
        Column("original_nats", pl.Float64(), "surprisal of the target's first piece, nothing removed"),
        Column("without_nats", pl.Float64(), "without these heads"),
        Column("control_nats", pl.Float64(), "without as many random heads of the same layers, mean over draws"),
        Column("control_low_nats", pl.Float64(), "least of the draws"),
        Column("control_high_nats", pl.Float64(), "greatest of the draws"),
        Column("draws", pl.Int64(), "random sets"),
        Column("changed", pl.Boolean(), "whether the removal changed the logits"),
    ),
)


def inspect_frames(answers: Sequence[Answer]) -> dict[TableSchema, pl.DataFrame]:
    """Return tables `INSPECT_LAYERS`, `INSPECT_HEADS` and `INSPECT_REMOVALS` of all answers."""
    layers, heads, removals = [], [], []
    for answer in answers:
        who = {"model": answer.subject.model, "revision": answer.subject.revision}
        found = answer.inspection
        layers += [
            {**who, "layer": layer, "lens": found.lens, "surprisal_nats": nats, "flow_nats": into}
            for layer, (nats, into) in enumerate(zip_longest(found.by_layer, (None, *found.layer_flow)))
        ]
        heads += [
            {
                **who,
                "name": head.name,
                "flow_nats": head.flow,
                "share": head.share,
                "effect_nats": head.effect,
                "roles": " ".join(head.roles),
            }
            for head in found.heads
        ]
        removals += [
            {
                **who,
                "role": removal.role.value,
                "heads": " ".join(removal.heads),
                "original_nats": found.first_piece,
                "without_nats": removal.without,
                "control_nats": removal.control,
                "control_low_nats": removal.control_range[0],
                "control_high_nats": removal.control_range[1],
                "draws": removal.draws,
                "changed": removal.changed,
            }
            for removal in found.removals
        ]
    return {
        schema: schema.frame(rows)
        for schema, rows in ((INSPECT_LAYERS, layers), (INSPECT_HEADS, heads), (INSPECT_REMOVALS, removals))
    }


def write_inspection(folder: Path, answers: Sequence[Answer]) -> None:
    """Write the tables into ``folder``."""
    for schema, frame in inspect_frames(answers).items():
        write_table(folder / f"{schema.name}.parquet", frame, schema)


def inspection_json(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return all that was found as JSON-able values, one entry per model."""
    return [
        {
            "model": answer.subject.model,
            "revision": answer.subject.revision,
            "unembedding_sha256": answer.unembedding_sha256,
            **asdict(answer.inspection),
            "expected": [(answer.tokens(number), p) for number, p in answer.inspection.expected],
        }
        for answer in answers
    ]


def trajectory_text(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield a line per revision: surprisal, the foremost head, and what is lost without the aggregate heads."""
    width = max(8, *(len(answer.subject.revision) for answer in answers))
    yield f"{'revision':<{width}}{'surprisal':>11}{'rank':>8}  {'foremost head':<20}aggregate heads: without, control"
    for answer in answers:
        found = answer.inspection
        head = f"{found.heads[0].name} {found.heads[0].flow:.3g} nats" if found.heads else "-"
        removal = next((one for one in found.removals if one.role is Role.AGGREGATE), None)
        lost = "none" if removal is None else f"{len(removal.heads)}: {removal.without:.3f}, {removal.control:.3f}"
        yield f"{answer.subject.revision:<{width}}{found.surprisal:>11.3f}{found.rank:>8}  {head:<20}{lost}"
    yield from _same_weights(answers)


def _same_weights(answers: Sequence[Answer]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for answer in answers:
        name = answer.subject.revision
        other = seen.setdefault(answer.unembedding_sha256, name)
        if other != name:
            yield f"warning   {name} and {other} have the same unembedding: one of them is not what it says"
