"""A run directory: what it was asked for, who may write in it, and whether it is finished.

run.json, checkpoints/step-00000150/, loss.parquet, speed.json, state/
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Int, Shaped
from pydantic import Field, ValidationError

from groundscope.errors import GroundscopeError
from groundscope.files import read_json, remove_leftovers, sha256_json, write_json
from groundscope.record import Record
from groundscope.training.config import FREE_TO_CHANGE, TrainConfig
from groundscope.training.order import DataOrder
from groundscope.training.schedule import checkpoint_steps

RUN = "run.json"
LOSS_TABLE = "loss.parquet"
SPEED = "speed.json"
LOCK = ".lock"


class CorpusFacts(Record):
    """What a run depends on of its chunks."""

    n_chunks: int = Field(description="training sequences")
    length: int = Field(description="tokens of each")
    sha256: str = Field(description="SHA-256 of the chunks' int32 tokens, row by row")
    patches_sha256: str | None = Field(default=None, description="SHA-256 of the pictures' features; none: no pictures")

    @classmethod
    def of(
        cls, chunks: Int[np.ndarray, "n_chunks length"], patches: Shaped[np.ndarray, "row d_patch"] | None = None
    ) -> "CorpusFacts":
        """Measure them; reads everything once."""
        return cls(
            n_chunks=chunks.shape[0],
            length=chunks.shape[1],
            sha256=_sha256(chunks, "<i4"),
            patches_sha256=None if patches is None else _sha256(patches, "<f2"),
        )


class RunCard(Record):
    """run.json: everything that a run's weights follow from, and where it came from."""

    arch: str = Field(description="name of the model in tables")
    seed: int = Field(ge=0, description="seed of initialisation, data order and dropout")
    precision: str = Field(description="fp32 or bf16, as used")
    model: dict[str, Any] = Field(description="the model's configuration")
    training: TrainConfig
    corpus: CorpusFacts
    provenance: dict[str, Any] = Field(description="versions and origin; for the reader, not compared")

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a stopped run to go on."""
        asked = self.model_dump(mode="json", exclude={"provenance"})
        for key in FREE_TO_CHANGE:
            del asked["training"][key]
        return asked

    @property
    def identity_hash(self) -> str:
        """SHA-256 of `identity`."""
        return sha256_json(self.identity)

    @property
    def order(self) -> DataOrder:
        """The order in which the run reads its chunks."""
        return DataOrder(self.corpus.n_chunks, self.training.batch_size, self.seed)

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """The steps whose weights the run keeps."""
        return checkpoint_steps(self.training.checkpoints, self.training.steps)

    @property
    def tokens_per_step(self) -> int:
        """Training tokens that one optimizer step reads."""
        return self.training.batch_size * self.corpus.length


def _sha256(rows: Shaped[np.ndarray, "row width"], dtype: str) -> str:
    digest = hashlib.sha256()
    at_a_time = max(1, 2**22 // max(1, rows.shape[1]))  # 16 MB: they may be larger than memory
    for start in range(0, len(rows), at_a_time):
        digest.update(rows[start : start + at_a_time].astype(dtype).tobytes())
    return digest.hexdigest()


def read_run(out: Path) -> RunCard:
    """Read a run directory's card; raises GroundscopeError when there is none or it is damaged."""
    if not (out / RUN).is_file():
        raise GroundscopeError(f"{out} is not a training run: it has no {RUN}.")
    try:
        return RunCard.model_validate(read_json(out / RUN))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GroundscopeError(
            f"{out / RUN} cannot be read ({where}: {first['msg']}). Train into a new folder."
        ) from None


def begin(out: Path, card: RunCard) -> None:
    """Make the run directory, or go on in it; raises GroundscopeError when it holds another run.

    A run that has kept nothing yet, because the disk was too small for it say, may be asked for otherwise.
    """
    if (out / RUN).is_file() and any(out.glob("*/step-*")):
        found = read_run(out)
        changes = list(_differences(found.identity, card.identity))
        if changes:
            raise GroundscopeError(
                f"{out} holds another run: {'; '.join(changes)}. Train into a new folder, or delete this one."
            )
    for folder in (out, out / "checkpoints", out / "state"):
        remove_leftovers(folder)
    write_json(out / RUN, card.model_dump(mode="json"))


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the run directory; raises GroundscopeError when another process does. A kill lets go of it."""
    lock = FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise GroundscopeError(f"{out} cannot be a run's folder ({error.strerror}); choose another one.") from None
    except Timeout:
        raise GroundscopeError(f"Another process is training in {out}; wait for it or choose another folder.") from None
    try:
        yield
    finally:
        lock.release()


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} was {before!r}, now {after!r}"
