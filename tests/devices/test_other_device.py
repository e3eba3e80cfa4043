"""Checkpoints are measured on the GPU where there is one, with the same numbers, as a device in Python shows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from groundscope.study.devices import measured_on
from groundscope.study.load import load_study

pytest.importorskip("torch.utils.backend_registration", reason="this torch cannot be told of a device")
SCENES = Path(__file__).parents[2] / "studies/scenes-small.yaml"
SCRIPT = Path(__file__).with_name("on_elsewhere.py")
STUDY = """
name: small
seeds: [1]
corpus: {source: toyworld, world: {documents: 300, nouns: 24}, chunks: {length: 32}}
models:
  hybrid: {preset: transformer-4, mixers: [attention, mamba2], d_model: 32, n_heads: 2}
  lstm: {preset: lstm-4, n_layers: 1, d_model: 32}
training: {steps: 20, batch_size: 4, warmup_steps: 5, checkpoints: [0, 20], precision: fp32}
behaviour: {minimum: 20}
mechanism: {at: few, prompts: {prompts: 12}, causal: {draws: 2, permutations: 99, resamples: 100}}
lens:
  at: few
  prompts: {prompts: 12}
  tuned: {steps: 3, tokens_per_step: 128}
  linear: {kind: linear, steps: 3, tokens_per_step: 128, precision: bfloat16}
statistics: {resamples: 100}
"""
MEASURED = ("behaviour", "controls", "mechanism", "lens", "viewer")


def groundscope(script: tuple[str, ...], *arguments: str) -> None:
    done = subprocess.run((sys.executable, *script, *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One training, measured on the CPU and elsewhere."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "study.yaml").write_text(STUDY)
    here, there = folder / "here", folder / "there"
    command = ("-c", "from groundscope.cli import main; main()")
    study = ("run", str(folder / "study.yaml"), "--quiet", "--out")
    groundscope(command, *study, str(here), "--only", "train")
    shutil.copytree(here, there)
    only = [part for kind in MEASURED for part in ("--only", kind)]
    groundscope(command, *study, str(here), *only)
    groundscope((str(SCRIPT),), *study, str(there), *only)
    return here, there


@pytest.mark.slow
@pytest.mark.parametrize("kind", MEASURED)
def test_what_is_measured_elsewhere_is_what_is_measured_here(runs: tuple[Path, Path], kind: str) -> None:
    here, there = runs
    tables = sorted(table.relative_to(here) for table in (here / kind).rglob("*.parquet"))
    assert {table.parts[1] for table in tables} == {"hybrid", "lstm"}
    for table in tables:
        one, other = pl.read_parquet(here / table), pl.read_parquet(there / table)
        drawn = [name for name in one.columns if name.startswith(("p_", "ci_")) or name == "p"]  # ties may fall apart
        assert_frame_equal(one.drop(drawn), other.drop(drawn), check_exact=False, rel_tol=1e-3, abs_tol=1e-4)


@pytest.mark.slow
def test_a_step_of_training_elsewhere_is_one_here(tmp_path: Path) -> None:
    groundscope((str(SCRIPT),), "steps", str(tmp_path / "losses.json"))
    for name, (here, there) in json.loads((tmp_path / "losses.json").read_text()).items():
        assert here[-1] < here[0], name
        assert there == pytest.approx(here, abs=2e-3), name


@pytest.mark.parametrize(
    ("asked", "is_there", "device"),
    [
        ("auto", True, "cuda"),
        ("cuda", True, "cuda"),
        ("cpu", True, "cpu"),
        ("mps", True, "cpu"),
        ("cuda", False, "cpu"),
    ],
)
def test_checkpoints_are_measured_on_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, asked: str, is_there: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    study = load_study(None, [f"training.device={asked}"])
    assert measured_on(study, "transformer-4") == device


@pytest.mark.parametrize(
    ("file", "model", "training"), [(None, "transformer-4", "transformer-4"), (SCENES, "vlm", "vlm.dino")]
)
def test_a_model_is_measured_where_its_own_training_asks_to_be(
    monkeypatch: pytest.MonkeyPatch, file: Path | None, model: str, training: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert measured_on(load_study(file), training) == "cuda"
    assert measured_on(load_study(file, [f"models.{model}.training.device=cpu"]), training) == "cpu"
