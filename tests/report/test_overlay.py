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
    assert page.count('<td class="h') == 2 * 4  # per head and per model
    assert page.count('<td class="h found"') == 2 * 1
    assert page.count("<img") == 1 + 2 + 2  # the picture, heads, layers
    grids = re.findall(r'<div class="wide by-(\w+)">(.*?)</div>', page)
    cells = {kind: re.findall(r">(\d+)</td>", grid) for kind, grid in grids}
    assert cells == {"head": ["10", "20", "95", "30"], "model": ["100", "89", "6", "78"]}


def test_a_layer_is_the_sum_of_its_heads_saliency(tmp_path):
    names, maps = ("L0H0", "L0H1"), np.zeros((2, 16))
    maps[:, 0], maps[:, 5] = (1.0, -1.0), (1.0, 2.0)  # opposite signs cancel
    heads = tuple(PictureHead(name, 0.5, 1.0, 1.0) for name in names)
    found = PictureInspection(2.0, heads, (), None, None, None, 0.0, 5, 0.1, maps, names)
    box = Box(25, 12.5, 25, 12.5)  # the patch of row 1, column 1
    page = write_overlay_page(tmp_path / "p.html", found, PICTURE, PATCHES, box, title="", lines="").read_text()
    assert "L0: 100 % from the box, 3 nats" in page


def test_a_large_picture_is_painted_at_the_size_that_is_shown():
    size = Size(4000, 2000)
    patches = Patches.of(size, [stretched(size.whole, Size(40, 40), 10)])
    values = np.arange(16.0)
    large = overlay(Image.new("RGB", (4000, 2000), (128, 128, 128)), patches, values, Box(400, 400, 800, 800))
    small = overlay(PICTURE, Patches(SIZE, patches.corners / 40), values, Box(10, 10, 20, 20))
    assert np.array_equal(np.asarray(large), np.asarray(small))


def test_the_page_holds_what_it_was_given(tmp_path):
    names = ("L0H0",)
    heads = (PictureHead("L0H0", 0.1, 0.9, 1.0),)
    found = PictureInspection(2.0, heads, (), None, None, None, 0.0, 5, 0.1, np.ones((1, 16)), names)
    box = Box(10, 10, 20, 20)
    page = write_overlay_page(
        tmp_path / "p.html", found, PICTURE, PATCHES, box, title="cat & <dog>", lines="a < b"
    ).read_text()
    assert "cat &amp; &lt;dog&gt;" in page
    assert "a &lt; b" in page
    assert not re.search(r"https?://", page)
