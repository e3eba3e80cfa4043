"""Figures for print: what they show is what the tables hold, whatever was measured, and always the same bytes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes

from groundscope.mechanism.causal_table import CAUSAL
from groundscope.mechanism.head_tables import SALIENCY_LAYERS
from groundscope.mechanism.lens_table import LENS
from groundscope.report.paper.figures import CLAIMS, causal, gain, lens, r_squared, saliency, surprisal, write_figures
from groundscope.report.run import open_run
from groundscope.report.style import thinned
from groundscope.report.table_text import stars
from groundscope.tables import TableSchema, read_table, write_table

LAYERS, STEPS = 4, (0, 100, 200, 300, 600, 1000, 1500)


def put(folder: Path, schema: TableSchema, rows: list[dict]) -> None:
    filled = [dict.fromkeys(schema.dtypes) | row for row in rows]
    write_table(folder / "tables" / f"{schema.name}.parquet", schema.frame(filled), schema)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """Behaviour, and a mechanism that grows in the third of four layers."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "whole", archs=("transformer-4", "mamba2-4", "lstm-4"))
    rng = np.random.default_rng(0)
    flows, readings, removals = [], [], []
    for arch, strength in (("transformer-4", 1.0), ("mamba2-4", 0.6)):
        for seed in (42, 142):
            for step in STEPS:
                identity = {"arch": arch, "seed": seed, "step": step, "tokens_seen": step * 1024, "weight_hash": "x"}
                grown = strength / (1 + np.exp(-(step - 500) / 150))
                for layer in range(LAYERS):
                    flow = grown * (0.3 + (layer == 2)) + 0.02 * rng.random()
                    flows.append({**identity, "layer": layer, "flow_nats": flow, "n_prompts": 50})
                    for kind, late in (("logit", 1.4), ("tuned", 1.0)):
                        for condition, gained in (("match", 2.0), ("mismatch", 0.2)):
                            fallen = grown * gained * (layer / LAYERS) ** late
                            readings.append(
                                {**identity, "lens": kind, "layer": layer, "condition": condition, "word": "dog",
                                 "n_prompts": 9, "surprisal_nats": 6.5 - fallen + 0.1 * rng.random()}
                            )  # fmt: skip
                original = 6.5 - 2 * grown
                removals.append(
                    {**identity, "role": "aggregate", "control": "layer-matched", "ablation": "zero",
                     "mixers": "attention", "n_prompts": 50, "mean_count": 3.0, "original_nats": original,
                     "intervention_nats": original + 1.1 * grown, "control_nats": original + 0.1 * grown,
                     "control_count": 3.0, "control_elsewhere": 0.0, "n_units": 14,
                     "p_holm": 0.0004 if step >= 600 else 0.6}
                )  # fmt: skip
    put(folder, SALIENCY_LAYERS, flows)
    put(folder, LENS, readings)
    put(folder, CAUSAL, removals)
    return folder


def line(axes: Axes, label: str) -> list[float]:
    return next(one for one in axes.get_lines() if one.get_label() == label).get_ydata().tolist()


def test_every_claim_has_a_figure_in_every_format_and_the_same_bytes_each_time(whole_run: Path, tmp_path: Path) -> None:
    written, missing = write_figures(open_run(whole_run), tmp_path / "one", ("pdf", "svg", "png"))
    assert missing == []
    assert {path.name for path in written} == {
        f"{claim.name}.{suffix}" for claim in CLAIMS for suffix in ("pdf", "svg", "png")
    }
    again, _ = write_figures(open_run(whole_run), tmp_path / "two", ("pdf", "svg", "png"))
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]


def test_tables_of_another_version_are_not_drawn_from(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    for schema in (SALIENCY_LAYERS, LENS, CAUSAL):
        path = run / "tables" / f"{schema.name}.parquet"
        pl.read_parquet(path).drop("step").write_parquet(path)
    written, missing = write_figures(open_run(run), tmp_path / "out", ("svg",))
    assert {path.stem for path in written} == {"surprisal", "gain", "r2"}
    assert missing == ["saliency", "lens", "causal"]


def test_what_was_not_measured_is_named(plain_run: Path, tmp_path: Path) -> None:
    written, missing = write_figures(open_run(plain_run), tmp_path, ("svg",))
    assert {path.stem for path in written} == {"surprisal", "gain", "r2"}
    assert missing == ["saliency", "lens", "causal"]


def test_lines_are_the_tables(whole_run: Path) -> None:
    run = open_run(whole_run)
    assert run.evidence is not None
    rows = run.evidence.filter(arch="mamba2-4", direction="env2lan")
    figure = surprisal(run)
    assert figure is not None
    assert line(figure.axes[1], "match") == rows["match_nats"].to_list()
    drawn = gain(run)
    assert drawn is not None
    assert any(list(one.get_ydata()) == rows["gain_nats"].to_list() for one in drawn.axes[0].get_lines())
    assert r_squared(run) is not None
    removed = causal(run)
    assert removed is not None
    assert [text.get_text() for text in removed.axes[0].texts] == ["", "", "", "", "***", "***", "***"]
    depth = lens(run)
    assert depth is not None
    assert len(depth.axes) == 2
    assert len(line(depth.axes[0], "tuned lens, match")) == LAYERS
    low, high = depth.axes[0].get_ylim()
    tuned = [value for condition in ("match", "mismatch") for value in line(depth.axes[0], f"tuned lens, {condition}")]
    assert 0 < low < min(tuned)
    assert max(tuned) < high < 2 * max(tuned)
    heat = saliency(run)
    assert heat is not None
    image = heat.axes[0].get_images()[0].get_array()
    assert image is not None
    assert image.shape == (LAYERS, len(STEPS))
    assert int(np.argmax(np.asarray(image)[:, -1])) == 2


def test_counting_is_named_once_though_models_were_looked_at_at_different_steps(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    own = {("lstm-4", seed): (0, 150, 900) for seed in (42, 142)}
    figure = gain(open_run(make_run(tmp_path / "run", steps_of=own)))
    assert figure
    (axes,) = (axes for axes in figure.axes if axes.get_visible())
    assert [text.get_text() for text in axes.texts].count("counting alone") == 1
    assert sum(line.get_linestyle() not in ("-", "None") for line in axes.lines) == 2


@pytest.mark.parametrize("draw", [causal, lens])
def test_a_legend_is_no_wider_than_its_figure(draw: Callable[..., Any], whole_run: Path, tmp_path: Path) -> None:
    narrow = tmp_path / "narrow"  # one model, so one panel of a column's width
    shutil.copytree(whole_run, narrow)
    for schema in (CAUSAL, LENS):
        path = narrow / "tables" / f"{schema.name}.parquet"
        write_table(path, read_table(path, schema).filter(arch="transformer-4"), schema)
    for folder in (narrow, whole_run):
        figure = draw(open_run(folder))
        figure.draw_without_rendering()
        (legend,) = figure.legends
        extent = legend.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= figure.bbox.width
        assert legend.get_texts()


def test_drawing_leaves_matplotlib_as_it_was(plain_run: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert gain(open_run(plain_run)) is not None
    assert dict(matplotlib.rcParams) == before


def test_stars_and_ticks() -> None:
    assert [stars(p) for p in (None, 0.2, 0.04, 0.004, 0.0004)] == ["", "", "*", "**", "***"]
    for count in range(1, 40):
        shown = thinned(count, 5)
        assert shown[0] == 0
        assert shown[-1] == count - 1
        assert len(shown) <= 6
