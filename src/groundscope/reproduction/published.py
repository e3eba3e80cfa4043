"""What the authors published, as data: every number with its grade and its place, and what we hold against it."""

from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import Field, model_validator

from groundscope.record import Record

FILE = "paper.yaml"


class Grade(StrEnum):
    """How a published number is known."""

    AUTHORS = "A"
    """Stated by the authors: paper, blog, published code or model pages."""
    SUMMARY = "B"
    """Stated by a published summary of the paper."""
    FIGURE = "C"
    """Read off a figure, approximate."""


class Direction(StrEnum):
    """What a published series says besides its size."""

    POSITIVE = "positive"
    """Above zero at each point."""
    RISES = "rises"
    """Higher at the last point than at the first; of R², without the fall that `RISES_THEN_FALLS` tests."""
    FALLS = "falls"
    """Lower at the last point than at the first."""
    WITHIN = "within"
    """Each point lies where the paper's text says (``low`` to ``high``)."""
    RISES_THEN_FALLS = "rises then falls"
    """Rises to a peak and falls after it while G still grows: the one test of table ``conclusions``."""
    NONE = "none"
    """No effect at any point: one verdict on all of them, by tests of equivalence (`reproduction.no_effect`)."""


class Measure(Record):
    """Where our number comes from: a reader of `groundscope.reproduction.measured`, and what it is asked."""

    kind: Literal[
        "behaviour",
        "r_squared",
        "r_squared_peak",
        "causal",
        "no_effect",
        "lens",
        "lens_drop",
        "lens_step",
        "saliency_onset",
        "dose",
    ]
    column: str = Field(default="", description="which of the reader's numbers")
    minus: str = Field(default="", description="ending of the name of a model whose number is subtracted")
    role: Literal["aggregate", "gather"] = "aggregate"
    direction: Literal["env2lan", "lan2env"] = "env2lan"


class Point(Record):
    """One published number; ``value`` is None where the authors state the direction alone."""

    value: float | None = None
    high: float | None = Field(default=None, description="upper end, where a range is stated from `value` on")
    sd: float | None = Field(default=None, description="standard deviation over the authors' seeds")
    step: int | None = Field(default=None, description="training step; none: the last")
    layer: int | None = Field(default=None, description="layer, counted from 1 as the paper counts")


class Quantity(Record):
    """A series of published numbers that one measure answers."""

    key: str
    group: str = Field(description="heading that it stands under")
    title: str
    experiments: tuple[str, ...] = Field(min_length=1, description="studies that can answer it")
    model: str = Field(default="", description="ending of the model's name, where a study has several")
    stand_in: str = Field(default="", description="what of ours is not the authors', so that sizes are not compared")
    grade: Grade
    place: str = Field(description="where it was published")
    unit: str = ""
    digits: int = 2
    steps: int = Field(default=20_000, description="training steps of the authors' run")
    says: str = Field(description="the direction in words")
    direction: Direction
    low: float | None = Field(default=None, description="of direction `within`")
    high: float | None = Field(default=None, description="of direction `within`")
    margin: float | None = Field(
        default=None, description="how far ours may lie and count as the same size, in `unit`; none: a share, by grade"
    )
    measure: Measure
    points: tuple[Point, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> "Quantity":
        if self.direction is Direction.WITHIN and (self.low is None or self.high is None):
            raise ValueError(f"{self.key}: direction 'within' wants low and high")
        return self


class Title(Record):
    """An experiment in words, and where it was published."""

    title: str
    place: str


class Paper(Record):
    """Everything that is held against the paper."""

    source: str
    experiments: dict[str, Title]
    quantities: tuple[Quantity, ...]

    @model_validator(mode="after")
    def _known(self) -> "Paper":
        keys = [quantity.key for quantity in self.quantities]
        if len(set(keys)) < len(keys):
            raise ValueError("two quantities have the same key")
        unknown = {name for quantity in self.quantities for name in quantity.experiments} - set(self.experiments)
        if unknown:
            raise ValueError(f"quantities name experiments that are not listed: {', '.join(sorted(unknown))}")
        return self


@cache
def paper() -> Paper:
    """Return what was published."""
    text = (files("groundscope.data") / FILE).read_text(encoding="utf-8")
    return Paper.model_validate(yaml.safe_load(text))
