"""That gather heads do nothing at any checkpoint is one verdict: shown at all, refuted at any, else unclear."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_WORDS
from groundscope.reproduction.measured import Answer, answer
from groundscope.reproduction.no_effect import at_checkpoints
from groundscope.reproduction.published import paper
from groundscope.reproduction.results import Results
from groundscope.reproduction.verdicts import Verdict, verdicts
from groundscope.tables import TableSchema, read_table, write_table

QUANTITY = next(quantity for quantity in paper().quantities if quantity.key == "gather-effect")
Changed = Callable[..., Results]


@pytest.fixture
def changed(tmp_path: Path, planted) -> Changed:
    """A planted run with ``difference`` (and more columns) of gather heads replaced at one step."""

    def write(step: int, /, seed: int | None = None, **columns: pl.Expr) -> Results:
        folder = planted(tmp_path / "run")
        here = (pl.col("role") == "gather") & (pl.col("step") == step)
        here &= pl.lit(True) if seed is None else pl.col("seed") == seed
        rewrite(folder, CAUSAL_WORDS, lambda table: table.with_columns(
            pl.when(here).then(value).otherwise(pl.col(name)).alias(name) for name, value in columns.items()
        ))  # fmt: skip
        return Results(folder)

    return write


def rewrite(folder: Path, schema: TableSchema, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    path = folder / "tables" / f"{schema.name}.parquet"
    write_table(path, schema.conform(change(read_table(path, schema))), schema)


def asked(results: Results) -> tuple[Answer, list[Verdict]]:
    said = answer(results, QUANTITY)
    return said, verdicts(QUANTITY, said, paper_size=True)


def test_it_is_held_at_each_checkpoint_of_the_papers_table(tmp_path: Path, planted):
    assert [point.step for point in QUANTITY.points] == [5000, 10000, 20000]
    said, judged = asked(Results(planted(tmp_path / "run")))
    assert [point and point.step for point in said.points] == [250, 500, 1000]
    assert [point and point.value for point in said.points] == pytest.approx([0.0035 + 0.00025] * 3)
    assert judged == [Verdict.DIRECTION] * 3


@pytest.mark.parametrize("step", [250, 500, 1000])
def test_a_change_at_any_checkpoint_refutes_it(changed: Changed, step: int):
    for sign in (1, -1):
        said, judged = asked(changed(step, difference_nats=sign * (0.3 + pl.col("difference_nats"))))
        assert said.tested is False
        assert judged == [Verdict.DIFFERS] * 3


def test_a_change_that_is_shown_to_be_negligible_refutes_nothing(changed: Changed):
    said, _ = asked(changed(500, difference_nats=0.01 + pl.col("difference_nats")))
    assert said.points[1]
    assert said.points[1].low is not None
    assert said.points[1].low > 0  # certain, and small
    assert said.tested is True


def test_where_it_is_neither_shown_nor_refuted_at_one_it_is_unclear(changed: Changed):
    wild = pl.col("difference_nats") + 0.4 * (pl.col("word").rank("dense") - 4.5) / 4
    said, judged = asked(changed(500, difference_nats=wild.over("seed", "role", "step")))
    assert said.tested is None
    assert judged == [Verdict.UNCLEAR] * 3


def test_too_little_data_at_one_checkpoint_is_said_and_decides_nothing(changed: Changed):
    few = pl.when(pl.col("word") == "dog").then(1).otherwise(0)
    said, judged = asked(changed(250, n_with_heads=few, difference_nats=pl.lit(0.001)))
    assert said.points[0] is None
    assert said.untested[0] == "step 250: 2 of 160 prompts have gather heads, of too few words to be tested"
    assert judged == [Verdict.UNCLEAR] * 3


def test_words_of_one_seed_do_not_speak_for_all(changed: Changed):
    said, judged = asked(changed(250, 142, n_with_heads=pl.lit(0)))
    assert said.points[0]
    assert said.points[0].note == "decides nothing: 1 of 2 seeds have any"
    assert judged == [Verdict.UNCLEAR] * 3


def test_a_checkpoint_that_was_not_measured_leaves_it_open(tmp_path: Path, planted):
    folder = planted(tmp_path / "run")
    for schema in (CAUSAL, CAUSAL_WORDS):
        rewrite(folder, schema, lambda table: table.filter(pl.col("step") != 500))
    assert asked(Results(folder))[1] == [Verdict.UNCLEAR, Verdict.NOT_RUN, Verdict.UNCLEAR]


def test_many_checkpoints_are_corrected_for(tmp_path: Path, planted):
    """A p of .023 at one of three checkpoints counts for nothing after Holm's correction; alone it does."""
    folder = planted(tmp_path / "run")
    files = {schema: folder / "tables" / f"{schema.name}.parquet" for schema in (CAUSAL, CAUSAL_WORDS)}
    by_seed, by_word = (read_table(path, schema) for schema, path in files.items())
    one_seed = [table.filter(pl.col("seed") == 42) for table in (by_seed, by_word)]
    none, some = [1, -1, 1, -1, 1, -1, 1, -1], [1, 1, 1, 1, 1, 1, -0.5, 0.25]
    sums = [abs(np.dot(some, signs)) for signs in product((-1, 1), repeat=8)]
    p = np.mean(np.array(sums) >= sum(some))
    assert 0.05 / 3 < p < 0.05
    words = (
        one_seed[1]
        .sort("role", "step", "word")
        .with_columns(pl.Series("difference_nats", np.array(2 * [*none, *none, *some])))
    )
    alone = at_checkpoints(one_seed[0], words, "gather", "random", [1000])
    together = at_checkpoints(one_seed[0], words, "gather", "random", [250, 500, 1000])
    assert alone[1000].significant
    assert not together[1000].significant
