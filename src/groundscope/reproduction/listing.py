"""The experiments of the paper as a list for people: what each costs, and how far its run is."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from groundscope.errors import GroundscopeError
from groundscope.reproduction.cost import Cost, cost
from groundscope.reproduction.experiments import at_scale, experiments, run_folder
from groundscope.reproduction.published import Paper, Title
from groundscope.reproduction.rate import Rate
from groundscope.reproduction.results import Results
from groundscope.reproduction.reuse import runs_below
from groundscope.reproduction.run_files import resolved_of
from groundscope.study.cell import catalogue
from groundscope.study.config import Study
from groundscope.study.runs import cells_done
from groundscope.training.memory import size
from groundscope.training.run import read_run


@dataclass(frozen=True, slots=True)
class Listed:
    """One experiment at one scale; ``cost`` is None where there is no study file."""

    name: str
    title: Title
    cost: Cost | None
    status: str


def listed(paper: Paper, studies: Path, runs: Path, scale: str) -> list[Listed]:
    """Return a scale's experiments in the paper's order; raises StudyError where a study is not as it should be."""
    known, there = experiments(studies), at_scale(studies, scale)
    others = runs_below(runs)
    found = []
    for name, title in paper.experiments.items():
        if name in known and name not in there:
            continue
        run = run_folder(runs, scale, name)
        if name in known:
            study = known[name].study(scale)
            found.append(Listed(name, title, cost(study, run, others), status(run, study)))
        else:
            found.append(Listed(name, title, None, f"there is no {studies}/{name}.yaml"))
    return found


def status(run: Path, study: Study) -> str:
    """Say how far a run of ``study`` is: cells, the steps of a training that waits, and what was asked for instead."""
    done, begun, planned = cells_done(run)
    if not planned:
        return f"tables without trainings{_otherwise(run, study)}" if Results(run).there else "not run"
    if done == planned:
        return f"done{_otherwise(run, study)}"
    waits = "; ".join(_waiting(run))
    return f"{done} of {planned} cells done{f', {begun} begun' if begun else ''}{f' ({waits})' if waits else ''}"


def _waiting(run: Path) -> Iterator[str]:
    """How far each training is that was begun and is not finished, by the newest state from which it goes on."""
    for name, record in sorted(catalogue(run).items()):
        if record.finished or "train" not in name.split("/"):
            continue
        with suppress(GroundscopeError):
            steps = read_run(run / name).training.steps
            states = [int(state.name.split("-")[-1]) for state in (run / name / "state").glob("step-????????")]
            yield f"{name.split('/')[-1]} goes on from step {max(states, default=0):,} of {steps:,}"


def _otherwise(run: Path, study: Study) -> str:
    """Which seeds and steps a run had, where they are not those of the study at this scale."""
    with suppress(GroundscopeError):
        resolved, asked = resolved_of(run), Results.steps_of(study.model_dump(mode="json"))
        seeds, steps = resolved.get("seeds"), Results.steps_of(resolved)
        said = []
        if seeds is not None and set(study.seeds) - set(seeds):
            said.append(f"{len(set(study.seeds) & set(seeds))} of {len(study.seeds)} seeds")
        if steps is not None and steps != asked:
            said.append(f"{steps:,} steps in place of {asked:,}")
        return f" ({', '.join(said)})" if said else ""
    return ""


def lines(rows: list[Listed], scale: str, scales: Iterable[str], rate: Rate) -> Iterator[str]:
    """Write the list for a terminal; ``scales`` are all there are, ``rate`` is that of a CPU core."""
    yield f"The paper's experiments at scale '{scale}', trainings only:"
    yield ""
    width = max(len(row.name) for row in rows)
    yield f"{'':{width}}  {'trainings':>9}  {'GPU h':>6}  {'core h':>7}  {'disk':>7}  status"
    for row in rows:
        price = row.cost
        if price is None:
            yield f"{row.name:{width}}  {'–':>9}  {'–':>6}  {'–':>7}  {'–':>7}  {row.status}"
            continue
        gpu, cpu = hours(price.gpu_hours), hours(price.core_hours(rate.flops))
        yield f"{row.name:{width}}  {price.trainings:>9}  {gpu:>6}  {cpu:>7}  {size(price.disk_bytes):>7}  {row.status}"
    yield ""
    yield "GPU h: hours of one H100-class GPU at 40 % of its bfloat16 peak."
    yield f"core h: hours of one CPU core at {rate.flops / 1e9:.0f} GFLOP/s, as {rate.source}; wide models are faster."
    yield "Measurements come on top. What another run has trained already is taken over and not made again."
    assumed = sorted({row.cost.vocabulary for row in rows if row.cost and not row.cost.known})
    if assumed:
        entries = " or ".join(f"{entries:,}" for entries in assumed)
        yield f"Where no corpus is built yet, a vocabulary of {entries} entries is assumed."
    if others := [f"--scale {other}" for other in scales if other != scale]:
        yield f"Other sizes have lists of their own: {', '.join(others)}."


def hours(value: float) -> str:
    """Write hours with two digits that count: ``0.0041``, ``0.53``, ``1,700``; below a thousandth, that it is."""
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
