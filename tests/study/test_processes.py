"""The same cells in several processes of this machine: at once, with what each was given, and one may die."""

import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from groundscope.errors import RunError
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Source
from groundscope.study.engine import InThisProcess, run_cells
from groundscope.study.processes import InProcesses

pytestmark = pytest.mark.slow
QUIET = Progress(quiet=True)
WORK = '''
    import os, time
    import torch
    from groundscope.errors import TrainingError

    def meeting(folder, progress, upstream):
        """Ends only where the other one is at work at the same time."""
        (folder.parent / f"{folder.name}.here").touch()
        until = time.monotonic() + 60
        while len(list(folder.parent.glob("*.here"))) < 2:
            assert time.monotonic() < until, "the other cell was not begun"
            time.sleep(0.05)
        return {"": f"{os.getpid()} {torch.get_num_threads()}"}

    def gathering(folder, progress, upstream):
        return {"": "+".join(sorted(made[""] for made in upstream.values()))}

    def failing(folder, progress, upstream):
        raise TrainingError("the loss is not a number")

    def breaking(folder, progress, upstream):
        raise ZeroDivisionError("a defect")

    def dying(folder, progress, upstream):
        os._exit(3)

    def naming(folder, progress, upstream):
        (folder / "name").write_text(folder.name)
        return {"": folder.name}
'''


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that other processes can import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "work_of_a_test.py").write_text(dedent(WORK))
    monkeypatch.syspath_prepend(str(folder))
    yield __import__("work_of_a_test")
    del sys.modules["work_of_a_test"]


def test_cells_are_computed_at_once_with_their_threads(work: Any, tmp_path: Path) -> None:
    cells = [Cell(f"behaviour/{name}", ("tables",), {}, work.meeting) for name in "ab"]
    both = tuple(Source(cell.name) for cell in cells)
    cells.append(Cell("statistics/all", ("tables",), {}, work.gathering, both))
    executor = InProcesses(2, threads=1, quiet=True)
    outcome = run_cells(cells, tmp_path / "run", QUIET, executor=executor)
    outcome.raise_if_failed()
    first, second = (made.split() for made in _digest(tmp_path / "run", "statistics/all").split("+"))
    assert first[0] != second[0]
    assert first[1] == second[1] == "1"
    assert not executor._workers  # all are gone


def test_failures_are_those_of_one_process(work: Any, tmp_path: Path) -> None:
    def study() -> list[Cell]:
        kinds = ("failing", "breaking", "naming")
        return [Cell(f"behaviour/{kind}", ("tables",), {}, getattr(work, kind)) for kind in kinds]

    several = run_cells(study(), tmp_path / "several", QUIET, executor=InProcesses(2, threads=1, quiet=True))
    one = run_cells(study(), tmp_path / "one", QUIET, executor=InThisProcess(QUIET))
    assert several.failed == one.failed
    assert set(several.computed) == set(one.computed) == {"behaviour/naming"}
    assert "ZeroDivisionError" in (tmp_path / "several/behaviour-breaking.error.txt").read_text()


def test_a_process_that_dies_costs_its_cell_and_no_other(work: Any, tmp_path: Path) -> None:
    cells = [Cell("behaviour/dying", ("tables",), {}, work.dying)]
    cells += [Cell(f"behaviour/{number}", ("tables",), {}, work.naming) for number in range(4)]
    outcome = run_cells(cells, tmp_path / "run", QUIET, executor=InProcesses(2, threads=1, quiet=True))
    assert outcome.failed == {"behaviour/dying": "its process died (exit status 3)"}
    assert len(outcome.computed) == 4
    with pytest.raises(RunError, match="Run the same command to do just these"):
        outcome.raise_if_failed()


def test_stopping_ends_what_is_at_work(work: Any, tmp_path: Path) -> None:
    executor = InProcesses(1, threads=1, quiet=True)

    def interrupted() -> Any:
        raise KeyboardInterrupt

    executor.next_ended = interrupted  # type: ignore[method-assign]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_cells([Cell("behaviour/a", ("tables",), {}, work.meeting)], tmp_path / "run", QUIET, executor=executor)
    assert time.monotonic() - begun < 30  # the cell alone would have waited for a minute
    assert not executor._workers


def _digest(run: Path, cell: str) -> str:
    from groundscope.study.cell import catalogue

    return catalogue(run)[cell].digests[""]
