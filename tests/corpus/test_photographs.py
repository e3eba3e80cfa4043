"""Photographs with boxes as published, and repainting that leaves everything outside of the box alone."""

import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from groundscope.corpus.boxes import Box, Size
from groundscope.corpus.inpainting import Inpainter
from groundscope.corpus.photographs import picture_key, read_coco, read_yolo
from groundscope.corpus.picture_files import pictures_in
from groundscope.corpus.repainting import crop_swap
from groundscope.errors import CorpusError


def noise(seed, size=(60, 40)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number in (1, 2):
        noise(number).save(tmp_path / f"images/{number:012d}.png")
    (tmp_path / "labels/000000000001.txt").write_text(
        "0 .5 .5 .5 .5\n1 .1 .1 .2 .2\n7 .5 .5 .1 .1\nbad\n0 .1 .1 .2 .1 .2 .2\n1 15 10 30 20\n"
    )
    (tmp_path / "names.yaml").write_text("names: {0: dog, 1: traffic light}")
    return tmp_path


def test_yolo_and_coco_say_the_same(folder):
    problems = []
    pictures = pictures_in([folder / "images"], problems)
    first, second = read_yolo(pictures, [folder / "labels"], folder / "names.yaml", problems)
    assert [(thing.word, thing.box) for thing in first.objects] == [
        ("dog", Box(15, 10, 30, 20)),
        ("light", Box(0, 0, 12, 8)),
    ]
    assert (first.size, second.objects) == (Size(60, 40), ())
    assert [problem.line for problem in problems] == [3, 4, 5, 6]
    assert "these may be pixels" in problems[-1].why
    assert (first.unboxed, second.unboxed) == ({"dog", "traffic light"}, frozenset())
    instances = {
        "images": [{"id": n, "file_name": f"{n:012d}.png", "width": 60, "height": 40} for n in (1, 2, 3)],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 10, "name": "traffic light"}],
        "annotations": [
            {"image_id": 1, "category_id": 18, "bbox": [15, 10, 30, 20], "iscrowd": 0},
            {"image_id": 1, "category_id": 10, "bbox": [0, 0, 12, 8]},
            {"image_id": 1, "category_id": 18, "bbox": [0, 0, 60, 40], "iscrowd": 1},
            {"image_id": 2, "category_id": 99, "bbox": [0, 0, 1, 1]},
            {"image_id": 2, "category_id": 18, "bbox": [70, 0, 9, 9]},
            {"image_id": 2, "category_id": 10, "bbox": [50, 30, 20, 20]},
            {"image_id": 3, "category_id": 18, "bbox": [0, 0, 1, 1]},
        ],
    }
    (folder / "instances.json").write_text(json.dumps(instances))
    problems.clear()
    again, empty = read_coco(pictures, [folder / "instances.json"], problems)
    assert [(thing.name, thing.box) for thing in again.objects] == [(thing.name, thing.box) for thing in first.objects]
    assert [thing.category for thing in again.objects] == ["animal", "things"]
    assert (again.key, first.key) == ("COCO 1", "COCO 1")
    assert [(thing.name, thing.box) for thing in empty.objects] == [("traffic light", Box(50, 30, 10, 10))]
    assert (again.unboxed, empty.unboxed) == ({"dog"}, {"dog"})  # a crowd, and a box outside of the picture
    assert [problem.what for problem in problems] == ["annotation 4", "annotation 5"]


def test_of_photographs_that_are_called_alike_the_one_in_the_named_folder_is_meant(tmp_path):
    for number, place in enumerate(("one", "two")):
        (tmp_path / place).mkdir()
        noise(number).save(tmp_path / place / "1.png")
    pictures = pictures_in([tmp_path / "one", tmp_path / "two"], [])
    for name, found in (("two/1.png", ["two/1.png"]), ("1.png", None)):
        rows = {"images": [{"id": 1, "file_name": name, "width": 60, "height": 40}]}
        (tmp_path / "instances.json").write_text(json.dumps(rows))
        if found:
            read = read_coco(pictures, [tmp_path / "instances.json"], [])
            assert [one.file.name for one in read] == found
            continue
        with pytest.raises(CorpusError, match=r"one/1\.png and two/1\.png are both called 1\.png"):
            read_coco(pictures, [tmp_path / "instances.json"], [])
    noise(0).save(tmp_path / "two/1.png")
    assert [one.file.name for one in read_coco(pictures, [tmp_path / "instances.json"], [])] == ["one/1.png"]


def test_a_picture_that_breaks_off_in_its_header_is_named(folder):
    whole = (folder / "images/000000000001.png").read_bytes()
    problems = []
    for end in (0, 8, 20, 30):
        (folder / "images/000000000001.png").write_bytes(whole[:8] + b"\0\0\0\4IHDR" + whole[16:end])
        read = read_yolo(pictures_in([folder / "images"], []), [folder / "labels"], folder / "names.yaml", problems)
        assert [one.name for one in read] == ["000000000002"]
    assert ["cannot be read" in problem.why for problem in problems] == [True] * 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_cameras_photograph_is_put_upright_unless_its_boxes_are_for_it_as_it_lies(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lying = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10).resize((60, 40))
    (tmp_path / "images").mkdir()
    lying.save(tmp_path / "images/1.jpg", exif=exif, quality=95)
    (tmp_path / "1.txt").write_text("0 .25 .25 .5 .5")
    (tmp_path / "names.yaml").write_text("names: [dog]")
    with Image.open(tmp_path / "images/1.jpg") as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
        raw = opened.convert("RGB")
    problems = []
    pictures = pictures_in([tmp_path / "images"], problems)
    (yolo,) = read_yolo(pictures, [tmp_path], tmp_path / "names.yaml", problems)
    assert yolo.open().tobytes() == upright.tobytes()
    assert yolo.objects[0].box == Box(0, 0, upright.width / 2, upright.height / 2)
    for (width, height), expected in {raw.size: raw, upright.size: upright}.items():
        instances = {"images": [{"id": 1, "file_name": "1.jpg", "width": width, "height": height}]}
        (tmp_path / "instances.json").write_text(json.dumps(instances))
        (coco,) = read_coco(pictures, [tmp_path / "instances.json"], problems)
        assert coco.open().tobytes() == expected.tobytes()
    assert not problems


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"categories": [{"name": "dog"}]}, "one of its categories has no id or no name"),
        ({"images": [3]}, "one of its images has no id"),
        ({"annotations": [{"image_id": [1]}]}, "one of its annotations has no image_id"),
    ],
)
def test_rows_that_are_none_of_cocos_are_named(folder, change, says):
    instances = {"images": [{"id": 1, "file_name": "000000000001.png", "width": 60, "height": 40}], **change}
    (folder / "instances.json").write_text(json.dumps(instances))
    with pytest.raises(CorpusError, match=says):
        read_coco(pictures_in([folder / "images"], []), [folder / "instances.json"], [])


