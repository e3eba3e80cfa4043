"""Overlays: bright where the values are, the box where it is, one page that needs no network."""

import re

import numpy as np
from PIL import Image

from groundscope.corpus.boxes import Box, Patches, Size, stretched
from groundscope.mechanism.inspect_picture import PictureHead, PictureInspection
from groundscope.report.overlay import overlay, write_overlay_page

SIZE = Size(100, 50)
PATCHES = Patches.of(SIZE, [stretched(SIZE.whole, Size(40, 40), 10)], before=1)
PICTURE = Image.new("RGB", (100, 50), (128, 128, 128))


def test_the_brightest_pixels_are_those_of_the_largest_value():
    values = np.zeros(17)
    values[1 + 6] = -3.0  # row 1, column 2: its size counts, not its sign
    image = np.asarray(overlay(PICTURE, PATCHES, values)).astype(int)
    assert image.shape == (140, 280, 3)
    bright = np.argwhere(image[..., 0] > 150)
    (y0, x0), (y1, x1) = bright.min(axis=0), bright.max(axis=0)
    assert np.allclose([x0, y0, x1 + 1, y1 + 1], [140, 35, 210, 70], atol=3)


def test_the_box_is_drawn_and_what_is_not_seen_stays_grey():
    cropped = Patches.of(SIZE, [stretched(Box(0, 0, 50, 50), Size(40, 40), 10)])
    image = np.asarray(overlay(PICTURE, cropped, np.ones(16), Box(10, 10, 20, 20))).astype(int)
    assert (image[70, 250] == 128).all()
    red = np.argwhere((image == (255, 40, 60)).all(axis=2))
    assert np.allclose([red[:, 1].min(), red[:, 0].min(), red[:, 1].max(), red[:, 0].max()], [28, 28, 84, 84], atol=2)


def test_the_page_holds_every_head_and_no_address(tmp_path):
    names = ("L0H0", "L0H1", "L1H0", "L1H1")
    heads = tuple(
        PictureHead(name, share, 1 - share, 1.0) for name, share in zip(names, (0.1, 0.2, 0.95, 0.3), strict=True)
    )
    found = PictureInspection(2.0, heads, ("L1H0",), 3.0, 2.1, (2.0, 2.2), 1.0, 5, 0.1, np.ones((4, 16)), names)
    page = write_overlay_page(
        tmp_path / "p.html", found, PICTURE, PATCHES, Box(10, 10, 20, 20), title="cat & <dog>", lines="a < b", shown=2
    ).read_text()
    assert page.count('<td class="h') == 4
    assert page.count('<td class="h found"') == 1
    assert page.count("<img") == 2
    assert "cat &amp; &lt;dog&gt;" in page
    assert "a &lt; b" in page
    assert not re.search(r"https?://", page)
