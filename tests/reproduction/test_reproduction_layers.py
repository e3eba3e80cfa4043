"""What the paper says of layers, held against planted tables: lenses and saliency."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from groundscope.mechanism.head_tables import SALIENCY_LAYERS
from groundscope.mechanism.lens_table import LENS
from groundscope.reproduction.comparison import compare
from groundscope.reproduction.experiments import run_folder
from groundscope.reproduction.measured import answer
from groundscope.reproduction.published import paper
from groundscope.reproduction.results import Results
from groundscope.reproduction.verdicts import Verdict, verdicts
from groundscope.tables import read_table, write_table

STUDIES = Path(__file__).parents[2] / "studies" / "paper"
QUANTITIES = {quantity.key: quantity for quantity in paper().quantities}


def test_the_lens_is_the_authors_where_it_was_trained(results: Results, values):
    words = 0.035  # mean of the planted differences between words
    expected = [7 - 0.01 * layer - (0.25 if layer >= 8 else 0) - (layer > 1) + words for layer in range(1, 13)]
    assert values(results, "lens-5000") == pytest.approx(expected)
    assert values(results, "lens-15000") == [None] * 12  # no checkpoint near
    assert values(results, "lens-largest-step") == [8, None, 8]


def test_saliency_rose_between_two_checkpoints(tmp_path: Path, planted):
    """Seeds that agree on a coarse grid do not agree on the step: before the first value nobody looked."""
    folder = planted(tmp_path / "run")
    quantity = QUANTITIES["saliency-onset"].model_copy(update={"low": 100, "high": 500})  # of 1,000 steps
    reached = {}
    for kept in ((0, 50, 250, 500, 750, 1000), (50, 500, 1000)):
        whole = read_table(planted(folder) / "tables/saliency_layers.parquet", SALIENCY_LAYERS)
        coarse = whole.filter(pl.col("step").is_in(kept))
        write_table(folder / "tables/saliency_layers.parquet", coarse, SALIENCY_LAYERS)
        found = answer(Results(folder), quantity)
        assert found.points[0]
        reached[len(kept)] = (*found.points[0].reach, *verdicts(quantity, found, paper_size=False))
    assert reached == {6: (250, 500, Verdict.DIRECTION), 3: (0, 500, Verdict.UNCLEAR)}


def test_saliency_that_does_not_rise_on_each_seed_has_no_onset(tmp_path: Path, planted):
    folder = planted(tmp_path / "run")
    quantity = QUANTITIES["saliency-onset"].model_copy(update={"low": 100, "high": 500})
    table = read_table(folder / "tables/saliency_layers.parquet", SALIENCY_LAYERS)
    third = table.filter(seed=42).with_columns(pl.lit(1042, pl.Int64).alias("seed"), pl.lit(1.0).alias("flow_nats"))
    for level, rising in ((third, 2), (third.with_columns(pl.lit(42, pl.Int64).alias("seed")), 0)):
        rows = pl.concat([table, level]) if rising else level
        write_table(folder / "tables/saliency_layers.parquet", rows, SALIENCY_LAYERS)
        found = answer(Results(folder), quantity)
        assert verdicts(quantity, found, paper_size=False) == [Verdict.UNCLEAR]
        assert f"on {rising} of {rows['seed'].n_unique()} seeds" in found.why_untested(0)


def test_another_kind_of_lens_never_agrees_in_size(tmp_path: Path, planted):
    folder = planted(run_folder(tmp_path, "paper", "transformer-12"), times=20)
    kinds = {}
    for kind in ("linear", "tuned"):
        table = read_table(planted(folder, times=20) / "tables/lens.parquet", LENS).filter(lens=kind)
        write_table(folder / "tables/lens.parquet", table, LENS)
        (group,) = (group for group in compare(paper(), STUDIES, tmp_path, ("paper",)) if "lens" in group.title)
        kinds[kind] = {row.ours[0].verdict for row in group.rows if row.ours[0]}
    assert Verdict.SIZE in kinds["linear"]
    assert Verdict.SIZE not in kinds["tuned"]
    assert Verdict.DIRECTION in kinds["tuned"]


def test_the_layer_of_the_largest_step_has_an_interval_over_words_and_seeds(tmp_path: Path, planted):
    """One plain step is told; of two steps alike, that no seed has the paper's by chance refutes nothing."""
    folder = planted(tmp_path / "run")
    (_, _, plain) = answer(Results(folder), QUANTITIES["lens-largest-step"]).points
    assert plain
    assert (plain.value, plain.low, plain.high) == (8, 8, 8)
    assert "by seed 8, 8" in plain.note
    table = read_table(folder / "tables/lens.parquet", LENS)
    noise = np.random.default_rng(1).normal(0, 0.3, len(table))
    level = table.with_columns(surprisal_nats=7 - 0.02 * pl.col("layer") + pl.Series(noise))
    write_table(folder / "tables/lens.parquet", level, LENS)
    unsure = answer(Results(folder), QUANTITIES["lens-largest-step"])
    assert verdicts(QUANTITIES["lens-largest-step"], unsure, paper_size=False)[-1] is Verdict.UNCLEAR
    apart = table.with_columns(surprisal_nats=7 - (pl.col("layer") >= 4).cast(pl.Float64) + 0.01 * pl.Series(noise))
    write_table(folder / "tables/lens.parquet", apart, LENS)
    elsewhere = answer(Results(folder), QUANTITIES["lens-largest-step"])
    assert elsewhere.points[-1]
    assert elsewhere.points[-1].value == 4
    assert verdicts(QUANTITIES["lens-largest-step"], elsewhere, paper_size=False)[-1] is Verdict.DIFFERS


def test_drops_between_layers_are_read(results: Results, values):
    assert values(results, "lens-drop") == [pytest.approx(0.51), None, pytest.approx(1.01)]
    assert values(results, "lens-no-drop-yet") == [pytest.approx(0.26)]


@pytest.mark.parametrize("read", [range(7), range(0, 13, 2)])  # of six layers; every second of twelve
def test_what_is_said_of_layers_is_said_of_twelve(read: range, tmp_path: Path, planted, values):
    """Of six the most that lowers surprisal is not in layers 7 to 9, nor do heads sit there: that refutes nothing."""
    folder = planted(tmp_path / "run")
    for name, schema, layers in (("lens", LENS, read), ("saliency_layers", SALIENCY_LAYERS, range(6))):
        table = read_table(folder / "tables" / f"{name}.parquet", schema)
        write_table(folder / "tables" / f"{name}.parquet", table.filter(pl.col("layer").is_in(layers)), schema)
    for key in ("lens-20000", "lens-largest-step", "lens-drop", "saliency-onset", "causal-layer"):
        assert not any(values(Results(folder), key)), key
    assert all(values(Results(folder), "causal-effect"))