def test_labels_that_are_damaged_are_named(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as packed:
        packed.writestr("000000000001.txt", "0 .5 .5 .5 .5")
    raw = bytearray((tmp_path / "labels.zip").read_bytes())
    raw[46:50] = b"9 .9"
    (tmp_path / "labels.zip").write_bytes(raw)
    pictures = pictures_in([folder / "images"], [])
    with pytest.raises(CorpusError, match=r"000000000001\.txt cannot be read: Bad CRC"):
        read_yolo(pictures, [tmp_path / "labels.zip"], folder / "names.yaml", [])


def test_a_class_without_a_name_has_no_objects(folder):
    (folder / "names.yaml").write_text("names: ['', cat]")
    problems = []
    one, _ = read_yolo(pictures_in([folder / "images"], []), [folder / "labels"], folder / "names.yaml", problems)
    assert [thing.word for thing in one.objects] == ["cat"]
    assert problems[0].line == 1


def test_a_class_that_has_two_names_is_refused(folder):
    (folder / "names.yaml").write_text("names:\n  0: dog\n  0: cat\n")
    with pytest.raises(CorpusError, match=r"does not name YOLO's classes .*the key '0' stands at line 2 already"):
        read_yolo(pictures_in([folder / "images"], []), [folder / "labels"], folder / "names.yaml", [])


def test_a_picture_is_known_by_its_number():
    assert picture_key("train2014/COCO_train2014_000000000139.jpg") == picture_key("000000000139.jpg") == "COCO 139"
    assert picture_key("VisualDialog_val2018_000000000139.jpg") == "VisualDialog 139"
    assert picture_key("garden.jpg") is None


def test_a_swapped_crop_changes_its_box_and_nothing_else():
    picture, donor = noise(1), noise(2, (50, 50))
    box = Box(10, 5, 20, 12)
    swapped = np.asarray(crop_swap(picture, box, donor, Box(0, 0, 40, 24)))
    changed = (swapped != np.asarray(picture)).any(axis=2)
    assert changed[5:17, 10:30].mean() > 0.95
    changed[5:17, 10:30] = False
    assert not changed.any()
    expected = donor.crop((0, 0, 40, 24)).resize((20, 12), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(swapped[5:17, 10:30], np.asarray(expected))


def test_inpainting_paints_the_box_alone_and_says_what_is_missing():
    class Pipeline:
        vae_scale_factor = 4

        def __call__(self, *, prompt, image, mask_image, width, height, num_inference_steps, generator):
            assert prompt == "a photo of a cat"
            assert image.size == mask_image.size == (width, height) == (56, 40)
            assert 0.1 < np.asarray(mask_image).mean() / 255 < 0.3
            return type("Output", (), {"images": [Image.new("RGB", image.size, (255, 0, 0))]})

    picture, box = noise(1), Box(10, 5, 20, 20)
    painted = np.asarray(Inpainter(Pipeline()).repaint(picture, box, "cat"))
    assert (painted[5:25, 10:30] == (255, 0, 0)).all()
    outside = (painted != np.asarray(picture)).any(axis=2)
    outside[5:25, 10:30] = False
    assert not outside.any()
    with pytest.raises(CorpusError, match=r"could not be loaded|wants diffusers"):
        Inpainter.from_pretrained("/nowhere/at/all")


@pytest.mark.real
def test_real_photographs_have_the_boxes_that_are_there_in_a_folder_and_in_the_archive(real_data, tmp_path):
    with tarfile.open(real_data / "vision.tar") as archive:
        wanted = [m for m in archive if "coco128/object_detection" in m.name or "coco128/images/val" in m.name]
        archive.extractall(tmp_path, wanted, filter="data")
    found = []
    for root in (tmp_path / "vision/coco128", real_data / "vision.tar/vision/coco128"):
        problems, boxes = [], root / "object_detection"
        pictures = pictures_in([root / "images/val2017"], problems)
        photographs = read_yolo(pictures, [boxes / "labels/val2017"], boxes / "config.yaml", problems)
        assert not problems
        found.append([(one.name, one.size, one.objects, one.key) for one in photographs])
    assert found[0] == found[1]
    labels = tmp_path / "vision/coco128/object_detection/labels/val2017"
    lines = sum(len(file.read_text().splitlines()) for file in labels.glob("*.txt"))
    assert len(found[0]) == 128
    assert sum(len(objects) for _, _, objects, _ in found[0]) == lines
    for _, size, objects, _ in found[0]:
        for thing in objects:
            assert thing.box.overlap(size.whole) > 0
