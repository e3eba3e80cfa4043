"""Patches, pixels and boxes: properties of every view, and the same places as transformers' image processors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import BitImageProcessorPil

from groundscope.corpus.boxes import Box, Patches, Size, centre_cropped, padded, stretched
from groundscope.errors import CorpusError

SIZES = st.builds(Size, st.integers(20, 300), st.integers(20, 300))
PATCH = st.sampled_from([1, 7, 14, 16])


@st.composite
def boxes(draw, size):
    x, y = draw(st.floats(0, size.width - 2)), draw(st.floats(0, size.height - 2))
    return Box(x, y, draw(st.floats(1, size.width - x)), draw(st.floats(1, size.height - y)))


@st.composite
def whole_views(draw):
    """A picture and a view of all of it: no crop."""
    size, patch = draw(SIZES), draw(PATCH)
    canvas = Size(patch * draw(st.integers(1, 12)), patch * draw(st.integers(1, 12)))
    make = draw(st.sampled_from(["stretched", "padded"]))
    return size, stretched(size.whole, canvas, patch) if make == "stretched" else padded(size, canvas, patch)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_view_of_all_sees_each_pixel_in_one_patch_and_each_box_whole(data):
    size, view = data.draw(whole_views())
    box = data.draw(boxes(size))
    patches = Patches.of(size, [view])
    areas = np.prod(patches.corners[:, 2:] - patches.corners[:, :2], axis=1)
    assert (patches.share_in(box) * areas).sum() == pytest.approx(box.area)
    x, y = data.draw(st.floats(0.1, size.width - 0.1)), data.draw(st.floats(0.1, size.height - 0.1))
    (place,) = patches.at(x, y)
    left, top, right, bottom = patches.corners[place]
    assert left <= x < right
    assert top <= y < bottom
    inside = patches.inside(box)
    assert inside.any()
    # a patch that holds more than half of itself in the box is in; all that are in beat all that are out
    shares = patches.share_in(box)
    assert shares[inside].min() >= shares[~inside].max(initial=0)


@given(SIZES, st.sampled_from([14, 16]), st.integers(1, 6), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_tiles_look_where_the_whole_looks(size, patch, each, before):
    """A picture cut into four tiles, each seen at its own canvas, is the picture seen at twice the canvas."""
    half = Size(size.width // 2, size.height // 2)
    size = Size(half.width * 2, half.height * 2)
    canvas = Size(patch * each, patch * each)
    corners = [(0, 0), (half.width, 0), (0, half.height), (half.width, half.height)]
    tiles = [stretched(Box(x, y, half.width, half.height), canvas, patch) for x, y in corners]
    cut = Patches.of(size, tiles, before=before)
    whole = Patches.of(size, [stretched(size.whole, Size(canvas.width * 2, canvas.height * 2), patch)])
    assert len(cut) == len(whole) + before
    assert not cut.looks_somewhere[:before].any()
    order = [np.lexsort((patches.corners[:, 0].round(3), patches.corners[:, 1].round(3))) for patches in (cut, whole)]
    np.testing.assert_allclose(cut.corners[order[0]][: len(whole)], whole.corners[order[1]], atol=1e-6)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_painting_is_the_mean_of_what_looks_there(data):
    size, view = data.draw(whole_views())
    patches = Patches.of(size, [view, stretched(size.whole, Size(view.columns, view.rows), 1)])
    values = np.arange(len(patches), dtype=float)
    painted = patches.painted(values)
    x, y = data.draw(st.integers(0, size.width - 1)), data.draw(st.integers(0, size.height - 1))
    assert painted[y, x] == pytest.approx(values[patches.at(x + 0.5, y + 0.5)].mean())


@given(SIZES, st.integers(16, 120), st.integers(1, 6), st.sampled_from([14, 16]))
@settings(max_examples=40, deadline=None)
def test_centre_crops_are_where_transformers_crops(size, edge, patches, patch):
    """A picture whose colours are its coordinates tells where each pixel of the processed one came from."""
    crop = Size(patches * patch, patches * patch)
    y, x = np.mgrid[: size.height, : size.width]
    coordinates = np.stack([x, y, np.zeros_like(x)], axis=-1).clip(0, 255).astype(np.uint8)
    processor = BitImageProcessorPil(
        size={"shortest_edge": edge},
        crop_size={"width": crop.width, "height": crop.height},
        do_normalize=False,
        do_rescale=False,
        resample=Image.Resampling.BILINEAR,
    )
    pixels = np.asarray(processor(Image.fromarray(coordinates), return_tensors="np")["pixel_values"][0], float)
    seen = Patches.of(size, [centre_cropped(size, edge, crop, patch)])
    found = pixels[:2].reshape(2, patches, patch, patches, patch).mean(axis=(2, 4)).reshape(2, -1).T
    middles = (seen.corners[:, :2] + seen.corners[:, 2:]) / 2 - 0.5
    extent = seen.corners[0, 2:] - seen.corners[0, :2]
    margin = extent / patch * 3 + 3  # interpolation at the border
    limit = np.minimum([size.width, size.height], 255)
    clear = ((seen.corners[:, :2] > margin) & (seen.corners[:, 2:] < limit - margin)).all(axis=1)
    np.testing.assert_allclose(found[clear], middles[clear], atol=1.0 + float(extent.max()) / patch)


def test_forms_of_boxes_and_what_is_refused():
    size = Size(200, 100)
    assert Box.of_yolo(0.5, 0.5, 0.25, 0.5, size) == Box(75, 25, 50, 50)
    assert Box(0, 0, 10, 10).overlap(Box(5, 0, 10, 10)) == pytest.approx(1 / 3)
    patches = Patches.of(size, [centre_cropped(size, 56, Size(56, 56), 14)], before=5)
    assert len(patches) == 5 + 16
    assert patches.inside(Box(99, 49, 3, 3)).sum() == 1  # small, and yet it has its patch
    with pytest.raises(CorpusError, match="sees nothing of the box 0,0,20,20"):
        patches.inside(Box(0, 0, 20, 20))  # cropped away
    with pytest.raises(CorpusError, match="width and a height above 0"):
        Box(0, 0, 0, 5)
    with pytest.raises(CorpusError, match="holds no patch of 14"):
        stretched(size.whole, Size(13, 40), 14)


def test_a_box_ends_where_its_picture_does():
    size = Size(60, 40)
    whole = Box(0.5, 0, 59.5, 40)
    assert whole.within(size) is whole
    assert Box(-10, 30, 30, 30).within(size) == Box(0, 30, 20, 10)
    for outside in (Box(-10, 0, 10, 10), Box(60, 0, 5, 5), Box(0, 400, 5, 5)):
        with pytest.raises(CorpusError, match="lies outside of the picture of 60 x 40"):
            outside.within(size)
