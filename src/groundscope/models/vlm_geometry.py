"""Where the picture tokens of vision-language models look, family by family."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from groundscope.corpus.boxes import Box, Patches, Size, View, centre_cropped, padded, stretched
from groundscope.errors import ModelError

_NOWHERE = np.full((1, 4), np.nan)


def picture_patches(
    config: Any, processor: Any, size: Size, count: int, inputs: Mapping[str, Tensor], row: int = 0
) -> Patches:
    """Return where each of a picture's ``count`` tokens looks.

    ``inputs`` are the processor's, ``row`` the prompt. Raises ModelError for a family whose geometry is not known, and
    where it does not give ``count`` tokens: a map that is off would still look plausible.
    """
    kind = config.model_type
    images = getattr(processor, "image_processor", processor)
    match kind:
        case "llava" | "paligemma":
            patches = llava_patches(config.vision_config, images, size)
        case "llava_next":
            patches = llava_next_patches(config, size)
        case "qwen2_vl" | "qwen2_5_vl":
            _, height, width = inputs["image_grid_thw"][row].tolist()
            patches = qwen2_vl_patches(config.vision_config, size, height, width)
        case "smolvlm" | "idefics3":
            _, rows, columns = images.get_number_of_image_patches(size.height, size.width, {})
            patches = tiled_patches(config, size, rows, columns)
        case _:
            raise ModelError(f"Where the picture tokens of a '{kind}' model look is not known here; heads can be found "
                             "by attention to the whole picture, boxes cannot be used.")  # fmt: skip
    if len(patches) != count:
        raise ModelError(
            f"This {kind} model gives a picture of {size.width} x {size.height} {count} tokens, and its settings say "
            f"{len(patches)}: which token looks where is unknown."
        )
    return patches


def llava_patches(vision: Any, images: Any, size: Size) -> Patches:
    """LLaVA-1.5: one square canvas; its processor says whether the picture is cropped, padded or resized."""
    canvas, patch = Size(vision.image_size, vision.image_size), vision.patch_size
    if getattr(images, "do_pad", False):
        view = padded(size, canvas, patch)
    elif getattr(images, "do_center_crop", False) and (edge := _shortest_edge(images)):
        view = centre_cropped(size, edge, canvas, patch)
    else:
        view = stretched(size.whole, canvas, patch)
    return Patches.of(size, [view])


def llava_next_patches(config: Any, size: Size) -> Patches:
    """LLaVA-NeXT: the whole picture on one canvas, then tiles of it at a larger size, each row ended by a token.

    The tiles together see the picture resized to fit the best of ``image_grid_pinpoints``; tokens that look at its
    padding alone are taken out (transformers' `unpad_image`).
    """
    side, patch = config.vision_config.image_size, config.vision_config.patch_size
    whole = stretched(size.whole, Size(side, side), patch)
    best_height, best_width = best_resolution(size, config.image_grid_pinpoints)
    rows, columns = best_height // patch, best_width // patch
    scale = min(best_width / size.width, best_height / size.height)
    if size.width / size.height > columns / rows:  # padded above and below
        kept = int(round(size.height * (columns / size.width), 7))
        cut_rows, cut_columns = (rows - kept) // 2, 0
    else:
        kept = int(round(size.width * (rows / size.height), 7))
        cut_rows, cut_columns = 0, (columns - kept) // 2
    shift_x = (best_width - size.width * scale) / 2 - cut_columns * patch
    shift_y = (best_height - size.height * scale) / 2 - cut_rows * patch
    left_rows, left_columns = rows - 2 * cut_rows, columns - 2 * cut_columns
    tiles = View(scale, scale, shift_x, shift_y, left_rows, left_columns, patch).patches()
    lines = [np.concatenate([line, _NOWHERE]) for line in tiles.reshape(left_rows, left_columns, 4)]
    return Patches(size, np.concatenate([whole.patches(), *lines]))


def qwen2_vl_patches(vision: Any, size: Size, height: int, width: int) -> Patches:
    """Qwen2-VL: the whole picture, resized to ``height`` x ``width`` patches, of which squares are merged to tokens."""
    merge, patch = vision.spatial_merge_size, vision.patch_size
    return Patches.of(size, [stretched(size.whole, Size(width * patch, height * patch), patch * merge)])


def tiled_patches(config: Any, size: Size, rows: int, columns: int) -> Patches:
    """SmolVLM and Idefics3: ``rows`` x ``columns`` tiles, then the whole picture; of each so many merged patches."""
    side = config.vision_config.image_size
    merged = config.vision_config.patch_size * config.scale_factor
    canvas = Size(side, side)
    width, height = size.width / max(columns, 1), size.height / max(rows, 1)
    tiles = [
        stretched(Box(column * width, row * height, width, height), canvas, merged)
        for row in range(rows)
        for column in range(columns)
    ]
    return Patches.of(size, [*tiles, stretched(size.whole, canvas, merged)])


def best_resolution(size: Size, pinpoints: list[list[int]]) -> tuple[int, int]:
    """Return the (height, width) that keeps most of the picture's pixels, then wastes least (LLaVA-NeXT's rule)."""
    best, fit = (0, 0), (-1.0, math.inf)
    for height, width in pinpoints:
        scale = min(width / size.width, height / size.height)
        effective = min(int(size.width * scale) * int(size.height * scale), size.width * size.height)
        wasted = width * height - effective
        if effective > fit[0] or (effective == fit[0] and wasted < fit[1]):
            best, fit = (height, width), (effective, wasted)
    return best


def _shortest_edge(images: Any) -> int | None:
    size = getattr(images, "size", None)
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else getattr(size, "shortest_edge", None)
    return None if edge is None else int(edge)
