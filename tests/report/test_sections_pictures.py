import polars as pl
import pytest

from groundscope.behaviour.pictures import PICTURES
from groundscope.report.sections_pictures import over_words


def test_means_are_over_words_and_seeds_per_model_and_style():
    who = {"arch": "vlm.dino", "tokens_seen": 0, "weight_hash": "h", "encoder": "dino", "projector": "linear"}
    rows = [
        {
            **who,
            "seed": seed,
            "step": step,
            "style": style,
            "held_out": style == "b",
            "word": word,
            "n_pictures": 2,
            "match_nats": 2.0,
            "mismatch_nats": 2.0 + gain,
            "gain_nats": gain,
            "p": 0.5,
        }
        for seed in (1, 2)
        for step in (0, 10)
        for style in ("a", "b")
        for word, gain in (("dog", 1.0), ("cat", -0.5 * seed))
    ]
    means = over_words(PICTURES.frame(rows))
    assert len(means) == 4  # styles and steps
    last = means.filter(pl.col("step") == 10, pl.col("held_out")).row(0, named=True)
    assert last["gain_nats"] == pytest.approx((1 + 1 - 0.5 - 1.0) / 4)
    assert last["positive"] == 0.5
    assert (last["n_words"], last["style"]) == (2, "b")
