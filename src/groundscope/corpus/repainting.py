"""A box of a picture repainted: everything outside of it stays, pixel by pixel."""

from PIL import Image

from groundscope.corpus.boxes import Box


def crop_swap(photograph: Image.Image, box: Box, donor: Image.Image, donor_box: Box) -> Image.Image:
    """Repaint a box with what another photograph shows in its own box, scaled to fit: a mismatch without a model.

    The rest of the photograph stays, pixel by pixel.
    """
    left, top, right, bottom = _whole_pixels(box, photograph.size)
    crop = donor.crop(_whole_pixels(donor_box, donor.size)).resize(
        (right - left, bottom - top), Image.Resampling.BICUBIC
    )
    repainted = photograph.copy()
    repainted.paste(crop, (left, top))
    return repainted


def repaint_inside(photograph: Image.Image, box: Box, painted: Image.Image) -> Image.Image:
    """Take the box from ``painted``, a picture of the same size, and everything else from the photograph."""
    corners = _whole_pixels(box, photograph.size)
    repainted = photograph.copy()
    repainted.paste(painted.crop(corners), corners[:2])
    return repainted


def _whole_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box.corners.round().astype(int).tolist()
    left, top = min(max(left, 0), size[0] - 1), min(max(top, 0), size[1] - 1)
    return left, top, max(left + 1, min(right, size[0])), max(top + 1, min(bottom, size[1]))
