"""A detection as tables, as JSON and as lines for a terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from groundscope.mechanism.detect_pictures import Detection
from groundscope.mechanism.inspect_picture_tables import SUBJECT_COLUMNS
from groundscope.tables import Column, TableSchema

DETECTED = TableSchema(
    "detected_heads",
    "one head of a vision-language model over a set of pictures",
    (
        *SUBJECT_COLUMNS,
        Column("layer", pl.Int64(), "counted from 0"),
        Column("head", pl.Int64(), "counted from 0"),
        Column("name", pl.String(), "layer and head as one word, e.g. L7H3"),
        Column("threshold", pl.Float64(), "least share of patch-to-word saliency from inside the box"),
        Column("frequency_found", pl.Float64(), "share of the first half's pictures in which the head reaches it"),
        Column("frequency_held_out", pl.Float64(), "the same in the held-out half"),
        Column("mean_share", pl.Float64(), "mean share over all pictures"),
        Column("chance_share", pl.Float64(), "mean share of the picture's positions that lie in the box"),
        Column("stable", pl.Boolean(), "whether the first half puts it into the stable set"),
        Column("n_found", pl.Int64(), "pictures of the first half"),
        Column("n_held_out", pl.Int64(), "pictures of the held-out half"),
    ),
)
DETECTED_PICTURES = TableSchema(
    "detected_pictures",
    "one picture of a detection",
    (
        *SUBJECT_COLUMNS,
        Column("picture", pl.Int64(), "its number, in the order of asking"),
        Column("image", pl.String(), "its file"),
        Column("box", pl.List(pl.Float64()), "x, y, width and height of the box in pixels"),
        Column("prompt", pl.String(), "what stands before the word, as the model is given it"),
        Column("target", pl.String(), "the word"),
        Column("target_pieces", pl.List(pl.String()), "what the model cuts it into; the first one is predicted"),
        Column("held_out", pl.Boolean(), "whether it is of the held-out half"),
        Column("surprisal_nats", pl.Float64(), "surprisal of the word's first piece"),
        Column("chance_share", pl.Float64(), "share of the picture's positions that lie in the box"),
        Column("heads", pl.String(), "the heads that reach the threshold, by spaces"),
    ),
)
Subject = Mapping[str, str]
"""A value for each of `SUBJECT_COLUMNS`."""


@dataclass(frozen=True, slots=True)
class AskedPicture:
    """One picture's question, as the columns of `DETECTED_PICTURES` say it."""

    image: str
    box: tuple[float | int, ...]  # x, y, width, height
    prompt: str
    target: str
    target_pieces: tuple[str, ...]


def detected_heads_frame(found: Detection, subject: Subject) -> pl.DataFrame:
    """Return table `DETECTED`, in the model's order."""
    heads, first = found.index, ~found.held_out
    columns: dict[str, Any] = {
        "layer": heads.layers,
        "head": heads.heads,
        "name": heads.names,
        "frequency_found": found.reached[first].mean(axis=0),
        "frequency_held_out": found.reached[found.held_out].mean(axis=0),
        "mean_share": found.shares.mean(axis=0),
        "stable": found.stable,
    }
    same = {
        **subject,
        "threshold": found.threshold,
        "chance_share": float(found.inside.mean()),
        "n_found": int(first.sum()),
        "n_held_out": int(found.held_out.sum()),
    }
    return DETECTED.conform(
        pl.DataFrame(columns).with_columns(pl.lit(value).alias(name) for name, value in same.items())
    )


def detected_pictures_frame(found: Detection, asked: Mapping[int, AskedPicture], subject: Subject) -> pl.DataFrame:
    """Return table `DETECTED_PICTURES`; ``asked`` says of each picture's number what was asked about it."""
    names = found.index.names
    return DETECTED_PICTURES.frame(
        [
            {
                **subject,
                "picture": number,
                "image": asked[number].image,
                "box": list(asked[number].box),
                "prompt": asked[number].prompt,
                "target": asked[number].target,
                "target_pieces": list(asked[number].target_pieces),
                "held_out": bool(found.held_out[place]),
                "surprisal_nats": float(found.surprisal[place]),
                "chance_share": float(found.inside[place]),
                "heads": " ".join(names[head] for head in found.reached[place].nonzero()[0]),
            }
            for place, number in enumerate(found.numbers)
        ]
    )


def detection_json(found: Detection, asked: Mapping[int, AskedPicture], subject: Subject) -> dict[str, Any]:
    """Return all that was found as JSON-able values."""
    constant = [column.name for column in SUBJECT_COLUMNS]
    return {
        **subject,
        "threshold": found.threshold,
        "stable": detected_heads_frame(found, subject).filter("stable")["name"].to_list(),
        "heads": detected_heads_frame(found, subject).drop(constant).to_dicts(),
        "pictures": detected_pictures_frame(found, asked, subject).drop(constant).to_dicts(),
        "causal": found.causal.drop("arch", "seed", "step", "tokens_seen", "weight_hash").to_dicts(),
    }


def detection_lines(found: Detection, shown: int = 10) -> Iterator[str]:
    """Yield a detection as text for a terminal."""
    heads = detected_heads_frame(found, {column.name: "" for column in SUBJECT_COLUMNS})
    first = heads.row(0, named=True)
    yield (
        f"{len(found.numbers)} pictures; a head reads a box where at least {100 * found.threshold:.0f} % of its "
        f"patch-to-word saliency comes from it (the box holds {100 * first['chance_share']:.0f} % of the positions on "
        "average)"
    )
    yield f"{'heads':<10}{'found in':>10}{'held out':>10}{'mean share':>12}"
    for row in heads.sort("frequency_found", "mean_share", descending=True).head(shown).iter_rows(named=True):
        mark = "  stable" if row["stable"] else ""
        yield (
            f"{row['name']:<10}{100 * row['frequency_found']:>8.0f} %{100 * row['frequency_held_out']:>8.0f} %"
            f"{row['mean_share']:>12.2f}{mark}"
        )
    if not len(found.causal):
        yield "removal   no head is in the stable set, so nothing was removed"
        return
    yield f"removal   the {int(found.stable.sum())} stable heads, in the {first['n_held_out']} held-out pictures"
    for row in found.causal.iter_rows(named=True):
        p = "-" if row["p"] is None else f"{row['p']:.4f}"
        yield (
            f"          original {row['original_nats']:.3f}   without {row['intervention_nats']:.3f}   "
            f"{row['control']} control {row['control_nats']:.3f} nats   p {p}"
        )
        if row["control_count"] < row["mean_count"]:
            yield f"          (only {row['control_count']:.0f} other heads are there to be removed)"
