"""Tests on photographs: what is repainted, as what, in which boxes; and that the seed alone decides."""

import json

import numpy as np
import pytest
from PIL import Image

from groundscope.behaviour import photographed
from groundscope.behaviour.photographed import PhotographTestOptions, photographed_world
from groundscope.behaviour.picture_worlds import before, drawings, utterance_of
from groundscope.corpus.album import Album, PhotographOptions
from groundscope.corpus.boxes import Patches, Size, centre_cropped, stretched
from groundscope.corpus.inpainting import Inpainter
from groundscope.errors import CorpusError


def stretch(size):
    return [Patches.of(size, [stretched(size.whole, Size(32, 32), 8)])]


def options(folder, **changes):
    files = {"images": (folder / "images",), "boxes": (folder / "instances.json",)}
    talk = {"captions": (folder / "captions.json",)}
    return PhotographOptions(**{**files, **talk, "shown": 2, "said": 2, **changes})


def limits(**changes):
    return PhotographTestOptions(**{"pictures": 3, "mismatches": 1, "box": (0.02, 0.6), **changes})


@pytest.fixture(scope="module")
def world(photographs):
    return photographed_world(options(photographs), limits(), stretch)


def test_a_mismatch_repaints_the_largest_box_and_leaves_all_else(world, photographs):
    album = {one.photograph.name: one for one in Album(options(photographs)).seen}
    for test, match, mismatches in world.tests:
        one = album[test.name.rsplit("-", 1)[0]]
        assert one.is_trained != test.held_out
        mine = [thing.box for word, thing in one.objects if word == test.word]
        assert test.box == max(mine, key=lambda box: box.area)
        before_it = np.asarray(match()).astype(int)
        assert before_it.shape[1::-1] == (test.size.width, test.size.height)
        for other, draw in zip(test.instead, mismatches, strict=True):
            assert other not in one.may_show
            assert not one.speaks_of(other)
            changed = (np.abs(np.asarray(draw()).astype(int) - before_it) > 0).any(axis=2)
            left, top, right, bottom = test.box.corners.round().astype(int)
            assert changed[top:bottom, left:right].mean() > 0.3
            changed[top:bottom, left:right] = False
            assert not changed.any()


def test_training_and_tests_of_new_photographs_share_none(world):
    seen = {test.name for test, *_ in world.tests if not test.held_out}
    new = {test.name for test, *_ in world.tests if test.held_out}
    assert seen
    assert new
    assert not seen & new
    assert [test.style for test, *_ in world.tests] == ["seen"] * len(seen) + ["new"] * len(new)
    for part in (seen, new):
        words = [name.rsplit("-", 1)[1] for name in part]
        assert max(map(words.count, words)) <= 3
    assert {*words} <= {*world.words}
    assert len(drawings(world.tests)) == 2 * len(world.tests)


def test_crops_are_of_photographs_that_training_knows_as_well_and_that_do_not_show_the_word(photographs, monkeypatch):
    swapped = []
    monkeypatch.setattr(photographed, "_swapped", lambda *given: swapped.append(given))
    made = photographed_world(options(photographs, held_out=0.4), limits(pictures=20), stretch)
    album = {one.photograph.name: one for one in Album(options(photographs, held_out=0.4)).seen}
    for test, _, mismatches in made.tests:
        for other, draw in zip(test.instead, mismatches, strict=True):
            draw()
            donor = album[swapped[-1][2].name]
            assert other in donor.words
            assert test.word not in donor.may_show
            assert donor.is_trained != test.held_out
    assert {test.held_out for test, *_ in made.tests} == {True, False}


def test_a_sentence_is_dropped_where_nobody_says_the_an_that_it_becomes(photographs, tmp_path):
    changes = {}
    for kind, old in (("instances", '"disc"'), ("captions", "disc")):
        text = (photographs / f"{kind}.json").read_text()
        assert old in text
        changes[kind] = tmp_path / f"{kind}.json"
        changes[kind].write_text(text.replace(old, old.replace("disc", "orb")))
    asked = options(photographs, boxes=(changes["instances"],), captions=(changes["captions"],))
    made = photographed_world(asked, limits(sentences=("this is a", "this is")), stretch)
    assert "orb" in made.words
    assert {test.sentence for test, *_ in made.tests} == {"this is"}
    with pytest.raises(CorpusError, match="training never hears 'an'"):
        photographed_world(asked, limits(sentences=("this is a",)), stretch)


def test_the_same_seed_gives_the_same_tests_and_another_gives_others(world, photographs):
    again = photographed_world(options(photographs), limits(), stretch)
    assert [one.test for one in again.tests] == [one.test for one in world.tests]
    for one, other in zip(drawings(again.tests), drawings(world.tests), strict=True):
        assert one().tobytes() == other().tobytes()
    moved = photographed_world(options(photographs, seed=1), limits(), stretch)
    assert [one.test for one in moved.tests] != [one.test for one in world.tests]


def test_boxes_outside_of_the_limits_are_not_tested(photographs):
    def shares(world):
        return [test.box.area / test.size.whole.area for test, *_ in world.tests]

    whole = photographed_world(options(photographs), limits(pictures=20), stretch)
    least, most = np.quantile(shares(whole), [0.2, 0.8])
    some = photographed_world(options(photographs), limits(pictures=20, box=(least, most)), stretch)
    assert 0 < len(some.tests) < len(whole.tests)
    assert all(least <= share <= most for share in shares(some))

    def crop(size):
        return [Patches.of(size, [centre_cropped(size, 32, Size(16, 16), 4)])]

    cropped = photographed_world(options(photographs), limits(pictures=20), crop)
    assert {test.name for test, *_ in whole.tests} - {test.name for test, *_ in cropped.tests}
    assert cropped.tests
    for test, *_ in cropped.tests:  # what is cropped away is no test
        assert (crop(test.size)[0].share_in(test.box) >= 0.5).sum() >= 2


