from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from groundscope.behaviour.dose import DOSE
from groundscope.behaviour.dose_tests import DOSE_CONCLUSIONS, FALLS, LEFT
from groundscope.behaviour.measure import GAIN
from groundscope.files import write_json
from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_WORDS
from groundscope.mechanism.head_tables import SALIENCY_LAYERS
from groundscope.mechanism.lens_table import LENS
from groundscope.reproduction.experiments import experiment
from groundscope.reproduction.measured import answer
from groundscope.reproduction.published import paper
from groundscope.reproduction.results import Results
from groundscope.tables import TableSchema, write_table

STUDIES = Path(__file__).parents[2] / "studies" / "paper"
WORDS = ("dog", "ball", "shoe", "milk", "tree", "book", "nose", "hat")
SEEDS = (42, 142)
CARD = {"vocabulary_size": 80_731}
STEPS = (0, 50, 250, 500, 750, 1000)

Planted = Callable[..., Path]


def rows_of(schema: TableSchema, rows: Sequence[dict]) -> pl.DataFrame:
    """A frame of the schema; columns that no reader looks at are null."""
    frame = pl.DataFrame(rows)
    return schema.conform(frame.with_columns(pl.lit(None).alias(name) for name in schema.dtypes if name not in rows[0]))


def identity(seed: int, step: int) -> dict:
    return {
        "arch": "transformer-12",
        "seed": seed,
        "step": step,
        "tokens_seen": step * 10,
        "weight_hash": f"{seed}{step}",
    }


def gain_at(step: int, word: int, seed: int) -> float:
    """G that grows with training and differs between words and seeds."""
    return 2.0 * step / 1000 + 0.05 * word * step / 1000 + 0.01 * (seed == 142)


def gain_table() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    rows = []
    for seed in SEEDS:
        for step in STEPS:
            for word, form in enumerate(WORDS):
                for direction, match in (("env2lan", 8 - step / 400), ("lan2env", 8 + step / 400)):
                    gain = gain_at(step, word, seed) + draw.normal(0, 0.01)
                    rows.append(
                        identity(seed, step)
                        | {"direction": direction, "word": form, "kind": "noun", "category": "things"}
                        | {"match_nats": match, "mismatch_nats": match + gain, "gain_nats": gain}
                        | {"cooccurring_chunks": word * step, "counted_gain_nats": 0.1 * word}
                        | {"seen_env": step, "seen_lan": step}
                    )
    return rows_of(GAIN, rows)


def causal_tables() -> dict[TableSchema, pl.DataFrame]:
    by_seed, by_word = [], []
    for seed in SEEDS:
        for step in (250, 500, 1000):
            for role, effect in (("aggregate", step / 1000), ("gather", 0.0)):
                about = identity(seed, step) | {"role": role, "control": "random", "ablation": "zero"}
                about |= {"n_prompts": 10, "effect": "the logits changed"}
                spread, shift = (0.01, 0.02) if role == "aggregate" else (0.001, 0.0005)
                shift *= seed == 142
                by_seed.append(
                    about
                    | {"mean_layer": 6.4 + 0.02 * (seed == 142), "original_nats": 6 - step / 1000}
                    | {"control_nats": 6 - step / 1000, "intervention_nats": 6 - step / 1000 + effect}
                    | {"mean_count": 5.0}
                )
                by_word += [
                    {key: value for key, value in about.items() if key != "effect"}
                    | {"n_with_heads": 10, "word": form, "mean_count": 5.0 + shift}
                    | {"difference_nats": effect + spread * word + shift}
                    for word, form in enumerate(WORDS)
                ]
    return {CAUSAL: rows_of(CAUSAL, by_seed), CAUSAL_WORDS: rows_of(CAUSAL_WORDS, by_word)}


def surprisal_at(layer: int, step: int) -> float:
    """One large drop from layer 7 to layer 8, late in training."""
    return 7.0 - 0.01 * layer - (step / 1000 if layer >= 8 else 0.0) - (layer > 1)


def lens_table(kinds: Sequence[str] = ("linear", "tuned")) -> pl.DataFrame:
    return rows_of(
        LENS,
        [
            identity(seed, step)
            | {"lens": kind, "layer": layer, "condition": "match", "word": form, "n_prompts": 3}
            | {"surprisal_nats": surprisal_at(layer, step) + 0.01 * word + 0.1 * (kind == "tuned")}
            for kind in kinds
            for seed in SEEDS
            for step in (250, 500, 1000)
            for layer in range(13)
            for word, form in enumerate(WORDS)
        ],
    )


def saliency_table() -> pl.DataFrame:
    return rows_of(
        SALIENCY_LAYERS,
        [
            identity(seed, step) | {"layer": layer, "flow_nats": (step >= 500) * step * (layer in (6, 7, 8)) + 1.0}
            for seed in SEEDS
            for step in STEPS
            for layer in range(12)
        ],
    )


def dose_tables() -> dict[TableSchema, pl.DataFrame]:
    identity = {"arch": "transformer-12", "direction": "env2lan", "n_seeds": 2, "n_words": 8}
    identity |= {"arm": "cooccurring"}
    courses = [identity | {"step": 1000, "share_removed": share} for share in (0.0, 0.5, 1.0)]
    left = {"claim": LEFT, "n_doses": 1, "estimate_nats": 0.6, "ci_low": 0.2, "ci_high": 1.0}
    falls = {"claim": FALLS, "n_doses": 3, "estimate_nats": -1.4, "ci_low": -1.9, "ci_high": -0.8}
    exchanged = identity | left | {"arm": "separated", "estimate_nats": 9.0}
    return {
        DOSE: rows_of(DOSE, courses),
        DOSE_CONCLUSIONS: rows_of(DOSE_CONCLUSIONS, [exchanged, identity | left, identity | falls]),
    }


@pytest.fixture(scope="session")
def planted() -> Planted:
    """Write a run of the 12-layer Transformer: ``planted(folder, steps=1000, times=1)``, ``times`` as long."""

    def write(folder: Path, steps: int = 1000, times: int = 1) -> Path:
        tables = {
            GAIN: gain_table(),
            **causal_tables(),
            LENS: lens_table(),
            SALIENCY_LAYERS: saliency_table(),
            **dose_tables(),
        }
        for schema, table in tables.items():
            stretched = table.with_columns(pl.col("^step$") * times)
            write_table(folder / "tables" / f"{schema.name}.parquet", stretched, schema)
        study = experiment("transformer-12", STUDIES).study().model_dump(mode="json")
        study["training"]["steps"], study["statistics"]["resamples"] = steps * times, 200
        write_json(folder / "resolved.json", study)
        write_json(folder / "corpus" / "card.json", CARD)
        return folder

    return write


@pytest.fixture(scope="session")
def results(tmp_path_factory, planted: Planted) -> Results:
    """A planted run that nobody changes."""
    return Results(planted(tmp_path_factory.mktemp("planted") / "transformer-12"))


@pytest.fixture(scope="session")
def values() -> Callable[[Results, str], list[float | None]]:
    """Our side of a published quantity: ``values(results, key)``, None where nothing answers a number."""
    quantities = {quantity.key: quantity for quantity in paper().quantities}

    def values(results: Results, key: str) -> list[float | None]:
        return [None if one is None else one.value for one in answer(results, quantities[key]).points]

    return values
