"""What a run of an experiment has measured, ready to be asked: its tables, and its steps beside the authors'."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.generalisation import REPLICATION, replication
from groundscope.behaviour.measure import GAIN
from groundscope.errors import TableError
from groundscope.reproduction.run_files import card_of, resolved_of
from groundscope.statistics.crossed import crossed_mean
from groundscope.statistics.paired import t_interval
from groundscope.study.table_version import other_columns
from groundscope.tables import TableSchema, read_table

SLACK, NEAR = 0.05, 1 / 3
"""A checkpoint answers for a published one that is no further off than these shares of the training and of the step."""
CONFIDENCE = 0.95
"""Level of every interval that is held against the paper, whatever level a run was asked for."""
AGAIN = "Run the experiment again; what is finished is not trained again."
"""What to do about a table that this program did not put there."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One of our numbers: estimate and interval (both None: none can be had), checkpoint, and what it is made of."""

    value: float
    low: float | None
    high: float | None
    step: int | None
    n_seeds: int
    note: str = ""

    @property
    def reach(self) -> tuple[float, float]:
        """The interval; the estimate alone where there is none."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)


@dataclass(frozen=True)
class Results:
    """A run's folder; a table that is missing or empty is None. ``model`` is how the name of the one asked for ends."""

    folder: Path
    model: str = ""

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The settings of the study as it was run; empty where nothing was finished."""
        return resolved_of(self.folder)

    @property
    def there(self) -> bool:
        """Whether any table was written."""
        return any((self.folder / "tables").glob("*.parquet"))

    @cached_property
    def steps(self) -> int | None:
        """How many steps the study trains for."""
        return self.steps_of(self.resolved)

    @staticmethod
    def steps_of(study: Mapping[str, Any]) -> int | None:
        """Return for how many steps a study's settings train, its first model's where models differ."""
        own = next((model.get("training", {}).get("steps") for model in study.get("models", {}).values()), None)
        return own or study.get("training", {}).get("steps")

    @cached_property
    def card(self) -> dict[str, Any]:
        """The card of the corpus; empty where the run does not hold it."""
        return card_of(self.folder)

    def table(self, schema: TableSchema) -> pl.DataFrame | None:
        """Read a table, of one model: the first of the study file of those whose names end as asked.

        Raises TableError for a table that cannot be read, has not the columns of this version, or holds a row twice.
        """
        path = self.folder / "tables" / f"{schema.name}.parquet"
        if not path.is_file():
            if path.exists() or path.is_symlink():
                raise TableError(f"{path} is no file. {AGAIN}")
            return None
        _check_columns(path, schema)
        table = read_table(path, schema)
        _check_rows(path, table)
        table = table.filter(pl.col("arch").str.ends_with(self.model))
        found = table["arch"].unique(maintain_order=True).to_list()
        first = next((name for name in self.resolved.get("models", {}) if name in found), next(iter(found), None))
        return None if table.is_empty() else table.filter(arch=first)

    @cached_property
    def gain(self) -> pl.DataFrame | None:
        """Table ``gain`` of the kind of word that conclusions are about."""
        table = self.table(GAIN)
        kind = (self.resolved.get("behaviour", {}).get("kinds") or ["noun"])[0]
        return None if table is None else table.filter(pl.col("kind") == kind)

    @property
    def confidence(self) -> float:
        """Level of the intervals in the run's own tables."""
        return self.resolved.get("statistics", {}).get("confidence", CONFIDENCE)

    @cached_property
    def replication(self) -> pl.DataFrame | None:
        """Table ``replication``, drawn from table ``gain`` where the run does not have it with our intervals."""
        return self._drawn(REPLICATION, replication)

    @cached_property
    def conclusions(self) -> pl.DataFrame | None:
        """Table ``conclusions``, drawn from table ``gain`` where the run does not have it with our intervals."""
        return self._drawn(CONCLUSIONS, conclusions)

    def _drawn(self, schema: TableSchema, draw: Callable[..., pl.DataFrame]) -> pl.DataFrame | None:
        table = self.table(schema) if self.confidence == CONFIDENCE else None
        return draw(self.gain, **self._statistics) if table is None and self.gain is not None else table

    def step_for(self, published: int | None, authors_steps: int, table: pl.DataFrame) -> int | None:
        """Return the checkpoint of ``table`` at the same part of training as the authors' step; None: the last.

        Only steps that all seeds have count. Where none is near (`SLACK`, `NEAR`), the run has not come so far: None.
        Raises TableError where the run does not say how long it was to be: any checkpoint could be its last.
        """
        if self.steps is None:
            raise TableError(
                f"{self.folder} has tables, but no resolved.json that says for how many steps it was trained, so that "
                "nobody knows of what part of training they are. Put that file back, or run the experiment again."
            )
        seeds = table["seed"].n_unique() if "seed" in table.columns else 1
        common = table.group_by("step").agg(_seeds(table)).filter(pl.col("n") == seeds)["step"].sort().to_list()
        wanted = self.steps if published is None else self.steps * published / authors_steps
        nearest = min(common, key=lambda step: abs(step - wanted), default=None)
        return None if nearest is None or abs(nearest - wanted) > min(SLACK * self.steps, NEAR * wanted) else nearest

    def is_over(self, table: pl.DataFrame) -> bool:
        """Whether ``table`` reaches the end of training: what is said of a whole course is not said before."""
        return self.step_for(None, 1, table) is not None

    @property
    def weighing(self) -> dict[str, Any]:
        """What the run's conclusions on mechanism were weighed with, but for the level of intervals."""
        statistics = {key: value for key, value in self._statistics.items() if key == "seed"}
        mechanism = self.resolved.get("mechanism") or {}
        return statistics | {key: value for key, value in mechanism.items() if key == "negligible_nats"}

    @property
    def _statistics(self) -> dict[str, Any]:
        """What the run's conclusions on behaviour were weighed with, but for the level of intervals."""
        told = self.resolved.get("statistics", {})
        return {key: value for key, value in told.items() if key in ("resamples", "seed")}


