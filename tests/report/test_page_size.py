"""A page stays small enough to be sent around, however large its study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from groundscope.behaviour.conclusions import CONCLUSIONS
from groundscope.behaviour.evidence import EVIDENCE
from groundscope.behaviour.measure import GAIN
from groundscope.files import write_json
from groundscope.mechanism.head_tables import HEAD_AGREEMENT, HEAD_ROLES, SALIENCY_HEADS, SALIENCY_MAPS
from groundscope.mechanism.lens_table import LENS
from groundscope.mechanism.prompt_saliency import PROMPT_SALIENCY
from groundscope.report.page import write_page
from groundscope.tables import TableSchema, write_table
from groundscope.training.metrics import LOSS

LARGEST = 15_000_000  # bytes
STEPS = sorted({0, *np.rint(np.geomspace(10, 20_000, 42)).astype(int).tolist()})
ARCHS = [*(f"transformer-{number}" for number in range(4)), *(f"mamba2-{number}" for number in range(3)), "lstm-4"]
SEEDS = [42, 142, 242]
DEPTH, HEADS, FRAME = 12, 12, 14


def grid(**values: Any) -> pl.DataFrame:
    """Every combination of the values of some columns."""
    frames = [pl.DataFrame({name: list(column)}) for name, column in values.items()]
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.join(frame, how="cross")
    return whole


def made_up(schema: TableSchema, keys: pl.DataFrame, given: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """A table of numbers that no two cells share, so that nothing can be kept once for many."""
    draw = np.random.default_rng(len(schema.name))
    columns = {
        name: pl.Series(draw.uniform(0.001, 0.9, keys.height)) if dtype == pl.Float64 else pl.lit(None)
        for name, dtype in schema.dtypes.items()
        if name not in keys.columns
    }
    columns |= {"tokens_seen": pl.col("step") * 8192, **(given or {})}
    return schema.conform(keys.with_columns(**columns))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 layers of 12 heads, 43 checkpoints, 3 seeds, 8 models, 110 words in two directions."""
    folder = tmp_path_factory.mktemp("runs") / "full"
    who = {"arch": ARCHS, "seed": SEEDS, "step": STEPS}
    directions = {"direction": ["env2lan", "lan2env"]}
    words = [f"word{number:03}" for number in range(110)]
    with_heads = {**who, "arch": ARCHS[:-1]}
    heads = grid(**with_heads, layer=range(DEPTH), head=range(HEADS)).with_columns(
        pl.format("L{}H{}", "layer", "head").alias("name")
    )
    first_seed = heads.filter(seed=SEEDS[0])
    maps = np.random.default_rng(0).exponential(size=(first_seed.height, FRAME * FRAME)).astype(np.float32)
    counts = pl.col("word").str.tail(3).cast(pl.Int64) * pl.col("step") + pl.col("seed")  # all models see the same
    seen = {"kind": pl.lit("noun"), "category": pl.lit("things"), "cooccurring_chunks": counts}
    tables = {
        CONCLUSIONS: CONCLUSIONS.frame([]),
        EVIDENCE: made_up(
            EVIDENCE, grid(**who, **directions), {"n_words": pl.lit(110), "test": pl.lit("wilcoxon")}
        ),
        GAIN: made_up(GAIN, grid(**who, **directions, word=words), {**seen, "counted_gain_nats": counts.log1p()}),
        LOSS: made_up(LOSS, grid(arch=ARCHS, seed=SEEDS, step=range(0, 20_000, 5))),
        SALIENCY_HEADS: made_up(SALIENCY_HEADS, heads),
        SALIENCY_MAPS: made_up(
            SALIENCY_MAPS,
            first_seed,
            {"prompt": pl.lit(0), "length": pl.lit(FRAME), "saliency_nats": pl.Series(maps), "n_prompts": pl.lit(30)},
        ),
        HEAD_ROLES: made_up(
            HEAD_ROLES,
            heads.filter(step=STEPS[-1]).join(
                grid(criterion=["aggregate", "gather"], threshold=[0.1, 0.3]), how="cross"
            ),
        ),
        HEAD_AGREEMENT: HEAD_AGREEMENT.frame([]),
        LENS: made_up(
            LENS, grid(arch=ARCHS, seed=SEEDS, step=STEPS, layer=range(DEPTH + 1), condition=["match", "mismatch"]),
            {"lens": pl.lit("tuned"), "word": pl.lit("cup")},
        ),
        PROMPT_SALIENCY: made_up(
            PROMPT_SALIENCY,
            grid(
                arch=ARCHS, seed=SEEDS[:1], step=STEPS[::9], word=words[:16],
                layer=range(DEPTH), position=range(FRAME),
            ),
            {"context": pl.lit("look"), "token": pl.lit("something<ENV>"), "ground": pl.col("position") == 3},
        ),
    }  # fmt: skip
    for schema, table in tables.items():
        write_table(folder / "tables" / f"{schema.name}.parquet", table, schema)
    models = {arch: {"preset": "lstm-4" if arch.startswith("lstm") else "transformer-12"} for arch in ARCHS}
    write_json(folder / "resolved.json", {"name": "full", "models": models, "seeds": SEEDS})
    return folder


def test_the_page_of_a_full_study_is_below_15_megabytes(full: Path) -> None:
    page = write_page(full)
    text = page.read_text(encoding="utf-8")
    for key in ("surprisal", "words", "heads", "lens", "prompts", "loss"):
        section = text[text.index(f'<section id="{key}"') :]
        assert "Not measured in this run" not in section[: section.index("</section>")]
    assert page.stat().st_size < LARGEST
