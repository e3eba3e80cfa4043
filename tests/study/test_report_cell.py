"""The cell that keeps what made a run, and writes its page."""

import sys
from pathlib import Path

import pytest

from groundscope.files import read_json
from groundscope.progress import Progress
from groundscope.study.cells import report
from groundscope.study.load import load_study


def test_the_command_is_that_of_the_process_that_planned_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def write_page(run: Path, page: Path) -> Path:
        page.write_text("<!doctype html>")
        return page

    monkeypatch.setattr(sys, "argv", ["groundscope", "run", "my study.yaml"])
    (cell,) = report.cells(load_study(None), tmp_path, write_page)
    monkeypatch.setattr(sys, "argv", ["default_worker.py", "--raylet-name=here"])
    cell.work(tmp_path, Progress(quiet=True), {})

    assert read_json(tmp_path / "provenance.json")["command"] == "groundscope run 'my study.yaml'"
