"""The page's viewer of pictures: what each head and layer takes the word from, painted over the picture by a script.

Maps are embedded as bytes, each in units of a 255th of its own largest value; pictures are left out from the end where
all of them would make the page too large.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from groundscope.mechanism.criteria import CriterionOptions
from groundscope.mechanism.picture_saliency import PICTURE_SALIENCY, PICTURES_SHOWN
from groundscope.report.run import Run

BUDGET = 6 * 2**20
"""Bytes of maps and pictures together, before they are written as text, which adds a third."""
_DIGITS = 4


def picture_data(run: Run) -> dict[str, Any]:
    """Return what the viewer shows: pictures by number, and per model its rows, its patches and maps of each picture.

    Empty without any pictures.
    """
    saliency, pictures = run.read(PICTURE_SALIENCY), run.read(PICTURES_SHOWN)
    archs = [arch for arch in run.archs if arch in {*saliency["arch"]}]
    numbers = _within_budget(saliency, pictures)
    if not archs or not numbers:
        return {}
    first = pictures.filter(arch=archs[0])
    return {
        "pictures": {row["picture"]: _picture(row) for row in first.iter_rows(named=True) if row["picture"] in numbers},
        "order": numbers,
        "threshold": float(_criterion(run).get("threshold", CriterionOptions().threshold)),
        "models": {
            arch: _model(saliency.filter(arch=arch), pictures.filter(arch=arch), numbers) for arch in archs
        },
    }  # fmt: skip


def _criterion(run: Run) -> dict[str, Any]:
    return (run.resolved.get("corpus") or {}).get("criterion") or {}


def _within_budget(saliency: pl.DataFrame, pictures: pl.DataFrame) -> list[int]:
    """The first pictures, as many as fit."""
    maps = saliency.group_by("picture").agg(pl.col("saliency_nats").list.len().sum().alias("bytes"))
    size = dict(maps.iter_rows())
    kept, total = [], 0
    for row in pictures.unique("picture", keep="first", maintain_order=True).iter_rows(named=True):
        total += size.get(row["picture"], 0) + 3 * len(row["jpeg"]) // 4
        if total > BUDGET:
            break
        kept.append(row["picture"])
    return kept


def _picture(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("word", "sentence", "style", "width", "height", "box")},
        "heldOut": row["held_out"],
        "src": f"data:image/jpeg;base64,{row['jpeg']}",
    }


def _model(saliency: pl.DataFrame, pictures: pl.DataFrame, numbers: Sequence[int]) -> dict[str, Any]:
    """Rows are heads, and before those of each layer all of them together (head null)."""
    ordered = saliency.sort("step", "picture", "layer", "head", nulls_last=False)
    steps = ordered["step"].unique().sort().to_list()
    rows = ordered.filter(step=steps[0], picture=numbers[0])
    corners = dict(pictures.select("picture", "patches").iter_rows())
    return {
        "seed": ordered["seed"][0],
        "steps": steps,
        "patches": [np.array(corners[number]).reshape(-1, 4).round(2).tolist() for number in numbers],
        "layers": rows["layer"].to_list(),
        "heads": rows["head"].to_list(),
        "maps": [
            [_maps(ordered.filter(step=step, picture=number)) for number in numbers] for step in steps
        ],
    }  # fmt: skip


def _maps(rows: pl.DataFrame) -> dict[str, Any]:
    values = np.array(rows["saliency_nats"].to_list(), dtype=float)
    most = values.max(axis=1, keepdims=True)
    scaled = np.rint(255 * np.divide(values, most, out=np.zeros_like(values), where=most > 0)).astype(np.uint8)
    return {
        "bytes": base64.b64encode(scaled.tobytes()).decode(),
        "share": [round(share, _DIGITS) for share in rows["box_share"]],
        "nats": [float(f"{nats:.3g}") for nats in rows["box_nats"]],
        "surprisal": round(rows["surprisal_nats"][0], _DIGITS),
    }
