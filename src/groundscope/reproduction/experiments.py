"""The experiments of the paper: a study file each, and scales that replace settings of all of them.

``studies/paper/NAME.yaml`` is an experiment at the paper's size. ``studies/paper/scales/SCALE.yaml`` says what another
size replaces, in the words of ``--set``: for all experiments, and for each by name.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from groundscope.errors import StudyError, did_you_mean
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


def scale_overrides(studies: Path, scale: str, name: str) -> list[str]:
    """Return what a scale replaces in a study, as ``--set`` takes it; raises StudyError for a scale that is none."""
    if scale == PAPER:
        return []
    if scale not in scales(studies):
        known = scales(studies)
        raise StudyError(f"There is no scale '{scale}'; there are {', '.join(known)}.{did_you_mean(scale, known)}")
    tree = _read(studies / "scales" / f"{scale}.yaml")
    mine = tree.get("experiments", {}).get(name)
    if mine is None:
        raise StudyError(f"{studies}/scales/{scale}.yaml does not say what '{name}' is at that scale.")
    return [f"{key}={json.dumps(value)}" for key, value in {**tree.get("all", {}), **mine}.items()]


def run_folder(runs: Path, scale: str, name: str) -> Path:
    """Return where an experiment's run is kept: ``RUNS/paper/NAME``, or ``RUNS/paper-SCALE/NAME``."""
    return runs / (PAPER if scale == PAPER else f"{PAPER}-{scale}") / name


def _read(file: Path) -> Mapping[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise StudyError(f"{file} is not valid YAML: {error}") from None
    if not isinstance(tree, dict) or not all(isinstance(part, dict) for part in tree.get("experiments", {}).values()):
        raise StudyError(f"{file} should hold `all` and `experiments`, each with settings and their values.")
    return tree
