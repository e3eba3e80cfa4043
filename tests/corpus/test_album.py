"""Photographs, what is said about them, and the words that their objects go by."""

import json
import shutil

import pytest

from groundscope.corpus.album import Album, PhotographOptions
from groundscope.corpus.dialogue import DialogueOptions
from groundscope.corpus.picture_talk import captions_of, dialogues_by_picture
from groundscope.errors import CorpusError


def options(folder, **changes):
    files = {"images": (folder / "images",), "boxes": (folder / "instances.json",)}
    talk = {"captions": (folder / "captions.json",), "dialogues": (folder / "dialogues.json",)}
    return PhotographOptions(**{**files, **talk, "shown": 1, "said": 1, **changes})


def spoken(talk):
    return [f"{one.speaker}: {' '.join(one.words)}" for one in talk]


def test_coco_and_yolo_make_the_same_album_but_for_the_kinds_of_things(photographs):
    coco = Album(options(photographs))
    for place, labels in (("images", "labels"), ("all.tar/images", "all.zip/labels")):
        yolo = Album(
            options(
                photographs,
                images=(photographs / place,),
                boxes=(photographs / "names.yaml",),
                labels=(photographs / labels,),
            )
        )
        for one, other in zip(coco.seen, yolo.seen, strict=True):
            assert (one.photograph.key, one.photograph.size) == (other.photograph.key, other.photograph.size)
            assert (one.words, one.is_trained, one.photograph.talks) == (
                other.words,
                other.is_trained,
                other.photograph.talks,
            )
    assert {*coco.categories.values()} == {"shape"}
    assert {*yolo.categories.values()} == {"things"}


def test_a_share_is_held_out_and_what_nobody_talks_about_is_never_trained(photographs):
    whole, some = Album(options(photographs, held_out=0)), Album(options(photographs, held_out=0.5))
    assert [one.is_trained for one in whole.seen] == [True] * 24 + [False] * 4
    assert 4 <= len(some.trained) <= 20
    fewer = Album(options(photographs, held_out=0.5, images=(photographs / "images/000000000005.jpg",)))
    assert fewer.trained[0].photograph.name == "000000000005"  # whether one is held out does not hang on the others
    assert "000000000005" in {one.photograph.name for one in some.trained}
    other = Album(options(photographs, held_out=0.5, seed=1))
    assert {one.photograph.name for one in other.trained} != {one.photograph.name for one in some.trained}


def test_talk_is_the_dialogue_and_each_caption_by_itself(photographs):
    album = Album(options(photographs, held_out=0))
    first, thirteenth = album.seen[0], album.seen[12]
    dialogue, *captions = map(spoken, first.photograph.talks)
    words = first.words
    assert dialogue == ["Q: what can you see", f"A: a {words[0]}", "Q: is there a dog", "A: no"]
    assert captions == [[f"A: there is a {word} this is a {word}"] for word in words]
    assert len(thirteenth.photograph.talks) == 2
    with_caption = Album(options(photographs, held_out=0, say_caption=True)).seen[0].photograph.talks[0]
    assert spoken(with_caption)[0] == f"Q: a {words[0]} next to a {words[1]}"
    assert {one.channel for talk in first.photograph.talks for one in talk} == {"LAN"}


def test_objects_go_by_the_one_word_that_is_said(photographs, tmp_path):
    captions = json.loads((photographs / "captions.json").read_text())["annotations"]
    for row in captions:
        if row["image_id"] % 3 == 0:
            row["caption"] = row["caption"].replace("disc", "plate")
        if row["image_id"] % 3 == 1:
            row["caption"] = row["caption"].replace("disc", "plate and coin")
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": captions}))
    changes = {"captions": (tmp_path / "captions.json",), "dialogues": (), "say": {"disc": ("plate", "coin")}}
    album = Album(options(photographs, held_out=0, **changes))
    named = set()
    for one in album.seen:
        discs = [thing for thing in one.photograph.objects if thing.name == "disc"]
        number = int(one.photograph.name)
        if not discs:
            continue
        assert {"plate", "coin"} <= one.may_show
        assert ("plate" in one.words) == (number % 3 == 0 and number <= 24)
        assert "coin" not in one.words  # where both are said, nobody knows
        named.add(number % 3)
    assert named == {0, 1, 2}
    assert "plate" in album.words({"plate", "coin", "square", "cross"})


