"""The experiments of the paper: a study file each, and scales that replace settings of all of them.

``studies/paper/NAME.yaml`` is an experiment at the paper's size. ``studies/paper/scales/SCALE.yaml`` says what another
size replaces, in the words of ``--set``: for all its experiments, and for each by name. It may be ``like`` another.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from groundscope.errors import StudyError, did_you_mean
from groundscope.strict import read_yaml
from groundscope.study.config import Study
from groundscope.study.load import load_study

STUDIES = Path("studies/paper")
RUNS = Path("runs")
PAPER = "paper"
"""The scale that replaces nothing."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One study file of the paper."""

    name: str
    file: Path

    def study(self, scale: str = PAPER, overrides: Iterable[str] = ()) -> Study:
        """Load the study at a scale, with ``overrides`` on top; raises StudyError for what cannot be."""
        return load_study(self.file, (*scale_overrides(self.file.parent, scale, self.name), *overrides))


def experiments(studies: Path = STUDIES) -> dict[str, Experiment]:
    """Return the experiments in a folder by name; raises StudyError where there are none."""
    files = sorted(studies.glob("*.yaml"))
    if not files:
        raise StudyError(
            f"There are no study files in {studies}. They come with the source: run this in a checkout of groundscope, "
            "or name their folder with --studies."
        )
    return {file.stem: Experiment(file.stem, file) for file in files}


def experiment(name: str, studies: Path = STUDIES) -> Experiment:
    """Return one experiment; raises StudyError that names the nearest where there is none of that name."""
    known = experiments(studies)
    if name not in known:
        raise StudyError(f"There is no experiment '{name}'; there are {', '.join(known)}.{did_you_mean(name, known)}")
    return known[name]


def scales(studies: Path = STUDIES) -> tuple[str, ...]:
    """Return the names of the scales, the paper's first."""
    return (PAPER, *sorted(file.stem for file in (studies / "scales").glob("*.yaml")))


def at_scale(studies: Path, scale: str) -> tuple[str, ...]:
    """Return the names of the experiments that a scale has; raises StudyError for a scale that is none."""
    return tuple(experiments(studies)) if scale == PAPER else tuple(_replaced(studies, scale))


def scale_overrides(studies: Path, scale: str, name: str) -> list[str]:
    """Return what a scale replaces in a study, as ``--set`` takes it; raises StudyError for a scale that is none."""
    if scale == PAPER:
        return []
    replaced = _replaced(studies, scale)
    if name not in replaced:
        raise StudyError(
            f"{_file(studies, scale)} does not say what '{name}' is at that scale; it has {', '.join(replaced)}."
        )
    return [f"{key}={json.dumps(value)}" for key, value in replaced[name].items()]


def run_folder(runs: Path, scale: str, name: str) -> Path:
    """Return where an experiment's run is kept: ``RUNS/paper/NAME``, or ``RUNS/paper-SCALE/NAME``."""
    return runs / (PAPER if scale == PAPER else f"{PAPER}-{scale}") / name


def check_runs(runs: Path, studies: Path, name: str | None) -> None:
    """Raise StudyError for what is no folder of runs: no folder, the runs of one scale alone, or one of them.

    With a ``name`` to run it may be made, and by default (`RUNS`) it may be absent.
    """
    if not runs.is_dir() and (runs.exists() or (name is None and runs != RUNS)):
        near = did_you_mean(runs.name, [folder.name for folder in runs.parent.glob("*/")])
        raise StudyError(f"--runs {runs} is no folder.{near} Name the one that holds the runs.")
    of_one_scale = {run_folder(runs, scale, "").name for scale in scales(studies)}
    here, known = runs.resolve(), experiments(studies)
    if here.name in of_one_scale and any((here / name).is_dir() for name in known):
        raise StudyError(f"--runs {runs} holds the runs of one scale. Name the folder above it, {here.parent}.")
    if here.name in known and here.parent.name in of_one_scale:
        raise StudyError(f"--runs {runs} is one run. Name the folder of all, {here.parent.parent}.")


def _file(studies: Path, scale: str) -> Path:
    return studies / "scales" / f"{scale}.yaml"


def _replaced(studies: Path, scale: str, asked_by: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """What a scale replaces in each of its experiments: first what the scale does that it is ``like``, then its own."""
    known = scales(studies)
    if scale not in known[1:]:
        raise StudyError(f"There is no scale '{scale}'; there are {', '.join(known)}.{did_you_mean(scale, known)}")
    if scale in asked_by:
        raise StudyError(f"The scales {', '.join(asked_by)} are like each other; one of them has to stand by itself.")
    tree = _read(_file(studies, scale))
    base = _replaced(studies, tree["like"], (*asked_by, scale)) if "like" in tree else {}
    return {name: {**base.get(name, {}), **tree.get("all", {}), **own} for name, own in tree["experiments"].items()}


def _read(file: Path) -> Mapping[str, Any]:
    try:
        tree = read_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none, bytes that are no UTF-8
        raise StudyError(f"{file} is not valid YAML: {error}") from None
    parts = [tree.get("all", {}), tree.get("experiments")] if isinstance(tree, dict) else [None]
    if not all(isinstance(part, dict) for part in (*parts, *(parts[-1] or {}).values())):
        raise StudyError(f"{file} should hold `all` and `experiments`, each with settings and their values.")
    return tree
