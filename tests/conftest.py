"""Shared by all tests: no network, one thread per process, and real data only where it is given."""

import json
import os
import signal
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker per core: more threads would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, by processes that tests start too
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GROUNDSCOPE_JOBS", "1")  # what a study computes, it computes where the test can look
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session", autouse=True)
def signals_have_their_usual_effect():
    """A shell that starts something in the background has it ignore Ctrl-C, and what that starts, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """Generated photographs of different sizes, each with two shapes, as COCO and YOLO publish such things.

    ``images/*.jpg``, ``instances.json``, ``names.yaml`` with ``labels/*.txt``, ``captions.json`` of all but the last
    four pictures, ``dialogues.json`` (Visual Dialog) of the first twelve; and images and labels once more in
    ``all.tar`` and ``all.zip``.
    """
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    draw = np.random.default_rng(0)
    rows: dict[str, list[dict]] = {"images": [], "annotations": []}
    captions, dialogues = [], []
    for number in range(1, 29):
        width, height = ((80, 60), (60, 80), (72, 72))[number % 3]
        name = f"{number:012d}"
        picture = Image.new("RGB", (width, height), tuple(int(v) for v in draw.integers(150, 250, 3)))
        first = number % 4
        shown = (first, (first + 1 + number % 3) % 4)
        lines = []
        for place, shape in enumerate(shown):
            side = int(draw.integers(20, 28))
            left, top = place * width // 2 + 2, int(draw.integers(2, height - side - 2))
            box = (left, top, left + side, top + side)
            paint, colour = ImageDraw.Draw(picture), tuple(255 if shape + 1 & 1 << bit else 0 for bit in range(3))
            (paint.ellipse if shape % 2 else paint.rectangle)(box, fill=colour)
            rows["annotations"].append({"image_id": number, "category_id": shape, "bbox": [left, top, side, side]})
            middle = (left + side / 2) / width, (top + side / 2) / height
            lines.append(f"{shape} {middle[0]} {middle[1]} {side / width} {side / height}")
        picture.save(folder / f"images/{name}.jpg", quality=95)
        (folder / f"labels/{name}.txt").write_text("\n".join(lines))
        rows["images"].append({"id": number, "file_name": f"{name}.jpg", "width": width, "height": height})
        words = [SHAPES[shape] for shape in shown]
        if number <= 24:
            captions += [{"image_id": number, "caption": f"There is a {word}, this is a {word}."} for word in words]
        if number <= 12:
            rounds = [{"question": 0, "answer": shown[0]}, {"question": 1, "answer": 4}]
            caption = f"A {words[0]} next to a {words[1]}"
            dialogues.append({"image_id": number, "caption": caption, "dialog": rounds})
    rows["categories"] = [{"id": n, "name": word, "supercategory": "shape"} for n, word in enumerate(SHAPES[:4])]
    talk = {
        "questions": ["what can you see", "is there a dog"],
        "answers": [*(f"a {word}" for word in SHAPES[:4]), "no"],
        "dialogs": dialogues,
    }
    for file, content in (
        ("instances.json", rows),
        ("captions.json", {"annotations": captions}),
        ("dialogues.json", {"split": "train", "data": talk}),
    ):
        (folder / file).write_text(json.dumps(content))
    (folder / "names.yaml").write_text(f"names: [{', '.join(SHAPES[:4])}]")
    with tarfile.open(folder / "all.tar", "w") as tar, zipfile.ZipFile(folder / "all.zip", "w") as packed:
        for file in sorted((*folder.glob("images/*"), *folder.glob("labels/*"))):
            tar.add(file, file.relative_to(folder))
            packed.write(file, file.relative_to(folder))
    return folder
