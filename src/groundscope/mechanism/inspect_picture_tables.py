"""An inspection of a picture as a table and as JSON."""

from typing import Any

import polars as pl

from groundscope.mechanism.inspect_picture import PictureInspection
from groundscope.tables import Column, TableSchema

INSPECT_PICTURE = TableSchema(
    "inspect_picture",
    "one head before one picture",
    (
        Column("model", pl.String(), "as it was named"),
        Column("name", pl.String(), "layer and head, both counted from 0"),
        Column("box_share", pl.Float64(), "of its patch-to-word |saliency|, what comes from inside the box"),
        Column("box_nats", pl.Float64(), "|saliency| from the box into the last position"),
        Column("picture_nats", pl.Float64(), "|saliency| from all patches into the last position"),
        Column("found", pl.Boolean(), "whether the share reaches the threshold"),
        Column("saliency_nats", pl.List(pl.Float64()), "signed, of each of the picture's positions"),
    ),
)


def inspect_picture_frame(found: PictureInspection, model: str) -> pl.DataFrame:
    """Return table `INSPECT_PICTURE`, largest flow from the box first."""
    at = {name: row for row, name in enumerate(found.names)}
    return INSPECT_PICTURE.frame(
        [
            {
                "model": model,
                "name": head.name,
                "box_share": head.share,
                "box_nats": head.flow,
                "picture_nats": head.seen,
                "found": head.name in found.found,
                "saliency_nats": found.maps[at[head.name]].tolist(),
            }
            for head in found.heads
        ]
    )


def inspect_picture_json(found: PictureInspection, model: str) -> dict[str, Any]:
    """Return all that was found as JSON-able values."""
    return {
        "model": model,
        "surprisal_nats": found.surprisal,
        "box_positions_share": found.inside,
        "found": list(found.found),
        "without_nats": found.without,
        "control_nats": found.control,
        "control_range_nats": found.control_range,
        "control_heads": found.control_heads,
        "draws": found.draws,
        "heads": inspect_picture_frame(found, model).drop("model").to_dicts(),
    }
