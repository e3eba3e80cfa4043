"""Signatures: what makes a cell stale, and what does not."""

from groundscope.study.cell import Cell, Record, Source


def cell(**changes) -> Cell:
    return Cell(**{"name": "a/b", "code": ("tables",), "settings": {"x": 1}, "work": lambda *_: {}, **changes})


def test_reasons_are_said_in_order_of_weight() -> None:
    record = Record.of(cell(), {"corpus": "1"})
    assert record.why_stale(Record.of(cell(), {"corpus": "1"})) is None
    assert record.why_stale(Record.of(cell(code=("files",)), {"corpus": "1"})) == "code changed"
    assert record.why_stale(Record.of(cell(settings={"x": 2}), {"corpus": "1"})) == "settings changed"
    assert record.why_stale(Record.of(cell(), {"corpus": "2"})) == "upstream changed: corpus"
    assert record.why_stale(Record.of(cell(files={"data": "9"}), {"corpus": "1"})) == "upstream changed: data"


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
