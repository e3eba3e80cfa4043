from pathlib import Path

import polars as pl
import pytest

from groundscope.report.words import word_arrays


def test_arrays_hold_the_table(plain_run: Path, nasty: str) -> None:
    gain = pl.read_parquet(plain_run / "tables" / "gain.parquet")
    arrays = word_arrays(gain)
    assert nasty in arrays["words"]
    series = arrays["series"]["env2lan"]["lstm-4"]
    word, step = arrays["words"].index("dog"), series["steps"].index(800)
    rows = gain.filter(arch="lstm-4", direction="env2lan", word="dog", step=800).sort("seed")
    assert arrays["categories"][word] == rows["category"][0]
    assert series["match"][word][step] == pytest.approx(rows["match_nats"].mean(), abs=0.006)
    assert series["mismatch"][word][step] == pytest.approx(rows["mismatch_nats"].mean(), abs=0.006)
    for seed, gain_nats, count in rows.select("seed", "gain_nats", "cooccurring_chunks").iter_rows():
        assert series["gain"][str(seed)][word][step] == pytest.approx(gain_nats, abs=0.006)
        assert arrays["exposures"][series["counts"][str(seed)]][word][step] == count


def test_models_that_read_the_same_data_share_its_counts(plain_run: Path) -> None:
    arrays = word_arrays(pl.read_parquet(plain_run / "tables" / "gain.parquet"))
    places = [model["counts"] for models in arrays["series"].values() for model in models.values()]
    assert all(place == places[0] for place in places)
    assert len(arrays["exposures"]) < len(places) * 2


def test_gaps_stay_gaps(plain_run: Path) -> None:
    gain = pl.read_parquet(plain_run / "tables" / "gain.parquet").filter(arch="lstm-4", direction="env2lan")
    cut = gain.filter(~((pl.col("word") == "dog") & (pl.col("step") == 800))).with_columns(
        pl.when(word="cat").then(None).otherwise(pl.col("gain_nats")).alias("gain_nats")
    )
    arrays = word_arrays(cut)
    series = arrays["series"]["env2lan"]["lstm-4"]
    assert series["match"][arrays["words"].index("dog")][series["steps"].index(800)] is None
    assert set(series["gain"]["42"][arrays["words"].index("cat")]) == {None}
