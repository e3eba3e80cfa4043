import json
import tarfile
from itertools import pairwise

import pytest

from groundscope.corpus.captions import CaptionOptions, read_captions
from groundscope.corpus.dialogue import DialogueOptions, read_dialogues
from groundscope.corpus.running_text import rejoined
from groundscope.corpus.utterance import Channel
from groundscope.errors import CorpusError

QUESTIONS, ANSWERS = ["is it Sunny", "how many dogs?"], ["yes, very", "2", "I can't tell"]
ROUNDS = [{"question": 0, "answer": 0, "answer_options": [1, 2]}, {"question": 1, "answer": 2, "gt_index": 1}]
DIALOGUES = [
    {"image_id": 7, "caption": "A dog on the Grass.", "dialog": ROUNDS},
    {"image_id": 8, "caption": "two cats", "dialog": [{"question": 1}]},  # of a test split
]


def write(path, dialogues=DIALOGUES, *, order=("questions", "answers", "dialogs")):
    data = {"questions": QUESTIONS, "answers": ANSWERS, "dialogs": dialogues}
    path.write_text(json.dumps({"version": "1.0", "data": {key: data[key] for key in order}}))
    return path


def said(document):
    return [(u.speaker, u.channel.value, " ".join(u.words)) for u in document.utterances]


@pytest.mark.parametrize("order", [("questions", "answers", "dialogs"), ("dialogs", "answers", "questions")])
def test_the_caption_is_the_scene_and_the_rounds_are_speech(tmp_path, order):
    first, second = read_dialogues([write(tmp_path / "val.json", order=order)], DialogueOptions())
    assert said(first) == [
        ("Q", "ENV", "a dog on the grass"),
        ("Q", "LAN", "is it sunny"),
        ("A", "LAN", "yes very"),
        ("Q", "LAN", "how many dogs"),
        ("A", "LAN", "i can't tell"),
    ]
    assert said(second) == [("Q", "ENV", "two cats"), ("Q", "LAN", "how many dogs")]
    assert (first.name.split("#")[1], first.main_tiers, second.main_tiers) == ("7", 4, 1)
    assert not first.problems + second.problems
    tags = DialogueOptions(fold_case=False, caption="CAP", question="MOT", answer="CHI")
    first = next(read_dialogues([tmp_path / "val.json"], tags))
    assert said(first)[:3] == [
        ("CAP", "ENV", "A dog on the Grass"),
        ("MOT", "LAN", "is it Sunny"),
        ("CHI", "LAN", "yes very"),
    ]


def test_broken_dialogues_are_rows_of_the_error_table(tmp_path):
    rounds = [{"question": 9, "answer": 0}, "no round", {"question": 0, "answer": "1"}]
    broken = [{"image_id": 1}, {"caption": "a cat", "dialog": rounds}, "no dialogue", {"caption": "a", "dialog": 3}]
    documents = list(read_dialogues([write(tmp_path / "a.json", [*broken, DIALOGUES[0]])], DialogueOptions()))
    assert [len(document.utterances) for document in documents] == [0, 3, 0, 1, 5]
    whys = [(p.what, p.why) for document in documents for p in document.problems]
    assert whys[0] == ("dialogue 1", "it has no caption")
    assert ("dialogue 2", "round 1 names question 9, and the file holds 2 of them") in whys
    assert ("dialogue 2", "round 3 names answer '1', and the file holds 3 of them") in whys
    assert not documents[-1].problems


