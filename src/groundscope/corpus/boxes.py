"""Where patches are: boxes in a picture, and where a vision encoder's resizing, cropping and padding puts its patches.

A picture's pixels are the only coordinates that anybody else sees: x to the right, y down, a box from its upper left
corner. An encoder looks through one or several `View`s; what a view does to the picture is one affine map per axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from groundscope.errors import CorpusError

_ONE = 1.01
"""What tools that round write for 1."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in a picture, in pixels; need not lie on whole pixels. Raises CorpusError where it has no area."""

    x: float | int
    y: float | int
    width: float | int
    height: float | int

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0 and np.isfinite([self.x, self.y, self.width, self.height]).all()):
            raise CorpusError(f"A box needs a width and a height above 0, found {self.width} x {self.height}.")

    @classmethod
    def of_yolo(cls, centre_x: float, centre_y: float, width: float, height: float, size: "Size") -> "Box":
        """Read YOLO's form: centre and extent as shares of the picture's ``size``; raises CorpusError for others."""
        if not all(0 <= number <= _ONE for number in (centre_x, centre_y, width, height)):
            raise CorpusError("YOLO's numbers are shares of the picture, from 0 to 1; these may be pixels")
        return cls(
            (centre_x - width / 2) * size.width,
            (centre_y - height / 2) * size.height,
            width * size.width,
            height * size.height,
        )

    @property
    def corners(self) -> Float[np.ndarray, "4"]:
        """Left, top, right, bottom."""
        return np.array([self.x, self.y, self.x + self.width, self.y + self.height], dtype=float)

    @property
    def area(self) -> float:
        """In square pixels."""
        return float(self.width * self.height)

    def within(self, size: "Size") -> "Box":
        """Return what of the box lies in a picture of this size; raises CorpusError where nothing does."""
        left, top, right, bottom = self.corners.tolist()
        if left >= 0 and top >= 0 and right <= size.width and bottom <= size.height:
            return self
        left, top = max(left, 0.0), max(top, 0.0)
        width, height = min(right, size.width) - left, min(bottom, size.height) - top
        if width <= 0 or height <= 0:
            raise CorpusError(
                f"the box {self.x:g},{self.y:g},{self.width:g},{self.height:g} lies outside of the picture of "
                f"{size.width} x {size.height}"
            )
        return Box(left, top, width, height)

    def overlap(self, other: "Box") -> float:
        """Return the intersection over the union of two boxes."""
        shared = float(_intersection(self.corners[None], other)[0])
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def whole(self) -> Box:
        """The box that is the picture."""
        return Box(0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True)
class View:
    """One canvas of an encoder: ``canvas x = x * scale_x + shift_x`` for a pixel x of the picture, y likewise.

    The canvas is cut into ``rows`` x ``columns`` patches of ``patch`` canvas pixels, counted row by row.
    """

    scale_x: float | int
    scale_y: float | int
    shift_x: float | int
    shift_y: float | int
    rows: int
    columns: int
    patch: int

    def patches(self) -> Float[np.ndarray, "patch 4"]:
        """Return the corners of every patch in the picture's pixels; padding lies outside of the picture."""
        row, column = np.divmod(np.arange(self.rows * self.columns), self.columns)
        left, top = column * self.patch, row * self.patch
        x = (np.stack([left, left + self.patch], axis=1) - self.shift_x) / self.scale_x
        y = (np.stack([top, top + self.patch], axis=1) - self.shift_y) / self.scale_y
        return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def stretched(region: Box, canvas: Size, patch: int) -> View:
    """View a region of a picture (`Size.whole`: all of it), resized to ``canvas`` whatever its proportions.

    Patches at the right and lower edge that do not fit are cut off, as a convolution does. Raises CorpusError for a
    canvas smaller than a patch.
    """
    rows, columns = canvas.height // patch, canvas.width // patch
    if not rows * columns:
        raise CorpusError(f"A canvas of {canvas.width} x {canvas.height} pixels holds no patch of {patch}.")
    scale_x, scale_y = canvas.width / region.width, canvas.height / region.height
    return View(scale_x, scale_y, -region.x * scale_x, -region.y * scale_y, rows, columns, patch)


