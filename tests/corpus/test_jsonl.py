"""One JSON object per line: what is read, and what becomes a problem."""

import json

import pytest
from pydantic import ValidationError

from groundscope.corpus.jsonl import JsonlOptions, read_jsonl
from groundscope.corpus.utterance import Channel, Utterance
from groundscope.errors import CorpusError


def read(tmp_path, *lines, fold_case=True):
    path = tmp_path / "mine.jsonl"
    rows = [line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in lines]
    path.write_bytes(b"\n".join(rows))
    return list(read_jsonl([path], JsonlOptions(fold_case=fold_case)))


def say(text, document="a", **more):
    return {"speaker": "ANN", "channel": "LAN", "text": text, "document": document, **more}


def test_text_and_words_of_both_channels(tmp_path):
    scene = {"speaker": "BEN", "channel": "ENV", "words": ["A", "C3-PO!"], "document": "a", "id": 7}
    (document,) = read(tmp_path, scene, say("Don’t go, the merry-go-round's ... 2 <unk>!"))
    assert document.utterances == (
        Utterance("BEN", Channel.ENV, ("a", "c3-po!"), "scene", 1),
        Utterance("ANN", Channel.LAN, ("don’t", "go", "the", "merry-go-round's", "2", "<unk>"), "main", 2),
    )
    assert (document.name, document.collection, document.main_tiers) == ("a", "mine", 1)
    assert document.problems == ()


def test_case_can_be_kept(tmp_path):
    (document,) = read(tmp_path, say("Look There"), fold_case=False)
    assert document.utterances[0].words == ("Look", "There")
    with pytest.raises(ValidationError):
        JsonlOptions(lower=True)  # pyright: ignore[reportCallIssue]


def test_documents_are_runs_of_lines(tmp_path):
    documents = read(tmp_path, say("one"), say("two"), b"", say("three", "b"), say("four", "a"))
    assert [(d.name, [u.words[0] for u in d.utterances]) for d in documents] == [
        ("a", ["one", "two"]),
        ("b", ["three"]),
        ("a", ["four"]),
    ]
    assert [(p.line, p.what) for p in documents[2].problems] == [(5, "document")]


def test_without_documents_the_file_is_one(tmp_path):
    row = {"speaker": "ANN", "channel": "LAN", "text": "hi"}
    (document,) = read(tmp_path, row, row)
    assert document.name == f"{tmp_path.name}/mine.jsonl"
    assert len(document.utterances) == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nonsense", "Invalid JSON"),
        (b'{"speaker": "A"', "Invalid JSON"),
        (b"[1, 2]", "object"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"speaker":"A","channel":"LAN","text":"\\ud800"}', "Invalid JSON"),
        ({"channel": "LAN", "text": "x"}, "speaker: Field required"),
        ({"speaker": "A", "channel": "lan", "text": "x"}, "channel: Input should be 'ENV' or 'LAN'"),
        ({"speaker": "A B", "channel": "LAN", "text": "x"}, "'speaker' must be a code"),
        ({"speaker": "A", "channel": "LAN"}, "either 'text' or 'words'"),
        ({"speaker": "A", "channel": "LAN", "text": "x", "words": ["x"]}, "either 'text' or 'words'"),
        ({"speaker": "A", "channel": "LAN", "words": ["x y"]}, "is not one word"),
        ({"speaker": "A", "channel": "LAN", "words": [""]}, "is not one word"),
        ({"speaker": "A", "channel": "LAN", "words": "x"}, "words: Input should be"),
    ],
)
def test_bad_lines_are_told_and_cost_nothing_else(tmp_path, line, why):
    (document,) = read(tmp_path, say("before"), line, say("after"))
    assert [u.words for u in document.utterances] == [("before",), ("after",)]
    (problem,) = document.problems
    assert (problem.line, problem.what) == (2, "line")
    assert why in problem.why


def test_empty_files_marks_and_silence(tmp_path):
    (empty,) = read(tmp_path)
    assert (empty.utterances, empty.problems[0].why) == ((), "it is empty")
    (marked,) = read(tmp_path, b"\xef\xbb\xbf" + json.dumps(say("hi")).encode() + b"\r")
    assert (marked.problems, marked.utterances[0].words) == ((), ("hi",))
    (silent,) = read(tmp_path, say("..."))
    assert (silent.utterances, silent.main_tiers, silent.problems) == ((), 1, ())


def test_missing_files(tmp_path):
    with pytest.raises(CorpusError, match="There is no file or folder"):
        list(read_jsonl([tmp_path / "missing.jsonl"], JsonlOptions()))
    with pytest.raises(CorpusError, match=r"holds no \.jsonl files"):
        list(read_jsonl([tmp_path], JsonlOptions()))