def test_files_that_break_off_or_are_something_else(tmp_path):
    whole = write(tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(whole[:-30])
    (tmp_path / "b.json").write_text(json.dumps({"annotations": []}))
    documents = list(read_dialogues([tmp_path], DialogueOptions()))
    assert len([document for document in documents if document.utterances]) == 1
    whys = [problem.why for document in documents for problem in document.problems]
    assert len(whys) == 2  # once per file, though a file is read three times
    assert "cannot be read further" in whys[0]
    assert "no file of Visual Dialog" in whys[1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no \.json or \.jsonlines or \.jsonl files"):
        next(read_dialogues([tmp_path / "empty"], DialogueOptions()))


def test_vispro_s_tokens_become_words_again(tmp_path):
    sentences = [["A", "dog", "."], ["Is", "n't", "it", "the", "man", "'s", "?"], [], ["No"]]
    roles = ["caption", "question", "answer", "answer"]
    row = {"doc_key": "dl:val:0", "sentences": sentences}
    row["speakers"] = [[role] * len(words) for role, words in zip(roles, sentences, strict=True)]
    lines = [json.dumps(row), "{", json.dumps({"doc_key": "x"}), ""]
    (tmp_path / "val.jsonlines").write_text("\n".join(lines))
    first, *broken = read_dialogues([tmp_path / "val.jsonlines"], DialogueOptions())
    assert said(first) == [("Q", "ENV", "a dog"), ("Q", "LAN", "isn't it the man's"), ("A", "LAN", "no")]
    assert [document.problems[0].line for document in broken] == [2, 3]
    assert rejoined(["ca", "n't", "'", "x"]) == "can't ' x"


def test_captions_of_one_picture_stand_together(tmp_path):
    rows = [(3, "A red bus."), (5, "Two cats"), (3, "A bus in town"), (3, "the bus")]
    annotations = [{"image_id": image, "id": 0, "caption": text} for image, text in rows]
    annotations += [{"caption": "x"}, {"image_id": [3], "caption": "y"}]
    (tmp_path / "c.json").write_text(json.dumps({"images": [], "annotations": annotations}))
    bus, cats, problems = read_captions([tmp_path / "c.json"], CaptionOptions())
    assert said(bus) == [("A", "ENV", "a red bus"), ("A", "LAN", "a bus in town"), ("A", "LAN", "the bus")]
    assert said(cats) == [("A", "ENV", "two cats")]
    assert [problem.what for problem in problems.problems] == ["annotation 5", "annotation 6"]
    (bus, *_) = read_captions([tmp_path / "c.json"], CaptionOptions(scene=0, speaker="CHI"))
    assert {(u.speaker, u.channel) for u in bus.utterances} == {("CHI", Channel.LAN)}


@pytest.mark.real
def test_real_dialogues_and_captions(real_data, tmp_path):
    """Counts of an independent reading of the same files with the standard library."""
    with tarfile.open(real_data / "vision.tar") as archive:
        members = [m for m in archive if "visdial_subsets" in m.name or "/vispro/" in m.name]
        archive.extractall(tmp_path, members, filter="data")
        captions = archive.extractfile("vision/coco_captions/captions_val2017.json")
        assert captions is not None
        (tmp_path / "captions.json").write_bytes(captions.read())
    for file in (tmp_path / "vision/visdial_subsets").glob("*.json"):
        data = json.loads(file.read_text())["data"]
        documents = list(read_dialogues([file], DialogueOptions()))
        assert not [problem for document in documents for problem in document.problems]
        assert len(documents) == len(data["dialogs"])
        answered = sum("answer" in round_ for dialogue in data["dialogs"] for round_ in dialogue["dialog"])
        asked = sum(len(dialogue["dialog"]) for dialogue in data["dialogs"])
        assert sum(document.main_tiers for document in documents) == asked + answered
    vispro = list(read_dialogues([tmp_path / "vision/vispro"], DialogueOptions()))
    assert len(vispro) == 1000
    assert not [problem for document in vispro for problem in document.problems]
    assert all(document.utterances[0].channel is Channel.ENV for document in vispro)
    spoken = [[u.speaker for u in document.utterances[1:]] for document in vispro]
    assert sum(a == b for turns in spoken for a, b in pairwise(turns)) < 20  # Q and A take turns
    words = sum(len(u.words) for document in vispro for u in document.utterances)
    assert 90_000 < words < 116_726  # its tokens hold punctuation and cut contractions
    pictures = list(read_captions([tmp_path / "captions.json"], CaptionOptions()))
    assert len(pictures) == 5000
    assert sum(document.main_tiers + 1 for document in pictures) == 25_014
