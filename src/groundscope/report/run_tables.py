"""The tables of a run by name, whichever rooms made them."""

from pathlib import Path

import polars as pl

from groundscope.errors import TableError, did_you_mean


def table_names(run: Path) -> list[str]:
    """Return the names of a run's tables, in alphabetical order."""
    return sorted(path.stem for path in (run / "tables").glob("*.parquet"))


def read_run_table(run: Path, name: str) -> pl.DataFrame:
    """Read a table; raises TableError, with the names that there are, where the run does not have it."""
    names = table_names(run)
    if name not in names:
        there = f"There are {', '.join(names)}." if names else "It has no tables yet: `groundscope run` makes them."
        raise TableError(f"{run} has no table '{name}'. {there}{did_you_mean(name, names)}")
    path = run / "tables" / f"{name}.parquet"
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{path} cannot be read as Parquet ({error}). Delete it and run the study again.") from None
