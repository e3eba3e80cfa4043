"""Whether a table was written by this version of the program: by its columns, without reading it."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from groundscope.tables import TableSchema


class OtherColumns(NamedTuple):
    """How the columns of a file differ from those of a table."""

    lacking: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def other_columns(path: Path, schema: TableSchema) -> OtherColumns:
    """Compare the file's columns with the schema's. A damaged file has no others: `read_table` says what is wrong."""
    try:
        found = list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError):
        return OtherColumns()
    return OtherColumns(
        tuple(name for name in schema.dtypes if name not in found),
        tuple(name for name in found if name not in schema.dtypes),
    )
