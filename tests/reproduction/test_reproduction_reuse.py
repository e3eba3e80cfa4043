"""Finished cells of other runs are taken over where their signature is the same, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest

from groundscope.errors import StudyError
from groundscope.progress import Progress
from groundscope.reproduction.reuse import other_runs, reuse
from groundscope.reproduction.run import run_experiment
from groundscope.study.cell import Cell, Source
from groundscope.study.engine import run_cells
from groundscope.study.load import load_study

QUIET = Progress(quiet=True)


def work(folder: Path, progress, upstream):
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "deep" / "weights").write_text(folder.name)
    return {"": f"made of {upstream}"}


def cells(learning_rate: float = 0.1) -> list[Cell]:
    corpus = Cell("corpus", ("files",), {"length": 8}, work)
    rate = {"learning_rate": learning_rate}
    trainings = [Cell(f"train/m/seed-{seed}", ("files",), rate, work, (Source("corpus"),)) for seed in (1, 2)]
    return [corpus, *trainings, Cell("report", ("files",), {}, work, (Source("corpus"),))]


def test_trainings_are_taken_over_once_and_are_fresh(tmp_path: Path):
    first, second = tmp_path / "paper-small" / "first", tmp_path / "paper-small" / "second"
    run_cells(cells()[:2], first, QUIET)
    assert other_runs(tmp_path, second) == [first]
    assert reuse(cells(), second, other_runs(tmp_path, second), QUIET) == ["corpus", "train/m/seed-1"]
    weights = [run / "train/m/seed-1/deep/weights" for run in (first, second)]
    assert weights[0].samefile(weights[1])
    outcome = run_cells(cells(), second, QUIET)
    assert outcome.skipped == ["corpus", "train/m/seed-1"]
    assert reuse(cells(), second, [first], QUIET) == []


def test_trainings_of_an_ablation_are_taken_over(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    branch = "ablation/cooccurring-050"
    less = Cell(f"{branch}/corpus", ("files",), {"remove": 50}, work, (Source("corpus"),))
    again = Cell(f"{branch}/train/m/seed-1", ("files",), {}, work, (Source(less.name),))
    measured = Cell(f"{branch}/behaviour/m/seed-1", ("files",), {}, work, (Source(again.name),))
    everything = [cells()[0], less, again, measured]
    run_cells(everything, first, QUIET)
    assert reuse(everything, second, [first], QUIET) == ["corpus", less.name, again.name]


def test_other_settings_other_code_and_lost_files_are_not_taken(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    run_cells(cells(), first, QUIET)
    assert reuse(cells(0.2), second, [first], QUIET) == ["corpus"]
    corpus, *others = cells()
    elsewhere = [replace(corpus, code=("tables",)), *others]
    assert reuse(elsewhere, tmp_path / "third", [first], QUIET) == []
    (first / "train/m/seed-2/deep/weights").unlink()
    assert reuse(cells(), tmp_path / "fourth", [first], QUIET) == ["corpus", "train/m/seed-1"]
    assert reuse(cells(), tmp_path / "alone" / "fifth", other_runs(tmp_path / "alone", first), QUIET) == []
    assert not (tmp_path / "alone").exists()


def test_nothing_is_taken_over_into_a_folder_that_is_no_run(tmp_path: Path):
    first, own = tmp_path / "first", tmp_path / "own"
    run_cells(cells(), first, QUIET)
    own.mkdir()
    (own / "thesis.tex").write_text("not ours")
    with pytest.raises(StudyError, match="is not empty and not a run"):
        run_experiment(load_study(None), own, tmp_path, lambda run, page: page, QUIET)
    assert [path.name for path in own.iterdir()] == ["thesis.tex"]
