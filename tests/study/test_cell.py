"""Signatures: what makes a cell stale, and what does not."""

from pathlib import Path

from groundscope.files import read_json, write_json
from groundscope.study.cell import Cell, Record, Source


def cell(**changes) -> Cell:
    return Cell(**{"name": "a/b", "code": ("tables",), "settings": {"x": 1}, "work": lambda *_: {}, **changes})


def test_reasons_are_said_in_order_of_weight() -> None:
    record = Record.of(cell(), {"corpus": "1"})
    assert record.why_stale(Record.of(cell(), {"corpus": "1"})) is None
    assert record.why_stale(Record.of(cell(code=("files",)), {"corpus": "1"})) == "code changed: tables.py"
    assert record.why_stale(Record.of(cell(settings={"x": 2}), {"corpus": "1"})) == "settings changed: x"
    other = Record.of(cell(code=("files",), settings={"x": 2}), {"corpus": "2"})
    assert record.why_stale(other) == "settings changed: x"
    assert record.why_stale(Record.of(cell(), {"corpus": "2"})) == "upstream changed: corpus"
    assert record.why_stale(Record.of(cell(files={"data": "9"}), {"corpus": "1"})) == "upstream changed: data"


def test_settings_that_changed_are_named_wherever_they_stand() -> None:
    def record(**settings) -> Record:
        return Record.of(cell(settings=settings), {})

    before = record(model={"d_model": 8, "n_layers": 2}, seeds=(1, 2), steps=5)
    wider = record(model={"d_model": 9, "n_layers": 2}, seeds=[1, 2], steps=5)
    assert before.why_stale(wider) == "settings changed: model.d_model"
    otherwise = record(model={"d_model": 9, "n_layers": 2}, seeds=(1, 2), steps=6)
    assert before.why_stale(otherwise) == "settings changed: steps, model.d_model"
    more = record(a=1, b=2, c=3, d=4)
    assert before.why_stale(more) == "settings changed: a, b, c and others"


def test_a_record_of_a_version_that_kept_less_serves_and_says_less(tmp_path: Path) -> None:
    record = Record.of(cell(), {"corpus": "1"})
    (tmp_path / "a/b").mkdir(parents=True)
    record.save(tmp_path, "a/b")
    entry = read_json(tmp_path / "catalogue/a/b.json")
    del entry["code_files"], entry["settings_in_full"]
    write_json(tmp_path / "catalogue/a/b.json", entry)
    old = Record.load(tmp_path, "a/b")
    assert old is not None
    assert old.why_stale(record) is None
    assert old.why_stale(Record.of(cell(settings={"x": 2}), {"corpus": "1"})) == "settings changed"


def test_the_order_of_settings_does_not_count() -> None:
    one, two = cell(settings={"x": 1, "y": 2}), cell(settings={"y": 2, "x": 1})
    assert Record.of(one, {}) == Record.of(two, {})


def test_a_record_survives_the_disk(tmp_path) -> None:
    record = Record.of(cell(), {str(Source("train", "step-1")): "ab"})
    (tmp_path / "a/b").mkdir(parents=True)
    record.save(tmp_path, "a/b")
    assert Record.load(tmp_path, "a/b") == record
    (tmp_path / "catalogue/a/b.json").write_text('{"of": "another version"}')
    assert Record.load(tmp_path, "a/b") is None
