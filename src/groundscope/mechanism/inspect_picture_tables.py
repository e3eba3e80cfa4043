"""An inspection of a picture as a table and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from groundscope.mechanism.inspect_picture import PictureInspection
from groundscope.tables import Column, TableSchema

SUBJECT_COLUMNS: tuple[Column, ...] = (
    Column("model", pl.String(), "as it was named"),
    Column("revision", pl.String(), "revision or step; empty: the only one, or the last"),
    Column("unembedding_sha256", pl.String(), "of the model's unembedding: two revisions of one hash are one model"),
)
INSPECT_PICTURE = TableSchema(
    "inspect_picture",
    "one head before one picture",
    (
        *SUBJECT_COLUMNS,
        Column("image", pl.String(), "the picture's file"),
        Column("box", pl.List(pl.Float64()), "x, y, width and height of the box in pixels"),
        Column("prompt", pl.String(), "what stands before the word, as the model is given it"),
        Column("target", pl.String(), "the word"),
        Column("target_pieces", pl.List(pl.String()), "what the model cuts it into; the first one is predicted"),
        Column("name", pl.String(), "layer and head, both counted from 0"),
        Column("box_share", pl.Float64(), "of its patch-to-word |saliency|, what comes from inside the box"),
        Column("box_nats", pl.Float64(), "|saliency| from the box into the last position"),
        Column("picture_nats", pl.Float64(), "|saliency| from all patches into the last position"),
        Column("found", pl.Boolean(), "whether the share reaches the threshold"),
        Column("saliency_nats", pl.List(pl.Float64()), "signed, of each of the picture's positions"),
    ),
)


@dataclass(frozen=True, slots=True)
class PictureSubject:
    """What was inspected, as the columns of `INSPECT_PICTURE` say it."""

    model: str
    revision: str
    unembedding_sha256: str
    image: str
    box: tuple[float | int, ...]  # x, y, width, height
    prompt: str
    target: str
    target_pieces: tuple[str, ...]


def inspect_picture_frame(found: PictureInspection, subject: PictureSubject) -> pl.DataFrame:
    """Return table `INSPECT_PICTURE`, largest flow from the box first."""
    return INSPECT_PICTURE.frame([{**asdict(subject), **head} for head in _heads(found)])


def inspect_picture_json(found: PictureInspection, subject: PictureSubject) -> dict[str, Any]:
    """Return all that was found as JSON-able values."""
    return {
        **asdict(subject),
        "surprisal_nats": found.surprisal,
        "box_positions_share": found.inside,
        "found": list(found.found),
        "without_nats": found.without,
        "control_nats": found.control,
        "control_range_nats": found.control_range,
        "control_heads": found.control_heads,
        "draws": found.draws,
        "heads": _heads(found),
    }


def _heads(found: PictureInspection) -> list[dict[str, Any]]:
    at = {name: row for row, name in enumerate(found.names)}
    return [
        {
            "name": head.name,
            "box_share": head.share,
            "box_nats": head.flow,
            "picture_nats": head.seen,
            "found": head.name in found.found,
            "saliency_nats": found.maps[at[head.name]].tolist(),
        }
        for head in found.heads
    ]