def test_only_objects_that_are_alone(photographs, tmp_path):
    instances = json.loads((photographs / "instances.json").read_text())
    first = instances["annotations"][0]
    instances["annotations"].append({**first, "bbox": [1, 1, 5, 5]})
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    changed = options(photographs, boxes=(tmp_path / "instances.json",), held_out=0)

    def tests(alone):
        made = photographed_world(changed, limits(pictures=20, alone=alone), stretch)
        return {test.name for test, *_ in made.tests}

    gone = tests(False) - tests(True)
    assert any(name.startswith("000000000001-") for name in gone)


def test_sentences_are_said_as_the_talk_has_words_for_them(world, photographs):
    assert {test.sentence for test, *_ in world.tests} == {"this is a", "there is a"}
    assert any(line.startswith("Sentences that the talk has no words for: a picture of a;") for line in world.about)
    said = utterance_of("<Q> can you see a")
    assert (said.speaker, said.words) == ("Q", ("can", "you", "see", "a"))
    assert utterance_of("look at the").speaker == "A"
    assert before("this is a", "apple") == "this is an"
    assert before("this is a", "car") == "this is a"
    assert before("look at the", "apple") == "look at the"
    dialogues = options(photographs, dialogues=(photographs / "dialogues.json",))
    questions = photographed_world(dialogues, limits(sentences=("<Q> is there a",)), stretch)
    assert {(test.said.speaker, test.sentence) for test, *_ in questions.tests} == {("Q", "<Q> is there a")}


def test_boxes_are_inpainted_where_that_is_asked_for(photographs, monkeypatch):
    asked = []

    class Pipeline:
        vae_scale_factor = 4

        def __call__(self, *, prompt, image, num_inference_steps, generator, **sizes):
            asked.append((prompt, num_inference_steps, generator.initial_seed()))
            return type("Output", (), {"images": [Image.new("RGB", image.size, (1, 2, 3))]})

    monkeypatch.setattr(Inpainter, "from_pretrained", lambda name, device: Inpainter(Pipeline()))
    repaint = photographed.Inpainting(inpaint="painter", steps=3)
    made = photographed_world(options(photographs), limits(repaint=repaint), stretch)
    (test, _, (draw, *_)), *_ = made.tests
    painted = np.asarray(draw())
    left, top, right, bottom = test.box.corners.round().astype(int)
    assert (painted[top:bottom, left:right] == (1, 2, 3)).all()
    draw()
    assert asked[0] == asked[1]
    assert asked[0][:2] == (f"a photo of a {test.instead[0]}", 3)


@pytest.mark.parametrize(("named", "painted_on"), [({}, "meta"), ({"device": "cpu"}, "cpu")])
def test_boxes_are_painted_where_the_encoders_are_unless_another_place_is_named(
    photographs, monkeypatch, named, painted_on
):
    asked = []
    monkeypatch.setattr(Inpainter, "from_pretrained", lambda name, device: asked.append(device) or Inpainter(None))
    repaint = photographed.Inpainting(inpaint="painter", **named)
    photographed_world(options(photographs), limits(repaint=repaint), stretch, "meta")
    assert asked == [painted_on]


def test_a_damaged_photograph_is_named(photographs, tmp_path):
    (tmp_path / "images").mkdir()
    for file in sorted((photographs / "images").iterdir()):
        raw = file.read_bytes()
        (tmp_path / "images" / file.name).write_bytes(raw[: len(raw) // 2])  # its head is whole, so its size is known
    broken = photographed_world(options(photographs, images=(tmp_path / "images",)), limits(), stretch)
    with pytest.raises(CorpusError, match=r"0+\d+\.jpg cannot be read as a picture"):
        broken.tests[0].match()


def test_what_is_not_alone_for_a_crowd_of_its_kind_is_not_tested_alone(photographs, tmp_path):
    rows = json.loads((photographs / "instances.json").read_text())
    of = {row["image_id"]: row["category_id"] for row in rows["annotations"]}
    rows["annotations"] += [
        {"image_id": number, "category_id": kind, "bbox": [0, 0, 9, 9], "iscrowd": 1} for number, kind in of.items()
    ]
    (tmp_path / "instances.json").write_text(json.dumps(rows))
    named = {row["id"]: row["name"] for row in rows["categories"]}
    crowded = options(photographs, boxes=(tmp_path / "instances.json",))
    for alone in (False, True):
        tests = photographed_world(crowded, limits(alone=alone), stretch).tests
        crowds = [drawn.test for drawn in tests if named[of[int(drawn.test.name[:12])]] == drawn.test.word]
        assert bool(crowds) != alone


def test_the_world_says_what_it_could_not_use(photographs, world, tmp_path):
    assert not any("could not" in line or "Not used" in line for line in world.about)
    (tmp_path / "more.json").write_text('{"annotations": [{"image_id": 1}]}')
    captions = (photographs / "captions.json", tmp_path / "more.json")
    told = photographed_world(options(photographs, captions=captions), limits(), stretch).about[-1]
    assert "1 photographs, rows or files (table `problems`)" in told
    assert "more.json: it holds no captions" in told