def test_a_class_whose_noun_names_another_has_no_word(photographs, tmp_path):
    instances = json.loads((photographs / "instances.json").read_text())
    instances["categories"][0]["name"] = "hot square"
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    album = Album(options(photographs, boxes=(tmp_path / "instances.json",)))
    hot = [one for one in album.seen if any(thing.name == "hot square" for thing in one.photograph.objects)]
    assert hot
    for one in hot:
        squares = sum(thing.name == "square" for thing in one.photograph.objects)
        assert sum(word == "square" for word, _ in one.objects) == squares
        assert "square" in one.may_show
    assert one.speaks_of("disc") == bool({"disc", "discs"} & one.said)


def test_photographs_that_talk_cannot_tell_apart_are_taken_once(photographs):
    twice = options(photographs, images=(photographs / "images", photographs / "all.zip"), held_out=0)
    assert len(Album(twice).seen) == 28
    yolo = twice.model_copy(update={"boxes": (photographs / "names.yaml",), "labels": (photographs / "labels",)})
    album = Album(yolo)
    assert len(album.seen) == 28
    assert len(album.problems) == 28
    assert "has the same number" in album.problems[0].why


def test_a_picture_that_training_shows_is_not_new_under_another_name(photographs, tmp_path):
    """A copy that nobody talks about, or that is held out by its name, would stand in training and be called new."""
    shutil.copytree(photographs, tmp_path / "copy")
    known = Album(options(tmp_path / "copy", held_out=0))
    instances = json.loads((tmp_path / "copy/instances.json").read_text())
    for number in range(1, 9):
        shutil.copy(tmp_path / f"copy/images/{number:012d}.jpg", tmp_path / f"copy/images/{900 + number}.jpg")
        image = next(row for row in instances["images"] if row["id"] == number)
        row = {**image, "id": 900 + number, "file_name": f"{900 + number}.jpg"}
        instances["images"].insert(0, row)  # first in the file, but it is the other that is talked about
        instances["annotations"] += [
            {**thing, "image_id": 900 + number} for thing in instances["annotations"] if thing["image_id"] == number
        ]
    (tmp_path / "copy/instances.json").write_text(json.dumps(instances))
    album = Album(options(tmp_path / "copy", held_out=0))
    assert [one.photograph.name for one in album.seen] == [one.photograph.name for one in known.seen]
    assert len(album.problems) == 8
    assert "is the same picture as" in album.problems[0].why


def test_what_has_no_box_is_shown_all_the_same(photographs, tmp_path):
    instances = json.loads((photographs / "instances.json").read_text())
    plain = Album(options(photographs)).seen[0]
    crowd = next(row for row in instances["categories"] if row["name"] not in plain.may_show)
    instances["annotations"].append(
        {"image_id": 1, "category_id": crowd["id"], "bbox": [0, 0, 9, 9], "iscrowd": 1, "area": 81}
    )
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    one = Album(options(photographs, boxes=(tmp_path / "instances.json",))).seen[0]
    assert one.objects == plain.objects
    assert (one.unboxed, one.may_show) == ({crowd["name"]}, {*plain.may_show, crowd["name"]})


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"captions": ("captions.json", "captions.json")}, "is given twice"),
        ({"images": ("images", "images/000000000001.jpg")}, "lies in"),
        ({"images": ("all.tar", "all.tar/images")}, "lies in"),
    ],
)
def test_what_would_be_read_twice_is_refused(photographs, files, told):
    paths = {kind: tuple(photographs / name for name in names) for kind, names in files.items()}
    with pytest.raises(CorpusError, match=f"{told}.* so it would be read twice"):
        Album(options(photographs, **paths))