def centre_cropped(size: Size, shortest_edge: int, crop: Size, patch: int) -> View:
    """View a picture resized to a shortest edge and cropped in its middle (CLIP, DINOv2).

    Follows transformers' image processors to the pixel: the longer edge is rounded down, and a crop that is larger
    than what it is cut from is padded.
    """
    short, long = sorted((size.width, size.height))
    resized_long = int(shortest_edge * long / short)
    width, height = (resized_long, shortest_edge) if size.width >= size.height else (shortest_edge, resized_long)
    whole = stretched(size.whole, Size(width, height), 1)
    left, top = _crop_start(width, crop.width), _crop_start(height, crop.height)
    rows, columns = crop.height // patch, crop.width // patch
    return View(whole.scale_x, whole.scale_y, -left, -top, rows, columns, patch)


def padded(size: Size, canvas: Size, patch: int) -> View:
    """View a whole picture in the middle of a canvas of other proportions, the rest padded (LLaVA's `pad`)."""
    scale = min(canvas.width / size.width, canvas.height / size.height)
    shift_x = (canvas.width - size.width * scale) / 2
    shift_y = (canvas.height - size.height * scale) / 2
    return View(scale, scale, shift_x, shift_y, canvas.height // patch, canvas.width // patch, patch)


@dataclass(frozen=True, eq=False)
class Patches:
    """Where every position of a picture in a model's stream looks, in order.

    ``corners`` are left, top, right, bottom in the picture's pixels; nan for positions that look nowhere (a CLS or
    register token, the end of a row in LLaVA-NeXT).
    """

    size: Size
    corners: Float[np.ndarray, "position 4"]

    @classmethod
    def of(cls, size: Size, views: Sequence[View], before: int = 0) -> "Patches":
        """Put views one after the other, behind ``before`` positions that look nowhere."""
        nowhere = np.full((before, 4), np.nan)
        return cls(size, np.concatenate([nowhere, *(view.patches() for view in views)]))

    def __len__(self) -> int:
        return len(self.corners)

    @property
    def looks_somewhere(self) -> Bool[np.ndarray, " position"]:
        """Positions that have a place in the picture."""
        return ~np.isnan(self.corners[:, 0])

    def share_in(self, box: Box) -> Float[np.ndarray, " position"]:
        """Return which share of each patch lies inside ``box``; 0 for positions that look nowhere."""
        areas = (self.corners[:, 2] - self.corners[:, 0]) * (self.corners[:, 3] - self.corners[:, 1])
        return np.where(self.looks_somewhere, _intersection(self.corners, box) / areas, 0.0)

    def inside(self, box: Box, share: float = 0.5) -> Bool[np.ndarray, " position"]:
        """Return the patches of which at least ``share`` lies in ``box``; where none does, the one with the most.

        So a small object has its patch too. Raises CorpusError where the encoder sees nothing of the box.
        """
        shares = self.share_in(box)
        if not shares.max(initial=0) > 0:
            raise CorpusError(
                f"The encoder sees nothing of the box {box.x:g},{box.y:g},{box.width:g},{box.height:g} in a picture of "
                f"{self.size.width} x {self.size.height}: it lies outside of what is cropped."
            )
        within = shares >= share
        return within if within.any() else shares == shares.max()

    def at(self, x: float | int, y: float | int) -> list[int]:
        """Return the positions that look at a point; several where views overlap, none where all crop it away."""
        left, top, right, bottom = self.corners.T
        return np.flatnonzero((left <= x) & (x < right) & (top <= y) & (y < bottom)).tolist()

    def painted(self, values: Float[np.ndarray, " position"]) -> Float[np.ndarray, "height width"]:
        """Paint values of positions over the picture: each pixel the mean of those that look at its middle, or nan."""
        total = np.zeros((self.size.height, self.size.width))
        count = np.zeros_like(total)
        for value, corners in zip(values, self.corners, strict=True):
            if np.isnan(corners).any():
                continue
            # a pixel belongs to the patch that holds its middle
            left, top, right, bottom = np.ceil(corners - 0.5).astype(int)
            part = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
            total[part] += value
            count[part] += 1
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _crop_start(length: int, crop: int) -> int:
    """Where transformers' centre crop begins; negative (padding) where the crop is the larger one."""
    if crop <= length:
        return (length - crop) // 2
    return -((crop - length + 1) // 2)


def _intersection(corners: Float[np.ndarray, "patch 4"], box: Box) -> Float[np.ndarray, " patch"]:
    left, top, right, bottom = box.corners
    width = np.minimum(corners[:, 2], right) - np.maximum(corners[:, 0], left)
    height = np.minimum(corners[:, 3], bottom) - np.maximum(corners[:, 1], top)
    return np.clip(width, 0, None) * np.clip(height, 0, None)
