"""The engine on cells whose work is plain arithmetic: what runs, why, and what a failure leaves behind."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groundscope.errors import CorpusError, RunError, StudyError, TrainingError
from groundscope.progress import Progress
from groundscope.study.attempt import Job, attempt, prepare
from groundscope.study.cell import Cell, Record, Source, catalogue
from groundscope.study.engine import Outcome, run_cells
from groundscope.study.freshness import reasons_to_run
from groundscope.study.locks import only_attempt, only_process
from groundscope.study.selection import Selection

QUIET = Progress(quiet=True)


def cells(log: list[str], *, number: int = 1, fail: dict[str, Exception] | None = None) -> list[Cell]:
    """base -> left, right -> top; every cell writes a number that depends on what it reads."""

    def work(name: str, inputs: tuple[str, ...]):
        def run(folder: Path, progress: Progress, upstream):
            log.append(name)
            if fail and name in fail:
                raise fail[name]
            total = number + sum(int((folder.parent / source / "number").read_text()) for source in inputs)
            (folder / "number").write_text(str(total % 10))
            return {"": str(total % 10)}

        return run

    graph = {"base": (), "left": ("base",), "right": ("base",), "top": ("left", "right")}
    return [
        Cell(
            name,
            ("tables",),
            {"number": number if name == "base" else 0},
            work(name, inputs),
            tuple(Source(source) for source in inputs),
        )
        for name, inputs in graph.items()
    ]


def test_everything_runs_once_and_then_nothing(tmp_path: Path) -> None:
    log: list[str] = []
    assert set(run_cells(cells(log), tmp_path, QUIET).computed) == {"base", "left", "right", "top"}
    again = run_cells(cells(log), tmp_path, QUIET)
    assert log == ["base", "left", "right", "top"]
    assert not again.computed
    assert len(again.skipped) == 4


def test_changed_settings_recompute_what_stands_on_them_and_keep_the_old_result(tmp_path: Path) -> None:
    log: list[str] = []
    run_cells(cells(log), tmp_path, QUIET)
    reasons = reasons_to_run(cells(log, number=3), tmp_path)
    assert reasons["base"] == "settings changed: number"
    assert reasons["top"] == "upstream: left"
    run_cells(cells(log, number=3), tmp_path, QUIET)
    assert log[4:] == ["base", "left", "right", "top"]
    assert (tmp_path / ".superseded/base.1/number").read_text() == "1"


def test_an_upstream_that_comes_out_the_same_stops_the_wave(tmp_path: Path) -> None:
    log: list[str] = []
    run_cells(cells(log), tmp_path, QUIET)
    run_cells(cells(log), tmp_path, QUIET, Selection(force=("base",)))
    assert log[4:] == ["base"]


def test_finished_cells_may_be_kept_through_a_change_of_code_and_of_nothing_else(tmp_path: Path) -> None:
    log: list[str] = []
    run_cells(cells(log)[:2], tmp_path, QUIET)
    upgraded = [replace(cell, code=("files",)) for cell in cells(log)]
    assert (reasons_to_run(upgraded, tmp_path)["base"] or "").startswith("code changed")

    keep = Selection(keep=("base",))
    reasons = reasons_to_run(upgraded, tmp_path, keep)
    assert reasons["base"] is None
    assert (reasons["left"] or "").startswith("code changed")
    assert reasons["right"] == "missing"
    with_other_settings = [replace(cell, code=("files",)) for cell in cells(log, number=3)]
    assert (reasons_to_run(with_other_settings, tmp_path, keep)["base"] or "").startswith("settings changed")

    record = Record.load(tmp_path, "base")
    assert record is not None
    replace(record, finished=False).save(tmp_path, "base")  # what another version began is not gone on with
    assert (reasons_to_run(upgraded, tmp_path, keep)["base"] or "").startswith("code changed")
    with pytest.raises(StudyError, match="you mean"):
        Selection(keep=("bace",)).check(upgraded)


def test_a_failing_cell_spares_its_siblings_and_is_the_only_one_done_next_time(tmp_path: Path) -> None:
    log: list[str] = []
    outcome = run_cells(cells(log, fail={"left": TrainingError("the loss is not a number")}), tmp_path, QUIET)
    assert "right" in outcome.computed
    assert outcome.blocked == {"top": "left"}
    with pytest.raises(RunError, match="left: the loss is not a number"):
        outcome.raise_if_failed()
    log.clear()
    run_cells(cells(log), tmp_path, QUIET).raise_if_failed()
    assert log == ["left", "top"]


def test_a_defect_is_kept_and_told(tmp_path: Path) -> None:
    outcome = run_cells(cells([], fail={"right": ZeroDivisionError("by zero")}), tmp_path, QUIET)
    assert outcome.failed == {"right": "ZeroDivisionError: by zero"}
    assert "by zero" in (tmp_path / "right.error.txt").read_text()


def test_wrong_input_ends_the_run_and_leaves_no_trace_of_the_cell(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file"):
        run_cells(cells([], fail={"base": CorpusError("no such file")}), tmp_path / "run", QUIET).raise_if_refused()
    assert not (tmp_path / "run/base").exists()
    assert not catalogue(tmp_path / "run")


def test_wrong_input_behind_finished_work_keeps_that_work(tmp_path: Path) -> None:
    chain = cells([], fail={"left": StudyError("no words")})[:2]
    with pytest.raises(StudyError):
        run_cells(chain, tmp_path, QUIET).raise_if_refused()
    record = Record.load(tmp_path, "base")
    assert record is not None
    assert record.finished
    assert not (tmp_path / "left").exists()


def test_wrong_input_of_one_cell_spares_its_siblings(tmp_path: Path) -> None:
    outcome = run_cells(cells([], fail={"left": StudyError("too long")}), tmp_path, QUIET)
    outcome.raise_if_refused()
    assert "right" in outcome.computed
    assert outcome.failed == {"left": "too long"}
    with pytest.raises(RunError, match="left: too long") as raised:
        outcome.raise_if_failed()
    assert raised.value.exit_status == 1
    again = run_cells(cells([], fail={"left": StudyError("too long")}), tmp_path, QUIET)
    assert again.skipped == ["base", "right"]
    assert again.refusal is None  # a run that is done but for one cell is not refused


def test_many_cells_that_fail_alike_are_told_in_one_breath() -> None:
    failed = {**{f"lens/{number}": "the disk is full" for number in range(40)}, "words": "none"}
    with pytest.raises(RunError, match=r"\(lens/0, lens/1, lens/2 and 37 more: the disk is full; words: none\)"):
        Outcome(failed=failed).raise_if_failed()


def test_a_folder_that_cannot_be_made_fails_its_cell_alone(tmp_path: Path) -> None:
    (tmp_path / "left").write_text("a file where the cell's folder should be")
    outcome = run_cells(cells([]), tmp_path, QUIET)
    assert "its folder cannot be made ready" in outcome.failed["left"]
    assert "right" in outcome.computed


def test_a_trace_goes_when_its_cell_is_mended(tmp_path: Path) -> None:
    run_cells(cells([], fail={"right": ZeroDivisionError("by zero")}), tmp_path, QUIET)
    run_cells(cells([]), tmp_path, QUIET).raise_if_failed()
    assert not list(tmp_path.glob("*.error.txt"))


def test_only_takes_what_it_stands_on_and_names_what_it_does_not_know(tmp_path: Path) -> None:
    log: list[str] = []
    run_cells(cells(log), tmp_path, QUIET, Selection(only=("left",)))
    assert log == ["base", "left"]
    with pytest.raises(StudyError, match="Did you mean 'right'"):
        run_cells(cells(log), tmp_path, QUIET, Selection(only=("rigth",)))
    for heeded_not in (Selection(only=("left",), force=("base", "right")), Selection(only=("left",), keep=("right",))):
        with pytest.raises(StudyError, match=r"--(force|keep) right does nothing: --only left leaves"):
            heeded_not.check(cells(log))


def test_an_interrupted_cell_goes_on_in_its_folder(tmp_path: Path) -> None:
    def interrupted(folder: Path, progress: Progress, upstream):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    def resumed(folder: Path, progress: Progress, upstream):
        return {"": (folder / "half").read_text()}

    first = Cell("long", ("tables",), {}, interrupted, resumable=True)
    with pytest.raises(KeyboardInterrupt):
        run_cells([first], tmp_path, QUIET)
    second = Cell("long", ("tables",), {}, resumed, resumable=True)
    assert reasons_to_run([second], tmp_path) == {"long": "unfinished"}
    run_cells([second], tmp_path, QUIET).raise_if_failed()
    record = Record.load(tmp_path, "long")
    assert record is not None
    assert record.digests == {"": "half"}


def test_a_lost_file_makes_a_cell_stale(tmp_path: Path) -> None:
    log: list[str] = []
    run_cells(cells(log), tmp_path, QUIET)
    (tmp_path / "left/number").unlink()
    assert reasons_to_run(cells(log), tmp_path)["left"] == "its file number is missing"
    run_cells(cells(log), tmp_path, QUIET).raise_if_failed()
    assert log[4:] == ["left"]


def test_what_must_come_first_but_is_not_read_does_not_make_stale(tmp_path: Path) -> None:
    log: list[str] = []

    def graph(number: int) -> list[Cell]:
        first, second = cells(log, number=number)[0], cells(log)[1]
        return [first, replace(second, inputs=(), after=("base",), work=lambda *_: {"": "1"})]

    run_cells(graph(1), tmp_path, QUIET)
    assert reasons_to_run(graph(2), tmp_path) == {"base": "settings changed: number", "left": None}


def test_a_resumable_cell_is_not_erased_by_wrong_input(tmp_path: Path) -> None:
    def half(folder: Path, progress: Progress, upstream):
        (folder / "weights").write_text("hours of work")
        raise StudyError("something to mend")

    with pytest.raises(StudyError):
        run_cells([Cell("long", ("tables",), {}, half, resumable=True)], tmp_path, QUIET).raise_if_refused()
    assert (tmp_path / "long/weights").is_file()


def test_a_tolerant_cell_sees_only_what_is_up_to_date(tmp_path: Path) -> None:
    seen: dict = {}

    def gather(folder: Path, progress: Progress, upstream):
        seen.update(upstream)
        return {}

    graph = cells([], fail={"left": TrainingError("no")})
    graph[3] = replace(graph[3], work=gather, tolerant=True)
    run_cells(graph, tmp_path, QUIET)
    assert seen == {"left": {}, "right": {"": "2"}}


def test_two_processes_never_share_a_run(tmp_path: Path) -> None:
    with only_process(tmp_path), pytest.raises(StudyError, match="Another groundscope process"), only_process(tmp_path):
        pass


def test_a_second_attempt_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    with (
        only_attempt(tmp_path, "a/b"),
        pytest.raises(RunError, match="Another worker has been busy with a/b"),
        only_attempt(tmp_path, "a/b", patience=0.1),
    ):
        pass


def test_a_second_attempt_takes_what_the_first_finished_and_clears_what_it_left(tmp_path: Path) -> None:
    log: list[str] = []
    cell = cells(log)[0]
    job = Job(cell, tmp_path, Record.of(cell, {}), {})
    prepare(job, "missing", QUIET)
    (job.folder / "half").write_text("of a worker that died")
    assert attempt(job, QUIET).digests == {"": "1"}
    assert not (job.folder / "half").exists()
    assert attempt(job, QUIET).digests == {"": "1"}  # its worker died after the last word was written
    assert log == ["base"]


def test_a_cell_is_made_with_the_code_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may commit while a training runs for hours."""
    checkout = {"commit": "before"}
    monkeypatch.setattr("groundscope.study.attempt.made_with", lambda: dict(checkout))

    def work(folder: Path, progress: Progress, upstream) -> dict[str, str]:
        checkout["commit"] = "after"
        return {"": "1"}

    run_cells([Cell("base", ("tables",), {}, work)], tmp_path, QUIET)
    assert catalogue(tmp_path)["base"].made_with == {"commit": "before"}


