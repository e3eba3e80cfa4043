"""A run in a notebook, and what importing the package costs."""

import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import groundscope
from groundscope.errors import StudyError, TableError


def test_importing_is_cheap() -> None:
    script = (
        "import groundscope, sys; print(*[n for n in ('torch', 'polars', 'matplotlib', 'plotly') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="There is no run at"):
        groundscope.open(tmp_path)
    (tmp_path / "tables").mkdir()
    run = groundscope.open(tmp_path)
    assert "nothing measured yet" in repr(run)
    with pytest.raises(TableError, match="no tables yet"):
        run.table("gain")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Losses alone: enough for tables and to see what is missing."""
    from groundscope.tables import write_table
    from groundscope.training.metrics import LOSS

    folder = tmp_path_factory.mktemp("run")
    rows = [
        {"arch": "lstm-4", "seed": 1, "step": step, "tokens_seen": step * 8, "loss_nats": 5.0 - step / 10,
         "learning_rate": 0.1, "gradient_norm": 1.0}
        for step in range(5)
    ]  # fmt: skip
    write_table(folder / "tables/loss.parquet", LOSS.frame(rows), LOSS)
    return folder


def test_tables_and_figures(run_folder: Path) -> None:
    run = groundscope.open(run_folder)
    assert run.tables == ["loss"]
    assert run.table("loss").height == 5
    with pytest.raises(TableError, match="Did you mean 'loss'"):
        run.table("los")
    with pytest.raises(StudyError, match="has not measured what figure 'gain' shows"):
        run.plot.gain()
    assert "not tested" in run._repr_html_()


def test_a_training_that_is_not_there_is_told_with_those_that_are(run_folder: Path) -> None:
    run = groundscope.open(run_folder)
    with pytest.raises(StudyError, match=r"no training of 'lstm-4' with seed 1; it has none\.$"):
        run.trajectory("lstm-4", seed=1)
    for training in ("lstm-4/seed-42", "lstm-4/seed-142", "mamba2-2/seed-42"):
        (run_folder / "train" / training).mkdir(parents=True)
    with pytest.raises(StudyError, match=r"seed 7; it has lstm-4 with seed 42, 142; mamba2-2 with seed 42\.$"):
        run.trajectory("lstm-4", seed=7)
    with pytest.raises(StudyError, match="Did you mean 'lstm-4'"):
        run.trajectory("lstm-5", seed=42)


def test_a_figure_shows_itself() -> None:
    from groundscope.report.paper.canvas import panels

    figure, places = panels(["one", "two"], 1.0)
    assert isinstance(figure, Figure)
    assert list(places) == ["one", "two"]
    assert figure._repr_png_().startswith(b"\x89PNG")
