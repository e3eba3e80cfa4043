"""The cells that keep a run's study and what made it, and write its page."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from groundscope.files import read_json
from groundscope.progress import Progress
from groundscope.study.cell import Record
from groundscope.study.cells import report, tables
from groundscope.study.load import load_study
from groundscope.study.provenance import _commit, in_a_line, made_with, provenance


def test_the_command_is_that_of_the_process_that_planned_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def write_page(run: Path, page: Path) -> Path:
        page.write_text("<!doctype html>")
        return page

    monkeypatch.setattr(sys, "argv", ["groundscope", "run", "my study.yaml"])
    (cell,) = report.cells(load_study(None), tmp_path, write_page)
    monkeypatch.setattr(sys, "argv", ["default_worker.py", "--raylet-name=here"])
    cell.work(tmp_path, Progress(quiet=True), {})

    assert read_json(tmp_path / "provenance.json")["command"] == "groundscope run 'my study.yaml'"


def test_versions_and_machine_are_those_that_most_of_the_time_was_spent_with():
    here = made_with()
    lent = {**here, "machine": {**here["machine"], "accelerator": "NVIDIA H200"}}
    record = Record("code", "settings", {}, finished=True)
    known = {
        "train/lstm-4/seed-42": replace(record, seconds=300.0, made_with=lent),
        "behaviour/lstm-4/seed-42/step-00000300": replace(record, seconds=2.0, made_with=lent),
        "tables": replace(record, seconds=0.1, made_with=here),
        "report": replace(record, made_with={}),  # being written
    }
    told = provenance("groundscope run", known)
    assert told["machine"]["accelerator"] == "NVIDIA H200"
    (cells,) = told["elsewhere"]
    assert cells == "tables (1), report (1)"
    assert told["elsewhere"][cells].endswith(here["machine"]["processor"])
    assert told["seconds"]["train/lstm-4/seed-42"] == 300
    assert "elsewhere" not in provenance("groundscope run", {"tables": known["tables"]})
    older = {f"train/lstm-4/seed-{n}": replace(record, made_with=here | {"commit": n * 40}) for n in "12"}
    made_by = provenance("groundscope run", known | older)["elsewhere"]["train (1)"]
    assert "(1111111)" in made_by
    assert "(2222222)" in made_by, "as many cells of a kind, of two commits"


def test_a_checkout_is_named_by_its_commit_and_one_that_is_not_the_packages_is_not(tmp_path: Path):
    def git(*asked: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        called = ("git", "-C", str(tmp_path), *who, *asked)
        return subprocess.run(called, capture_output=True, text=True, check=True).stdout.strip()

    package, installed = tmp_path / "src", tmp_path / ".venv/groundscope"
    for folder in (package, installed):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    git("init", "-q")
    assert _commit(package) is None
    git("add", "src")
    git("commit", "-qm", "first")
    assert _commit(package) == git("rev-parse", "HEAD")
    assert _commit(installed) is None
    (package / "__init__.py").write_text("changed = True")
    assert _commit(package) == git("rev-parse", "HEAD") + ", changed"
    about = {"versions": {"groundscope": "1.0"}, "commit": _commit(package)}
    assert in_a_line(about) == f"groundscope 1.0 ({git('rev-parse', 'HEAD')[:7]}, changed)"


def test_a_study_is_kept_when_its_tables_are_and_not_before(tmp_path: Path):
    plain, fast = load_study(None), load_study(None, ["training.learning_rate=0.1"])
    (cell,) = tables.cells(plain, tmp_path, ())
    (other,) = tables.cells(fast, tmp_path, ())
    assert Record.of(cell, {}).why_stale(Record.of(other, {})) == "settings changed: training.learning_rate"
    assert not (tmp_path / "resolved.json").exists()
    other.work(tmp_path, Progress(quiet=True), {})
    assert read_json(tmp_path / "resolved.json")["training"]["learning_rate"] == 0.1
    assert load_study(tmp_path / "study.yaml").training.learning_rate == 0.1
