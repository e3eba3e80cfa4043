"""Boxes in pictures of any size: no patches see more of a box than there is, and a whole view sees all of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundscope.corpus.boxes import Box, Patches, Size, centre_cropped, padded, stretched

SIZES = st.builds(Size, st.integers(20, 900), st.integers(20, 900))
PART = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.05, 1), st.floats(0.05, 1))


def box_in(size, part):
    left, top, width, height = part
    width, height = min(width, 1 - left), min(height, 1 - top)
    return Box(left * size.width, top * size.height, width * size.width, height * size.height)


def seen(patches, box):
    corners = patches.corners
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    return float((patches.share_in(box) * areas).sum())


@given(SIZES, PART, st.sampled_from([(8, 64), (14, 112)]))
def test_whole_views_see_all_of_a_box_and_crops_no_more(size, part, encoder):
    patch, side = encoder
    box, canvas = box_in(size, part), Size(side, side)
    for view in (stretched(size.whole, canvas, patch), padded(size, canvas, patch)):
        assert seen(Patches.of(size, [view]), box) == pytest.approx(box.area, rel=1e-6)
    cropped = Patches.of(size, [centre_cropped(size, side, canvas, patch)])
    assert seen(cropped, box) <= box.area * (1 + 1e-6)


@given(SIZES, PART)
def test_patches_of_a_stretched_picture_are_those_of_the_square_that_it_becomes(size, part):
    patch, side = 14, 112
    box = box_in(size, part)
    own = Patches.of(size, [stretched(size.whole, Size(side, side), patch)])
    square = Size(side, side)
    scaled = Box(
        *(np.array([box.x, box.y, box.width, box.height]) * np.tile([side / size.width, side / size.height], 2))
    )
    there = Patches.of(square, [stretched(square.whole, square, patch)])
    np.testing.assert_allclose(own.share_in(box), there.share_in(scaled), atol=1e-9)
