import json

import numpy as np
import pytest
import torch
from PIL import Image

import groundscope.picture_verbs as verbs
from groundscope.cli import main
from groundscope.corpus.boxes import Box, Patches, stretched
from groundscope.corpus.boxes import Size as PictureSize
from groundscope.errors import AnalysisError, CorpusError, ModelError
from groundscope.mechanism.causal import CausalOptions
from groundscope.mechanism.detect_pictures import DetectOptions, detect
from groundscope.mechanism.detect_pictures_tables import detected_heads_frame, detection_lines
from groundscope.mechanism.inspect_picture_tables import SUBJECT_COLUMNS
from groundscope.mechanism.picture_questions import GroundedSight, Ready
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models import build, preset
from groundscope.models.wording import Wording
from groundscope.picture_verbs import detect_heads, inspect_image, open_picture, parse_box, photographs_of
from groundscope.study.sight import open_sight
from groundscope.tables import SCHEMAS, read_table
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train

NOBODY = {column.name: "" for column in SUBJECT_COLUMNS}


def test_boxes_and_files_as_people_write_them(tmp_path):
    assert parse_box("1, 2,3.5,4") == Box(1.0, 2.0, 3.5, 4.0)
    for wrong in ("1,2,3", "a,b,c,d", ""):
        with pytest.raises(CorpusError, match="written x,y,w,h"):
            parse_box(wrong)
    (tmp_path / "cat.jpg").write_text("no picture")
    with pytest.raises(CorpusError, match="cannot be read as a picture"):
        open_picture(tmp_path / "cat.jpg")
    with pytest.raises(CorpusError, match="There is no file"):
        photographs_of(tmp_path, tmp_path / "boxes.json", [])
    asked = {"revision": None, "device": "cpu", "dtype": "float32", "threshold": 0.7, "draws": 2, "page": None}
    Image.new("RGB", (4, 4)).save(tmp_path / "dog.png")
    with pytest.raises(AnalysisError, match="Give both"):
        inspect_image("m", tmp_path / "dog.png", None, "a", "dog", **asked)


def test_a_training_on_words_alone_is_told_apart_whichever_verb_asks(tmp_path):
    model = preset("transformer-4", 20, d_model=16, n_heads=2, n_positions=8, n_layers=1)
    config = TrainConfig(steps=2, warmup_steps=1, batch_size=2, checkpoints=(2,), device="cpu")
    train(np.zeros((4, 8), dtype=np.int32), model, config, 42, tmp_path / "words", arch="words")
    with pytest.raises(ModelError, match=r"was trained without pictures: it can be shown none\."):
        open_sight(tmp_path / "words")


