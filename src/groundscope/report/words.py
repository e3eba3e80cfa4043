"""Table ``gain`` as compact arrays for the page: every word at every checkpoint, for its small multiples."""

from typing import Any

import polars as pl

from groundscope.report.numbers import Number, rounded

DIGITS = 2  # a hundredth of a nat is more than a small multiple can show
Grid = list[list[Number | None]]


def word_arrays(gain: pl.DataFrame) -> dict[str, Any]:
    """Lay table ``gain`` out as grids ``[word][step]``, in which a word's place is its place in ``words``.

    ``series[direction][arch]`` holds ``steps`` and ``tokens``, the grids ``match`` and ``mismatch`` (means over seeds,
    nats), and per seed ``gain[seed]`` (nats) and the places in ``exposures`` of ``counts[seed]`` (co-occurring chunks
    seen) and ``counted[seed]`` (G of a predictor that only counts, nats): models that read the same data share those.
    """
    finite = gain.with_columns(pl.selectors.float().fill_nan(None))
    words = finite["word"].unique().sort().to_list()
    exposures = _Pool()
    series: dict[str, dict[str, Any]] = {}
    ordered = finite.sort("direction", "arch")
    for (direction, arch), rows in ordered.group_by("direction", "arch", maintain_order=True):
        series.setdefault(str(direction), {})[str(arch)] = _series(rows, words, exposures)
    return {"words": words, "categories": _categories(finite, words), "series": series, "exposures": exposures.grids}


class _Pool:
    """Grids that are kept once, however often they occur."""

    def __init__(self):
        self.grids: list[Grid] = []
        self._places: dict[str, int] = {}

    def place(self, grid: Grid) -> int:
        """Where ``grid`` is kept."""
        place = self._places.setdefault(repr(grid), len(self.grids))
        if place == len(self.grids):
            self.grids.append(grid)
        return place


def _series(rows: pl.DataFrame, words: list[str], exposures: _Pool) -> dict[str, Any]:
    checkpoints = rows.group_by("step").agg(pl.col("tokens_seen").max()).sort("step")
    steps = checkpoints["step"].to_list()
    per_seed = {str(seed): rows.filter(seed=seed) for seed in sorted(rows["seed"].unique())}

    def grid(part: pl.DataFrame, column: str) -> Grid:
        return _grid(part, column, words, steps)

    return {
        "steps": steps,
        "tokens": checkpoints["tokens_seen"].to_list(),
        "match": grid(rows, "match_nats"),
        "mismatch": grid(rows, "mismatch_nats"),
        "gain": {seed: grid(part, "gain_nats") for seed, part in per_seed.items()},
        "counts": {seed: exposures.place(grid(part, "cooccurring_chunks")) for seed, part in per_seed.items()},
        "counted": {seed: exposures.place(grid(part, "counted_gain_nats")) for seed, part in per_seed.items()},
    }


def _grid(rows: pl.DataFrame, column: str, words: list[str], steps: list[int]) -> Grid:
    """Mean of ``column`` per word and step, None where there is none; whole numbers lose their decimal point."""
    means = rows.group_by("word", "step").agg(pl.col(column).mean())
    full = (
        pl.DataFrame({"word": words})
        .join(pl.DataFrame({"step": steps}), how="cross")
        .join(means, on=["word", "step"], how="left", maintain_order="left")
    )
    values = rounded(full[column].cast(pl.Float64).to_list(), DIGITS)
    short = [int(value) if value is not None and value == int(value) else value for value in values]
    return [short[at : at + len(steps)] for at in range(0, len(short), len(steps))]


def _categories(gain: pl.DataFrame, words: list[str]) -> list[str]:
    known = dict(gain.select("word", pl.col("category").fill_null("")).unique("word", keep="first").iter_rows())
    return [known[word] for word in words]
