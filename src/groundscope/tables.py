"""Tidy Parquet tables: one observation per row, typed and documented columns, atomic writes.

A schema is the single place where a table's columns are named, typed and explained. Writing checks a frame
against it, so that a table on disk always has what its schema says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from groundscope.errors import TableError, did_you_mean
from groundscope.files import atomic_file

if TYPE_CHECKING:
    DataType = pl.DataType
else:  # beartype, which checks annotations in the tests, refuses polars' types: their repr() is not their name
    DataType = object


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name (units are part of it, ``surprisal_nats``), type and meaning."""

    name: str
    dtype: DataType
    meaning: str


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's name, what one row is, and its columns in order."""

    name: str
    row: str
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        """Give every schema an entry in `SCHEMAS`, which the documentation lists."""
        SCHEMAS[self.name] = self

    @property
    def dtypes(self) -> dict[str, DataType]:
        """Column name -> polars type."""
        return {column.name: column.dtype for column in self.columns}

    def frame(self, rows: "list[dict] | dict[str, list]") -> pl.DataFrame:
        """Build a frame of this schema from rows or columns; extra or missing names raise TableError."""
        frame = pl.DataFrame(rows, strict=False, infer_schema_length=None) if rows else pl.DataFrame(schema=self.dtypes)
        return self.conform(frame)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Order and cast ``frame``'s columns; raises TableError when a name is missing or unknown."""
        want, found = list(self.dtypes), frame.columns
        missing = [name for name in want if name not in found]
        unknown = [name for name in found if name not in want]
        if missing or unknown:
            hint = did_you_mean(unknown[0], missing) if unknown else ""
            raise TableError(f"Table '{self.name}' wants columns {want}; missing {missing}, unknown {unknown}.{hint}")
        try:
            return frame.select(want).cast(self.dtypes)  # type: ignore[arg-type]
        except pl.exceptions.PolarsError as error:
            raise TableError(f"Table '{self.name}': a column does not have the type it should have: {error}") from None


SCHEMAS: dict[str, TableSchema] = {}

# Who a row is about. Every table of an analysis begins with these, so that tables join without guessing.
MODEL_COLUMNS: tuple[Column, ...] = (
    Column("arch", pl.String(), "name of the model in the study file, e.g. transformer-4"),
    Column("seed", pl.Int64(), "seed of initialisation and of data order"),
)
CHECKPOINT_COLUMNS: tuple[Column, ...] = (
    *MODEL_COLUMNS,
    Column("step", pl.Int64(), "optimizer steps done"),
    Column("tokens_seen", pl.Int64(), "training tokens seen up to this step, repetitions included"),
    Column("weight_hash", pl.String(), "SHA-256 of the checkpoint's weights"),
)


def write_table(path: Path, frame: pl.DataFrame, schema: TableSchema) -> None:
    """Write ``frame`` as Parquet, atomically and with the same bytes for the same values.

    Raises TableError when the frame does not have the schema's columns.
    """
    conformed = schema.conform(frame)
    with atomic_file(path) as temporary:
        conformed.write_parquet(temporary, compression="zstd", statistics=False)


def read_table(path: Path, schema: TableSchema) -> pl.DataFrame:
    """Read a table; raises TableError when it is missing, damaged or does not have the schema's columns."""
    if not path.is_file():
        raise TableError(f"There is no table '{schema.name}' at {path}. Run the study that makes it first.")
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{path} cannot be read as Parquet ({error}). Delete it and run the study again.") from None
    return schema.conform(frame)
