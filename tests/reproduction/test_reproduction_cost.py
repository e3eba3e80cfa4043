"""Hours are judged by what was trained here, and by the vocabulary of a corpus that was built here."""

from pathlib import Path

import pytest
import torch

from groundscope.files import write_json
from groundscope.models.presets import preset
from groundscope.progress import Progress
from groundscope.reproduction.cost import CHILDES_VOCABULARIES, corpus_settings, cost, flops
from groundscope.reproduction.experiments import experiment
from groundscope.reproduction.rate import measured_rate, recorded_rate
from groundscope.study.architecture import count_parameters
from groundscope.study.cell import Cell, Record
from groundscope.study.engine import run_cells
from groundscope.training.config import TrainConfig
from groundscope.training.run import CorpusFacts, RunCard

STUDIES = Path(__file__).parents[2] / "studies" / "paper"
STEPS = TrainConfig(steps=100, warmup_steps=10, batch_size=8)


def trained(folder: Path, **session: object) -> float:
    """Write down a training as if it was done; return its operations."""
    model = preset("transformer-4", 500, d_model=32, n_heads=2, n_positions=64)
    facts = CorpusFacts(n_chunks=10, length=64, sha256="")
    own = {"model_type": model.model_type, "vocab_size": 500, "d_model": 32, "n_heads": 2, "n_positions": 64}
    own["mixers"] = model.mixers
    card = RunCard(arch="m", seed=1, precision="fp32", model=own, training=STEPS, corpus=facts, provenance={})
    write_json(folder / "run.json", card.model_dump(mode="json"))
    about = {"first_step": 0, "last_step": 100, "seconds": 20.0, "device": "cpu", "processes": 1, "threads": 2}
    write_json(folder / "speed.json", {"sessions": [about | session]})
    return flops(model, count_parameters(model), 64, STEPS)


def test_operations_are_six_per_weight_and_those_of_attention_for_half_of_each_pair():
    attends, scans = (preset(name, 500, d_model=32, n_layers=4) for name in ("transformer-4", "mamba2-4"))
    positions = attends.n_positions * attends.d_model
    tokens = 64 * STEPS.batch_size * STEPS.steps
    assert flops(attends, positions + 1000, 64, STEPS) == (6 * 1000 + 4 * 6 * 64 * 32) * tokens
    assert flops(scans, 1000, 64, STEPS) == 6 * 1000 * tokens


def test_the_rate_is_that_of_all_trainings_together(tmp_path: Path):
    assert recorded_rate(tmp_path) is None
    done = trained(tmp_path / "paper-small" / "one" / "train" / "m" / "seed-1")
    trained(tmp_path / "other" / "train" / "m" / "seed-1", last_step=50, seconds=20.0, threads=1, processes=2)
    trained(tmp_path / "other" / "train" / "m" / "seed-2", device="cuda")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "speed.json").write_text("{")
    found = recorded_rate(tmp_path)
    assert found
    assert found.flops == pytest.approx(1.5 * done / (20 * 2 + 40))
    assert found.source == f"2 trainings below {tmp_path} did"


def test_without_trainings_the_machine_is_measured():
    threads = torch.get_num_threads()
    found = measured_rate()
    assert 1e9 < found.flops < 1e13
    assert torch.get_num_threads() == threads


def test_a_corpus_that_another_run_has_built_is_counted_with(tmp_path: Path):
    study = experiment("transformer-4", STUDIES).study("small")
    assumed = cost(study, tmp_path / "mine")
    assert (assumed.vocabulary, assumed.known) == (CHILDES_VOCABULARIES[10], False)

    def work(folder: Path, progress, upstream):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "card.json", {"vocabulary_size": 5_000, "chunk_length": 256})
        return {"": "a"}

    run_cells([Cell("corpus", ("files",), corpus_settings(study), work)], tmp_path / "other", Progress(quiet=True))
    assert Record.load(tmp_path / "other", "corpus")
    found = cost(study, tmp_path / "mine", [tmp_path / "other"])
    assert (found.vocabulary, found.known) == (5_000, True)
    assert found.flops < assumed.flops
    another = cost(experiment("captions", STUDIES).study("small"), tmp_path / "mine", [tmp_path / "other"])
    assert not another.known