def test_float32_is_whole_in_a_cell_and_as_it_was_behind_it(tmp_path: Path) -> None:
    """Of torch's own accord an LSTM on a GPU multiplies in TF32."""
    assert torch.backends.cudnn.allow_tf32
    seen: list[bool] = []

    def work(folder: Path, progress: Progress, upstream) -> dict[str, str]:
        seen.append(torch.backends.cudnn.allow_tf32)
        raise ValueError

    run_cells([Cell("base", ("tables",), {}, work)], tmp_path, QUIET)
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


def test_a_machine_that_does_not_see_the_run_says_so(tmp_path: Path) -> None:
    cell = cells([])[0]
    ended = attempt(Job(cell, tmp_path / "elsewhere", Record.of(cell, {}), {}), QUIET)
    assert "All machines need the run's folder" in str(ended.error)


def test_a_tolerant_cell_needs_one_of_what_it_joins_and_all_that_it_stands_after(tmp_path: Path) -> None:
    def joins(fail: dict[str, Exception]) -> Outcome:
        *measured, top = cells([], fail=fail)
        tolerant = replace(top, tolerant=True, inputs=(Source("base"), *top.inputs), after=("base",))
        return run_cells([*measured, tolerant], tmp_path, QUIET)

    diverged = TrainingError("the loss is not a number")
    assert joins({"left": diverged, "right": diverged}).blocked == {"top": "left"}
    assert joins({"left": diverged}).blocked == {}