def test_a_photograph_of_another_size_than_its_boxes_is_left_out(photographs, tmp_path):
    instances = json.loads((photographs / "instances.json").read_text())
    instances["images"][0]["width"] = 999
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    album = Album(options(photographs, boxes=(tmp_path / "instances.json",)))
    assert len(album.seen) == 27
    assert "its boxes are for 999 x" in album.problems[0].why
    (tmp_path / "nothing.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(CorpusError, match="names none of the 28 photographs"):
        Album(options(photographs, boxes=(tmp_path / "nothing.json",)))


def test_dialogues_find_their_pictures_in_every_form(tmp_path):
    rounds = [{"question": 0, "answer": 0}]
    data = {
        "questions": ["where"],
        "answers": ["there"],
        "dialogs": [{"image_id": 139, "caption": "a", "dialog": rounds}],
    }
    (tmp_path / "train.json").write_text(json.dumps({"data": data, "split": "train"}))
    (tmp_path / "val.json").write_text(json.dumps({"data": data, "split": "val2018"}))
    vispro = {
        "doc_key": "dl:train:1",
        "image_file": "COCO_train2014_000000000139.jpg",
        "sentences": [["a", "caption"], ["is", "it"], ["yes"]],
        "speakers": [["caption"] * 2, ["question"] * 2, ["answer"]],
    }
    (tmp_path / "v.jsonlines").write_text(json.dumps(vispro))
    wanted = {"COCO 139", "VisualDialog 139"}
    for file, key, said in (
        ("train.json", "COCO 139", ["Q: where", "A: there"]),
        ("val.json", "VisualDialog 139", ["Q: where", "A: there"]),
        ("v.jsonlines", "COCO 139", ["Q: is it", "A: yes"]),
    ):
        found = dialogues_by_picture([tmp_path / file], wanted, DialogueOptions(), [])
        assert {known: spoken(talk) for known, talk in found.items()} == {key: said}
    assert not dialogues_by_picture([tmp_path / "train.json"], {"COCO 1"}, DialogueOptions(), [])


@pytest.mark.real
def test_real_captions_and_a_real_dialogue_find_their_photographs(real_data):
    root = real_data / "vision.tar/vision"
    album = Album(
        PhotographOptions(
            images=(root / "coco128/images",),
            boxes=(root / "coco128/object_detection/config.yaml",),
            captions=(root / "coco_captions",),
            dialogues=(root / "vispro",),
            say={"person": ("man", "woman", "boy", "girl")},
        )
    )
    assert len(album.seen) == 256
    assert not album.problems
    talked = [one for one in album.seen if one.photograph.talks]
    assert len(talked) == 128 + 1
    assert sum(any(one.speaker == "Q" for talk in seen.photograph.talks for one in talk) for seen in talked) == 1
    wanted = {one.photograph.key for one in talked if one.photograph.key}
    assert sum(map(len, captions_of([root / "coco_captions"], wanted, DialogueOptions(), []).values())) >= 5 * 128
    assert "person" not in album.categories
    assert "man" in album.categories


def test_boxes_that_are_of_no_photograph_say_why(photographs, tmp_path):
    instances = json.loads((photographs / "instances.json").read_text())
    file = tmp_path / "instances.json"
    for rows, says in (
        ([], "has boxes for none of the 28 photographs"),
        ([{**row, "bbox": None} for row in instances["annotations"]], r"In instances\.json: it has no category or box"),
    ):
        file.write_text(json.dumps({**instances, "annotations": rows}))
        with pytest.raises(CorpusError, match=says):
            Album(options(photographs, boxes=(file,)))
    (tmp_path / "000000000001.txt").write_text("0 .1 .1 .5 .1 .5 .5 .1 .5")
    with pytest.raises(CorpusError, match=r"too many values .* \(no polygons\)"):
        Album(options(photographs, boxes=(photographs / "names.yaml",), labels=(tmp_path,)))