def _check_columns(path: Path, schema: TableSchema) -> None:
    """Refuse a table that another version has written, by what is other and not by all that it should have."""
    lacking, unknown = other_columns(path, schema)
    if lacking or unknown:
        told = [f"{says} {', '.join(names)}" for says, names in (("lacks", lacking), ("also has", unknown)) if names]
        raise TableError(
            f"{path} {' and '.join(told)}: another version of groundscope wrote it. Run the experiment again; "
            "what is finished is not trained again where its code is the same."
        )


def _check_rows(path: Path, table: pl.DataFrame) -> None:
    """Refuse a table that was put together by hand: what stands in it twice would count twice."""
    identity = [name for name in ("arch", "seed") if name in table.columns]
    nameless = any(table[name].has_nulls() for name in identity)
    if nameless or table.is_duplicated().any():
        held = "rows of no model or seed" if nameless else "the same row twice"
        raise TableError(f"{path} holds {held}. {AGAIN}")


def _seeds(table: pl.DataFrame) -> pl.Expr:
    return (pl.col("seed").n_unique() if "seed" in table.columns else pl.lit(1)).alias("n")


def over_words_and_seeds(rows: pl.DataFrame, column: str, step: int | None, note: str = "") -> Measured | None:
    """Return the mean of a column over words and seeds (both random), or over words where there is one seed."""
    wide = rows.pivot(on="seed", index="word", values=column, sort_columns=True, aggregate_function="mean").drop_nulls()
    values: Float[np.ndarray, "word seed"] = wide.drop("word").to_numpy().astype(float)
    if not values.size:
        return None
    low = high = None
    if min(values.shape) > 1:
        found = crossed_mean(values)
        low, high = float(found.low), float(found.high)
    elif values.shape[0] > 1:
        low, high = (float(bound[0]) for bound in t_interval(values))
    return Measured(float(values.mean()), low, high, step, values.shape[1], note)


def difference(first: pl.DataFrame, last: pl.DataFrame, column: str, *keys: str) -> pl.DataFrame:
    """Return ``keys`` and the column in ``last`` minus that in ``first``, for the keys that both have."""
    ends = [rows.group_by(keys).agg(pl.col(column).mean()) for rows in (first, last)]
    joined = ends[1].join(ends[0], on=keys, suffix="_before").sort(keys)
    return joined.select(*keys, pl.col(column) - pl.col(f"{column}_before"))


def over_seeds(values: list[float], step: int | None, note: str = "") -> Measured | None:
    """Return the mean over seeds and Student's interval; without an interval where there is one seed."""
    if not values:
        return None
    array = np.asarray(values, dtype=float)[:, None]
    low, high = (float(bound[0]) for bound in t_interval(array)) if len(array) > 1 else (None, None)
    return Measured(float(array.mean()), low, high, step, len(array), note)