def test_pictures_are_opened_as_viewers_show_them(tmp_path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :10] = 255  # white on the left
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=turned)
    picture = open_picture(tmp_path / "turned.jpg")
    assert picture.size == (20, 40)
    assert np.asarray(picture)[:8].mean() > 200 > 50 > np.asarray(picture)[12:].mean()
    for mode, name in (("CMYK", "a.jpg"), ("L", "b.jpg"), ("RGBA", "c.png"), ("P", "d.png"), ("1", "e.png")):
        Image.new(mode, (4, 3)).save(tmp_path / name)
        assert (open_picture(tmp_path / name).mode, open_picture(tmp_path / name).size) == ("RGB", (4, 3))
    whole = (tmp_path / "turned.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("half.jpg", "empty.jpg", "none.jpg"):
        with pytest.raises(CorpusError, match="cannot be read as a picture"):
            open_picture(tmp_path / name)


def test_a_picture_too_large_to_open_is_named(tmp_path, monkeypatch):
    Image.new("L", (64, 64)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(CorpusError, match="exceeds limit"):
        open_picture(tmp_path / "large.png")


ASKED = {"revision": None, "device": "cpu", "dtype": "float32", "threshold": 0.7, "draws": 2, "page": None}


def test_a_box_beyond_its_picture_is_refused(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "dog.png")
    for box in ("50,50,5,5", "10,10,35,25", "-5,0,10,10"):  # the second one gives its lower right corner
        with pytest.raises(CorpusError, match="reaches beyond the picture of 40 x 30"):
            inspect_image("m", tmp_path / "dog.png", box, "a", "dog", **ASKED)
    with pytest.raises(ModelError, match="--vocabulary is for models of groundscope's"):
        inspect_image("m", tmp_path / "dog.png", "1,1,39,29", "a", "dog", vocabulary=tmp_path, **ASKED)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--image", "a.png", "--box", "1,1,2,2", "--threshold", "0.5"], "--threshold is for prompts of words"),
        (["--overlay", "a.html"], "--overlay is for pictures: give --image"),
        (["--box-threshold", "0.5"], "--box-threshold is for pictures: give --image"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, says, capsys):
    with pytest.raises(SystemExit) as left:
        main(["inspect", "--model", "m", "--prompt", "a", "--target", "b", *options])
    assert left.value.code == 2
    assert says in capsys.readouterr().err


def test_pictures_are_seen_on_the_gpu_where_there_is_one_and_float32_is_whole(monkeypatch, tmp_path):
    asked, whole = [], []

    def looked(*_, device, **__):
        asked.append(device)
        whole.append(not torch.backends.cudnn.allow_tf32)
        return ""

    monkeypatch.setattr(verbs, "inspect_image", looked)
    monkeypatch.setattr(verbs, "detect_heads", looked)
    one = ["inspect", "--model", "m", "--prompt", "a", "--target", "b", "--image", "a.png", "--box", "1,1,2,2"]
    for verb in (one, ["detect", "--model", "m", "--images", str(tmp_path), "--boxes", "b.json"]):
        for given in ([], ["--device", "cuda:1"]):
            with pytest.raises(SystemExit) as left:
                main([*verb, *given])
            assert left.value.code == 0
    assert asked == ["auto", "cuda:1"] * 2
    assert all(whole)


def tiny_world():
    vocabulary, positions = 12, 9
    bank = torch.randn(8 * positions, 6, generator=torch.Generator().manual_seed(0))
    sizes = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_patch": 6, "projector": "linear", "n_positions": 16}
    model = build(preset("vlm-4", vocabulary, **sizes), 1).eval().show(bank)
    prompts = []
    for number in range(8):
        patches = vocabulary + number * positions + torch.arange(positions)
        ids = torch.cat([torch.tensor([0]), patches, torch.tensor([3, 4])])[None]
        scene = ids >= vocabulary
        ground = scene & (torch.arange(12) < 4)
        targets, numbers = torch.tensor([5 + number % 3]), torch.tensor([number])
        prompts.append(PromptBatch(ids, targets, ground, scene=scene, numbers=numbers))
    return model, prompts


OPTIONS = DetectOptions(
    criterion=DetectOptions().criterion.model_copy(update={"threshold": 0.2}),
    frequency=0.01,
    causal=CausalOptions(unit="prompt", draws=2, permutations=99, resamples=100),
)


def test_a_detection_splits_its_pictures_and_says_what_it_found():
    model, prompts = tiny_world()
    found = detect(model, prompts, "tiny", OPTIONS)
    heads = detected_heads_frame(found, NOBODY)
    assert (heads["n_found"][0], heads["n_held_out"][0], heads["chance_share"][0]) == (4, 4, pytest.approx(1 / 3))
    assert np.array_equal(heads["stable"], heads["frequency_found"] > 0)
    assert heads["stable"].any()
    lines = list(detection_lines(found))
    assert "held-out pictures" in "".join(lines)
    assert sum("layer-matched control" in line for line in lines) == 1
    with pytest.raises(AnalysisError, match="too few for two halves"):
        detect(model, prompts[:3], "tiny", OPTIONS)


def test_the_set_is_chosen_in_one_half_and_tested_in_the_other_only():
    model, prompts = tiny_world()
    asked_again = []

    def again(number):
        asked_again.append(number)
        return prompts[number]

    found = detect(model, iter(prompts), "tiny", OPTIONS, again=again)
    assert asked_again == [number for number, held in zip(found.numbers, found.held_out, strict=True) if held]
    assert found.causal["n_prompts"].unique().to_list() == [4]
    # other pictures in the held-out half change neither the set nor what was found in the first half
    other = [prompts[0] if held else prompt for prompt, held in zip(prompts, found.held_out, strict=True)]
    same = [PromptBatch(p.input_ids, p.targets, p.ground, scene=p.scene, numbers=q.numbers)
            for p, q in zip(other, prompts, strict=True)]  # fmt: skip
    changed = detect(model, same, "tiny", OPTIONS)
    assert np.array_equal(changed.stable, found.stable)
    assert not np.array_equal(changed.shares, found.shares)
    repeated = detect(model, iter(prompts), "tiny", OPTIONS)
    assert detected_heads_frame(repeated, NOBODY).equals(detected_heads_frame(found, NOBODY))
    assert repeated.causal.equals(found.causal)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Six photographs with boxes, of which one is broken and of one's box the model sees nothing."""
    model, prompts = tiny_world()
    rows = []
    for number in range(8):
        Image.new("RGB", (30, 30), (number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append({"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, 10, 10]})
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    images = [{"id": n, "file_name": f"{n}.png", "width": 30, "height": 30} for n in range(8)]
    named = [{"id": 1, "name": "dog"}]
    (tmp_path / "boxes.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": named}))
    opened = []

    def ready(sight, questions, first=0):
        (question,) = questions
        number = question.picture.getpixel((0, 0))[0]
        opened.append(number)
        if number == 5:
            raise CorpusError("The encoder sees nothing of the box.")
        patches = Patches.of(PictureSize(30, 30), [stretched(PictureSize(30, 30).whole, PictureSize(30, 30), 10)])
        batch = prompts[number]
        batch = PromptBatch(
            batch.input_ids, batch.targets, batch.ground, scene=batch.scene, numbers=torch.tensor([first])
        )
        pieces = ("do", "g") if number == 1 else ("dog",)
        return model, [Ready(batch, patches, Wording((1,), ("a",), (), (2,), pieces, ""))]

    sight = object.__new__(GroundedSight)  # no encoder: `ready` is not the real one
    object.__setattr__(sight, "model", model)
    monkeypatch.setattr(verbs, "ready", ready)
    monkeypatch.setattr(verbs, "sight_of", lambda *_, **__: sight)
    return tmp_path, opened


def ask(folder, *, at_most=None, threshold=0.34, **options):
    return detect_heads(
        "owner/name", folder, folder / "boxes.json", "this is a", (), at_most=at_most, threshold=threshold,
        frequency=0.01, draws=2, revision="step3", device="cpu", dtype="float32", out=folder / "out", **options,
    )  # fmt: skip


def test_photographs_that_cannot_be_asked_about_are_left_out(photographs):
    folder, opened = photographs
    told = json.loads(ask(folder, as_json=True))
    assert [picture["picture"] for picture in told["pictures"]] == [0, 1, 2, 4, 6, 7]
    assert (told["model"], told["revision"]) == ("owner/name", "step3")
    assert sorted(opened) == sorted([0, 1, 2, 4, 5, 6, 7, *(p["picture"] for p in told["pictures"] if p["held_out"])])
    heads, pictures, causal = (
        read_table(folder / "out" / f"{name}.parquet", SCHEMAS[name])
        for name in ("detected_heads", "detected_pictures", "causal")
    )
    assert heads.filter("stable")["name"].to_list() == told["stable"]
    assert pictures["image"].str.split("/").list.last().to_list() == [
        "0.png",
        "1.png",
        "2.png",
        "4.png",
        "6.png",
        "7.png",
    ]
    for half, column in ((False, "frequency_found"), (True, "frequency_held_out")):
        rows = pictures.filter(held_out=half)
        for head in heads.iter_rows(named=True):
            share = np.mean([head["name"] in row.split() for row in rows["heads"]])
            assert share == pytest.approx(head[column])
    assert causal["n_prompts"].to_list() == [3, 3]
    assert "1 of 6 words are cut into pieces" in ask(folder)


def test_no_more_photographs_are_opened_than_asked_for(photographs):
    folder, opened = photographs
    with pytest.raises(AnalysisError, match=r"Of 4 photographs 3 could be asked about.*3\.png"):
        ask(folder, at_most=4)
    assert opened == [0, 1, 2]


def test_a_box_that_any_head_would_reach_says_nothing(photographs):
    folder, _ = photographs  # every box holds a third of its picture
    with pytest.raises(AnalysisError, match="holds 33 % of the picture's positions, so that any head would reach"):
        ask(folder, threshold=0.33)


def test_boxes_of_a_picture_of_another_size_are_not_believed(photographs):
    folder, opened = photographs
    Image.new("RGB", (15, 15), (6, 0, 0)).save(folder / "6.png")  # made smaller after it was labelled
    told = json.loads(ask(folder, as_json=True))
    assert [picture["image"].split("/")[-1] for picture in told["pictures"]] == [f"{n}.png" for n in (0, 1, 2, 4, 7)]
    assert 6 not in opened
