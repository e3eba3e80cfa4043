"""Every published number beside ours, from whatever runs there are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundscope.errors import GroundscopeError
from groundscope.reproduction.experiments import at_scale, experiments, run_folder
from groundscope.reproduction.measured import Answer, answer
from groundscope.reproduction.published import Direction, Paper, Point, Quantity
from groundscope.reproduction.results import Measured, Results
from groundscope.reproduction.settings import are_the_papers
from groundscope.reproduction.verdicts import Verdict, verdicts
from groundscope.study.config import Study


@dataclass(frozen=True, slots=True)
class Found:
    """Our side of one published number at one scale."""

    measured: Measured | None
    verdict: Verdict
    problem: str = ""
    """Why a run has no number: its tables could not be read, or hold too little to test; empty: nothing to say."""


@dataclass(frozen=True, slots=True)
class Row:
    """One published number of one experiment, and ours at each scale."""

    quantity: Quantity
    experiment: str
    point: Point
    ours: tuple[Found | None, ...]
    """None at a scale that does not have the experiment."""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows under one heading."""

    title: str
    rows: tuple[Row, ...]

    def tally(self, scale: int) -> dict[Verdict, int]:
        """How many numbers have each verdict at the scale of this position."""
        counted = Counter(found.verdict for row in self.rows if (found := row.ours[scale]))
        return {verdict: counted[verdict] for verdict in Verdict if counted[verdict]}


def compare(paper: Paper, studies: Path, runs: Path, scales: Sequence[str]) -> list[Group]:
    """Hold the runs below ``runs`` against the paper, at each of ``scales``; the order is that of the paper's file."""
    at_size = {name: known.study() for name, known in experiments(studies).items()}
    has = {scale: set(at_scale(studies, scale)) | set(paper.experiments) - set(at_size) for scale in scales}
    places = {
        name: [run_folder(runs, scale, name) if name in has[scale] else None for scale in scales]
        for name in paper.experiments
    }
    rows = [row for quantity in paper.quantities for row in _rows(quantity, at_size, places)]
    titles = dict.fromkeys(row.quantity.group for row in rows)
    return [Group(title, tuple(row for row in rows if row.quantity.group == title)) for title in titles]


def _rows(
    quantity: Quantity, at_size: Mapping[str, Study], places: Mapping[str, Sequence[Path | None]]
) -> Iterator[Row]:
    for name in quantity.experiments:
        by_scale = [
            _found(quantity, Results(place, quantity.model), at_size.get(name)) if place else _nothing(quantity)
            for place in places[name]
        ]
        for point, *ours in zip(quantity.points, *by_scale, strict=True):
            yield Row(quantity, name, point, tuple(ours))


def _nothing(quantity: Quantity) -> Sequence[None]:
    return [None] * len(quantity.points)


def _found(quantity: Quantity, results: Results, study: Study | None) -> list[Found]:
    try:
        return _judged(quantity, results, study)
    except GroundscopeError as error:  # one damaged run does not hide what the others say
        return [Found(None, Verdict.NOT_RUN, str(error))] * len(quantity.points)


def _judged(quantity: Quantity, results: Results, study: Study | None) -> list[Found]:
    asked = _rescaled(quantity, results.steps)
    said: Answer = answer(results, asked)
    comparable = study is not None and not quantity.stand_in and are_the_papers(results.resolved, results.card, study)
    judged = verdicts(asked, said, paper_size=comparable)
    both = enumerate(zip(said.points, judged, strict=True))
    return [Found(measured, verdict, said.why_untested(position)) for position, (measured, verdict) in both]


def _rescaled(quantity: Quantity, steps: int | None) -> Quantity:
    """A range of steps means the same part of a shorter training."""
    if quantity.unit != "steps" or quantity.direction is not Direction.WITHIN or not steps:
        return quantity
    assert quantity.low is not None
    assert quantity.high is not None
    part = steps / quantity.steps
    return quantity.model_copy(update={"low": quantity.low * part, "high": quantity.high * part})
