"""What is refused before a run begins, and what the list of runs does without."""

import subprocess
import sys
from pathlib import Path

import pytest

from groundscope.cli import main
from groundscope.errors import GroundscopeError, StudyError
from groundscope.progress import Progress
from groundscope.study.load import load_study
from groundscope.study.plan import plan
from groundscope.study.run import describe, plan_run, run_study
from groundscope.study.selection import Selection


@pytest.mark.parametrize("module", ["nosuchmodule", "nosuchmodule.inner", "."])
@pytest.mark.parametrize("key", ["training.track", "models.lstm-4.training.track"])
def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_computed(
    tmp_path: Path, module: str, key: str
) -> None:
    study = load_study(None, [f"{key}={module}"])
    with pytest.raises(StudyError, match=r"which is not installed\. Try `pip install") as error:
        run_study(study, tmp_path / "run", lambda run, page: page, Progress(quiet=True), Selection())
    assert error.value.exit_status == 2
    assert f"'{module}'" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_check_and_a_dry_run_say_what_a_run_would_refuse(tmp_path: Path) -> None:
    study = load_study(None, ["training.track=nosuchmodule"])
    with pytest.raises(StudyError, match="'nosuchmodule', which is not installed"):
        next(describe(study))
    with pytest.raises(StudyError, match="'nosuchmodule', which is not installed"):
        next(plan_run(study, tmp_path / "run", lambda run, page: page, Selection()))
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/love.txt").write_text("mine")
    with pytest.raises(StudyError, match="not empty and not a run of groundscope"):
        next(plan_run(load_study(None), tmp_path / "letters", lambda run, page: page, Selection()))


@pytest.mark.parametrize(
    ("lacking", "complaint"),
    [
        ("corpus={source: chat, paths: [none.zip]}", "There is no file or folder .*none.zip"),
        ("corpus={source: built, path: none}", "none is not a corpus"),
        ("corpus={source: jsonl, paths: ['${TLAK}/a.jsonl']}", "uses \\${TLAK}, which is not set"),
        ("behaviour.contexts=none.yaml", "There is no context file .*none.yaml"),
        ("behaviour.contexts='${TLAK}/c.yaml'", "uses \\${TLAK}, which is not set"),
        ("behaviour.acquisition=none.csv", "none.csv"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    study, run = load_study(None, [lacking]), tmp_path / "run"
    with pytest.raises(GroundscopeError, match=complaint):
        next(describe(study))
    with pytest.raises(GroundscopeError, match=complaint):
        next(plan_run(study, run, lambda run, page: page, Selection()))
    with pytest.raises(GroundscopeError, match=complaint):
        run_study(study, run, lambda run, page: page, Progress(quiet=True), Selection())
    assert not run.exists()


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_a_file_where_the_run_should_be_is_named(more: list[str], tmp_path: Path, capsys) -> None:
    (tmp_path / "afile").write_text("mine")
    with pytest.raises(SystemExit) as refused:
        main(["run", "--out", str(tmp_path / "afile"), *more])
    assert refused.value.code == 2
    assert capsys.readouterr().err == f"groundscope: {tmp_path / 'afile'} is a file. Choose another --out.\n"


def test_a_precision_that_is_named_is_part_of_a_training() -> None:
    def training_of(*overrides: str) -> object:
        cells = plan(load_study(None, overrides), Path("run"), lambda run, page: page)
        return next(cell.settings["training"] for cell in cells if cell.name == "train/lstm-4/seed-42")

    plain = training_of()
    assert plain == training_of("training.precision=auto") == training_of("training.track=json")
    in_full, in_half = (training_of(f"models.lstm-4.training.precision={one}") for one in ("fp32", "bf16"))
    assert plain != in_full != in_half != plain


def test_runs_are_listed_without_what_computes() -> None:
    heavy = ("torch", "transformers", "polars", "groundscope.training", "groundscope.study.engine")
    code = f"import sys, groundscope.study.runs; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not found.stdout.strip()
