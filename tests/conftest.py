"""Shared by all tests: no network, one thread per process, and real data only where it is given."""

import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker per core: more threads would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, by processes that tests start too
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GROUNDSCOPE_JOBS", "1")  # what a study computes, it computes where the test can look
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; skips the test where GROUNDSCOPE_DATA is not set."""
    folder = os.environ.get("GROUNDSCOPE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GROUNDSCOPE_DATA is not set")
    return Path(folder)


SHAPES = ("disc", "square", "triangle", "cross", "bar", "ring")


@pytest.fixture(scope="session")
def drawings(tmp_path_factory) -> Path:
    """Cut-out shapes in two styles, STYLE/WORD.png: each word has its colour and form, each style its shade."""
    folder = tmp_path_factory.mktemp("drawings")
    for style, shade in (("bright", 255), ("dark", 140)):
        (folder / style).mkdir()
        for number, word in enumerate(SHAPES):
            colour = tuple(shade if number + 1 & 1 << bit else 0 for bit in range(3))
            canvas = Image.new("RGBA", (40, 40))
            draw = ImageDraw.Draw(canvas)
            match word:
                case "disc":
                    draw.ellipse((4, 4, 36, 36), fill=colour)
                case "square":
                    draw.rectangle((4, 4, 36, 36), fill=colour)
                case "triangle":
                    draw.polygon([(20, 4), (36, 36), (4, 36)], fill=colour)
                case "cross":
                    draw.line((4, 4, 36, 36), fill=colour, width=8)
                    draw.line((4, 36, 36, 4), fill=colour, width=8)
                case "bar":
                    draw.rectangle((4, 14, 36, 26), fill=colour)
                case "ring":
                    draw.ellipse((4, 4, 36, 36), outline=colour, width=8)
            canvas.save(folder / style / f"{word}.png")
    return folder
