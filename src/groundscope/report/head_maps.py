"""The page's explorer of head grids: every head's saliency map over one frame, at some checkpoints, as bytes.

Maps grow with layers, heads, checkpoints and the square of the frame: they are kept in 255ths of each map's own largest
value, and at fewer checkpoints where all of them would make the page too large.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from groundscope.trajectory.at import evenly

MOST_STEPS = 12
BUDGET = 2_500_000
"""Bytes of all models' maps on the page, at two checkpoints or more."""


def head_maps(maps: pl.DataFrame, tokens: Mapping[int, str]) -> dict[str, Any]:
    """Lay table ``saliency_maps`` out by model, first seeds alone; ``tokens`` are the prompts' by their numbers.

    ``maps[step]`` holds ``bytes``, in base64: for each head, the causal triangle row by row; and each head's largest
    value in ``nats``.
    """
    shown = [_first_seed(of_model) for of_model in maps.partition_by("arch", maintain_order=True)]
    per_step = sum(_bytes_per_step(rows) for rows in shown)
    count = max(2, min(MOST_STEPS, BUDGET // max(per_step, 1)))
    return {str(rows["arch"][0]): _of_model(rows, tokens, count) for rows in shown}


def _first_seed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(seed=rows["seed"][0]).sort("step", "layer", "head")


def _bytes_per_step(rows: pl.DataFrame) -> int:
    length = rows["length"][0]
    heads = rows.height // rows["step"].n_unique()
    return heads * (length * (length + 1) // 2) * 4 // 3


def _of_model(rows: pl.DataFrame, tokens: Mapping[int, str], count: int) -> dict[str, Any]:
    steps = evenly(rows["step"].unique().sort().to_list(), count)
    first = rows.filter(step=steps[0])
    return {
        "seed": first["seed"][0],
        "tokens": tokens.get(first["prompt"][0], "").split(),
        "length": first["length"][0],
        "prompts": first["n_prompts"][0],
        "heads": first["name"].to_list(),
        "layers": first["layer"].to_list(),
        "steps": steps,
        "maps": [_packed(rows.filter(step=step)["saliency_nats"], first["length"][0]) for step in steps],
    }


def _packed(maps: pl.Series, length: int) -> dict[str, Any]:
    values = np.array(maps.to_list(), dtype=float).reshape(-1, length, length)
    triangles = values[:, *np.tril_indices(length)]
    most = triangles.max(axis=1, keepdims=True)
    shares = np.divide(triangles, most, out=np.zeros_like(triangles), where=most > 0)
    packed = np.rint(255 * shares).astype(np.uint8).tobytes()
    return {"bytes": base64.b64encode(packed).decode(), "nats": [float(f"{value:.3g}") for value in most.ravel()]}
