from itertools import pairwise
from pathlib import Path

import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundscope.report.chart_parts import spread
from groundscope.report.figures import gain_figure, loss_figure, r_squared_figure, surprisal_figure
from groundscope.report.run import Run, open_run


@pytest.fixture(scope="module")
def run(plain_run: Path) -> Run:
    return open_run(plain_run)


@pytest.fixture(scope="module")
def evidence(run: Run) -> pl.DataFrame:
    assert run.evidence is not None
    return run.evidence


def traces(figure: go.Figure, **wanted: str) -> list[dict]:
    """Lines of a figure (no bands, no labels) whose meta agrees with ``wanted``."""
    lines = [trace for trace in figure.to_plotly_json()["data"] if trace.get("hovertemplate")]
    return [line for line in lines if wanted.items() <= line["meta"].items()]


def test_gain_lines_are_the_means_of_the_table(run: Run, evidence: pl.DataFrame, plain_run: Path) -> None:
    table = pl.read_parquet(plain_run / "tables" / "evidence.parquet")
    figure = gain_figure(evidence, run.marks, run.axis)
    for arch in run.archs:
        for direction in ("env2lan", "lan2env"):
            (line,) = traces(figure, arch=arch, direction=direction)
            rows = table.filter(arch=arch, direction=direction)
            means = rows.group_by("step").agg(pl.col("gain_nats").mean()).sort("step")
            assert list(line["customdata"]) == means["step"].to_list()
            assert line["y"] == pytest.approx(means["gain_nats"].to_list(), abs=1e-4)
            assert list(line["x"]) == [run.axis.position(step) for step in means["step"]]


def test_marks_are_filled_only_where_every_seed_is_significant(run: Run, evidence: pl.DataFrame) -> None:
    (line,) = traces(gain_figure(evidence, run.marks, run.axis), arch="lstm-4", direction="env2lan")
    rows = evidence.filter(arch="lstm-4", direction="env2lan")
    filled = [not symbol.endswith("-open") for symbol in line["marker"]["symbol"]]
    assert filled == (rows["n_significant"] == rows["n_seeds"]).to_list()
    assert True in filled
    assert False in filled


def test_models_that_read_the_same_data_share_one_line_of_counting_alone(run: Run, evidence: pl.DataFrame) -> None:
    figure = gain_figure(evidence, run.marks, run.axis)
    shared = [line for line in traces(figure, direction="env2lan") if "arch" not in line["meta"]]
    assert len(shared) == 1
    expected = evidence.filter(arch="lstm-4", direction="env2lan")["counted_gain_nats"]
    assert shared[0]["y"] == pytest.approx(expected.to_list(), abs=1e-4)


def test_bands_go_there_and_back(run: Run, evidence: pl.DataFrame) -> None:
    figure = gain_figure(evidence, run.marks, run.axis).to_plotly_json()
    band = next(trace for trace in figure["data"] if trace.get("fill"))
    half = len(band["x"]) // 2
    assert list(band["x"][:half]) == list(band["x"][half:])[::-1]
    assert all(high >= low for high, low in zip(band["y"][:half], list(band["y"][half:])[::-1], strict=True))


def test_each_figure_alone_shows_one_direction_and_one_measure(run: Run, evidence: pl.DataFrame) -> None:
    figures = {
        "gain": gain_figure(evidence, run.marks, run.axis),
        "r2": r_squared_figure(evidence, run.marks, run.axis),
        "surprisal": surprisal_figure(evidence, "lstm-4", run.marks["lstm-4"], run.axis, (0.0, 9.0), 7.1),
    }
    for figure in figures.values():
        shown = [trace["meta"] for trace in figure.to_plotly_json()["data"] if trace["visible"]]
        assert {meta["direction"] for meta in shown if "direction" in meta} == {"env2lan"}
        assert len({meta["measure"] for meta in shown if "measure" in meta}) <= 1
    assert {line["meta"]["measure"] for line in traces(figures["r2"])} == {"log", "raw", "partial", "counted"}


def test_step_zero_has_no_r_squared(run: Run, evidence: pl.DataFrame) -> None:
    (line,) = traces(r_squared_figure(evidence, run.marks, run.axis), arch="lstm-4", direction="env2lan", measure="log")
    assert 0 not in line["customdata"]


def test_loss_goes_over_the_whole_of_training(run: Run) -> None:
    assert run.loss is not None
    (line,) = traces(loss_figure(run.loss, run.marks, run.axis), arch="transformer-4")
    assert line["customdata"][-1] == 1499
    assert line["y"][0] > line["y"][-1]


def test_names_are_text_and_not_markup(run: Run, evidence: pl.DataFrame) -> None:
    evidence = evidence.with_columns(pl.col("arch").cast(pl.String).replace("lstm-4", "<b>lstm</b>"))
    marks = {"<b>lstm</b>": run.marks["lstm-4"], **run.marks}
    text = gain_figure(evidence, marks, run.axis).to_json()
    assert text is not None
    assert "&lt;b&gt;lstm" in text


@given(st.lists(st.floats(0, 10), max_size=8), st.floats(0.01, 3))
def test_labels_stand_apart_and_keep_their_order(heights: list[float], gap: float) -> None:
    placed = spread(sorted(heights), gap)
    assert all(upper - lower >= gap * 0.999 for lower, upper in pairwise(placed))
    assert sum(placed) == pytest.approx(sum(heights), abs=1e-6)
