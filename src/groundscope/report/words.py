"""Table ``gain`` as compact arrays for the page: every word at every checkpoint, for its small multiples."""

from typing import Any

import polars as pl

from groundscope.report.numbers import rounded

DIGITS = 2  # a hundredth of a nat is more than a small multiple can show


def word_arrays(gain: pl.DataFrame) -> dict[str, Any]:
    """Lay table ``gain`` out as lists over steps.

    A word's place in ``words`` is its place everywhere. ``series[direction][arch]`` holds ``steps``, ``tokens``,
    ``match[word][step]`` and ``mismatch[word][step]`` (means over seeds, nats) and, per seed,
    ``gain[seed][word][step]`` (nats) and ``counts[seed][word][step]`` (co-occurring chunks seen).
    """
    finite = gain.with_columns(pl.selectors.float().fill_nan(None))
    words = finite["word"].unique().sort().to_list()
    return {
        "words": words,
        "categories": _categories(finite, words),
        "series": {
            str(direction): {
                str(arch): _series(rows, words)
                for (arch,), rows in block.sort("arch").group_by("arch", maintain_order=True)
            }
            for (direction,), block in finite.sort("direction").group_by("direction", maintain_order=True)
        },
    }


def _series(rows: pl.DataFrame, words: list[str]) -> dict[str, Any]:
    checkpoints = rows.group_by("step").agg(pl.col("tokens_seen").max()).sort("step")
    steps = checkpoints["step"].to_list()
    seeds = sorted(rows["seed"].unique().to_list())
    per_seed = {seed: rows.filter(seed=seed) for seed in seeds}
    return {
        "steps": steps,
        "tokens": checkpoints["tokens_seen"].to_list(),
        "match": _grid(rows, "match_nats", words, steps),
        "mismatch": _grid(rows, "mismatch_nats", words, steps),
        "gain": {str(seed): _grid(part, "gain_nats", words, steps) for seed, part in per_seed.items()},
        "counts": {str(seed): _grid(part, "cooccurring_chunks", words, steps) for seed, part in per_seed.items()},
    }


def _grid(rows: pl.DataFrame, column: str, words: list[str], steps: list[int]) -> list[list[float | None]]:
    """Mean of ``column`` per word and step, None where there is none; counts stay whole numbers."""
    means = rows.group_by("word", "step").agg(pl.col(column).mean())
    full = (
        pl.DataFrame({"word": words})
        .join(pl.DataFrame({"step": steps}), how="cross")
        .join(means, on=["word", "step"], how="left", maintain_order="left")
    )
    values = rounded(full[column].cast(pl.Float64).to_list(), DIGITS)
    whole = [int(value) if value is not None and value == int(value) else value for value in values]
    return [whole[at : at + len(steps)] for at in range(0, len(whole), len(steps))]


def _categories(gain: pl.DataFrame, words: list[str]) -> list[str]:
    known = dict(gain.select("word", pl.col("category").fill_null("")).unique("word", keep="first").iter_rows())
    return [known[word] for word in words]
