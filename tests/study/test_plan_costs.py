"""What is said before a run: hashes that are not taken twice, disk, time, and how far runs are."""

import os
from pathlib import Path

import pytest

from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import TrainingError
from groundscope.files import sha256_file, write_json
from groundscope.models.presets import build
from groundscope.progress import Progress
from groundscope.study import file_hashes
from groundscope.study.architecture import count_parameters, model_config
from groundscope.study.cell import Record
from groundscope.study.cells.tables import joined
from groundscope.study.disk import disk_needs, refuse_full_disk, total_need
from groundscope.study.engine import InThisProcess
from groundscope.study.estimate import Experience
from groundscope.study.executors import jobs_here, on_ray
from groundscope.study.file_hashes import hash_files
from groundscope.study.load import load_study
from groundscope.study.memory import PROCESS, memory_free, memory_need
from groundscope.study.plan import plan
from groundscope.study.ray_engine import RayOptions
from groundscope.study.run import plan_run
from groundscope.study.runs import cells_left, list_runs
from groundscope.study.selection import Selection
from groundscope.tables import write_table
from groundscope.training.metrics import LOSS

SMALL = (
    "models={transformer-4: {preset: transformer-4, d_model: 32, n_heads: 2}, lstm-4: {preset: lstm-4, d_model: 32}}",
    "seeds=[1]",
)


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "talk.cha"
    file.write_text("one")
    os.utime(file, (1e9, 1e9))
    first = hash_files([file])
    assert first == [sha256_file(file)]
    with monkeypatch.context() as patched:
        patched.setattr(file_hashes, "sha256_file", lambda path: pytest.fail("read again"))
        assert hash_files([file]) == first
    file.write_text("two")  # as long, but later
    assert hash_files([file]) == [sha256_file(file)] != first
    file.write_text("six")  # within the moment in which time and size may stay the same
    assert hash_files([file]) == [sha256_file(file)]
    (tmp_path / "cache/groundscope/file-hashes.json").write_text("{damaged")
    assert hash_files([file]) == [sha256_file(file)]


@pytest.mark.parametrize("model", ["transformer-4", "lstm-4"])
def test_parameters_are_counted_without_weights(model: str) -> None:
    config = model_config(load_study(None, SMALL).models[model], vocabulary=100, chunk_length=16)
    assert count_parameters(config) == sum(weight.numel() for weight in build(config, 0).parameters())


def test_disk_is_summed_over_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(None, (*SMALL, "training.checkpoints=[0, 10]", "training.steps=20"))
    write_json(tmp_path / "corpus/card.json", {"vocabulary_size": 100, "chunk_length": 16})
    needs = disk_needs(study, tmp_path)
    parameters = count_parameters(model_config(study.models["lstm-4"], 100, 16))
    assert needs["train/lstm-4/seed-1"].checkpoints == 3
    assert needs["train/lstm-4/seed-1"].checkpoint_bytes == 4 * parameters
    kept = tmp_path / "train/lstm-4/seed-1/checkpoints/step-00000000"
    kept.mkdir(parents=True)
    (kept / "model.safetensors").touch()
    assert disk_needs(study, tmp_path)["train/lstm-4/seed-1"].checkpoints == 2
    need = total_need(disk_needs(study, tmp_path))
    refuse_full_disk(study, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": need - 1}))
    with pytest.raises(TrainingError, match="2 trainings that are left need"):
        refuse_full_disk(study, tmp_path)


def test_states_are_counted_for_as_many_trainings_as_are_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(None, SMALL)
    write_json(tmp_path / "corpus/card.json", {"vocabulary_size": 100, "chunk_length": 16})
    needs = disk_needs(study, tmp_path)
    one, two = total_need(needs), total_need(needs, 2)
    assert two - one == min(need.states * need.state_bytes for need in needs.values())
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": one}))
    refuse_full_disk(study, tmp_path)
    for name in needs:
        (tmp_path / name).mkdir(parents=True)
        Record("code", "settings", {}).save(tmp_path, name)
    with pytest.raises(TrainingError, match="2 trainings that are left need"):
        refuse_full_disk(study, tmp_path)


def test_a_training_that_begins_anew_writes_everything_again(tmp_path: Path) -> None:
    study = load_study(None, SMALL)
    name = next(iter(disk_needs(study, tmp_path)))
    steps = disk_needs(study, tmp_path)[name].checkpoints
    for step in range(steps):
        kept = tmp_path / name / f"checkpoints/step-{step:08d}"
        kept.mkdir(parents=True)
        (kept / "model.safetensors").touch()
    assert name not in disk_needs(study, tmp_path)
    assert disk_needs(study, tmp_path, anew={name})[name].checkpoints == steps


@pytest.mark.parametrize("file", [None, "studies/scenes-small.yaml", "studies/photographs-small.yaml"])
def test_memory_is_that_of_the_largest_training(file: str | None, tmp_path: Path) -> None:
    settings = () if file else SMALL
    study = load_study(Path(__file__).parents[2] / file if file else None, settings)
    (need,) = memory_need(study, tmp_path).values()
    assert PROCESS < need < 5e9
    twice = load_study(Path(__file__).parents[2] / file if file else None, (*settings, "training.batch_size=256"))
    assert max(memory_need(twice, tmp_path).values()) > need
    assert 2**26 < memory_free() < 2**45


def test_fewer_cells_at_once_where_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(None, SMALL)
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    need = memory_need(study, tmp_path)["cpu"]
    for free, jobs in ((100.0, 4), (2.5, 2), (0.3, 1)):
        monkeypatch.setattr("groundscope.study.memory.memory_free", lambda free=free: int(free * need))
        assert jobs_here(study, tmp_path) == jobs


CPU_EACH = ("models.transformer-4.training.device=cpu", "models.lstm-4.training.device=cpu")


@pytest.mark.parametrize(
    ("settings", "jobs"),
    [((), 1), (("training.device=cpu",), 4), (CPU_EACH, 4), (CPU_EACH[:1], 1)],
)
def test_one_cell_at_once_where_an_accelerator_is_used_and_not_where_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], jobs: int
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("groundscope.study.memory.memory_free", lambda: 2**50)
    assert jobs_here(load_study(None, (*SMALL, *settings)), tmp_path) == jobs


def test_the_memory_that_is_counted_is_that_of_the_device_which_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (123 * 10**9, 139 * 10**9))
    lines = plan_run(load_study(None, SMALL), tmp_path, lambda run, page: page, Selection(), lambda: 1)
    (memory,) = (line for line in lines if line.startswith("Memory"))
    assert memory.startswith("Memory of the GPU: about ")
    assert memory.endswith(" for the largest training; 123 GB free.")
    monkeypatch.setattr("groundscope.study.run.memory_free", lambda device: {"cpu": 7 * 10**9, "cuda": 10**11}[device])
    apart = load_study(None, (*SMALL, *CPU_EACH[:1]))
    lines = plan_run(apart, tmp_path, lambda run, page: page, Selection(), lambda: 1)
    assert [line.split(":")[0] for line in lines if line.startswith("Memory")] == ["Memory", "Memory of the GPU"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RayOptions]:
    """What is asked of a cluster."""
    asked: list[RayOptions] = []

    def executor(options: RayOptions, environment: dict[str, str], quiet: bool) -> InThisProcess:
        asked.append(options)
        return InThisProcess(Progress(quiet=quiet))

    monkeypatch.setattr("groundscope.study.ray_engine.OnRay", executor)
    return asked


@pytest.mark.parametrize(("settings", "gpus"), [((), None), (CPU_EACH, 0.0), (CPU_EACH[:1], None)])
def test_a_study_that_leaves_gpus_alone_asks_a_cluster_for_none(
    asked: list[RayOptions], settings: tuple[str, ...], gpus: float | None
) -> None:
    on_ray(load_study(None, (*SMALL, *settings)), "auto", 1, None, quiet=True)()
    assert asked[0].gpus == gpus


@pytest.mark.parametrize(("file", "light"), [(None, True), ("studies/scenes-small.yaml", False)])
def test_a_corpus_of_pictures_asks_a_cluster_for_a_gpu(asked: list[RayOptions], file: str | None, light: bool) -> None:
    """Its encoders see tens of thousands of pictures; a corpus of text is read on one core."""
    on_ray(load_study(Path(__file__).parents[2] / file if file else None), "auto", 1, None, quiet=True)()
    assert ("corpus" in asked[0].light) is light
    assert "statistics" in asked[0].light


def test_trainings_without_cooccurrence_are_counted(tmp_path: Path) -> None:
    settings = (
        *SMALL,
        "training.checkpoints=[0, 10]",
        "training.steps=20",
        "ablation.at=final",
        "ablation.remove=[0, 50]",
    )
    study = load_study(None, settings)
    trainings = {cell.name for cell in plan(study, tmp_path, lambda run, page: page) if "train/" in cell.name}
    needs = disk_needs(study, tmp_path)
    assert set(needs) == trainings
    assert sorted({need.checkpoints for need in needs.values()}) == [1, 3]


@pytest.mark.parametrize("name", ["scenes-small", "photographs-small"])
def test_trainings_with_each_encoder_are_counted(name: str, tmp_path: Path) -> None:
    study = load_study(Path(__file__).parents[2] / f"studies/{name}.yaml")
    needs = disk_needs(study, tmp_path)
    assert set(needs) == {f"train/vlm.{encoder}/seed-{seed}" for encoder in ("dino", "random") for seed in study.seeds}
    settings = study.models["vlm"]
    assert needs["train/vlm.dino/seed-42"].checkpoints == 10
    (tmp_path / "corpus").mkdir()
    vocabulary = Vocabulary.from_counts(documents=1, speakers={}, words={("dog", Channel.ENV): 1})
    vocabulary.save(tmp_path / "corpus/vocabulary.json")
    parameters = count_parameters(model_config(settings, len(vocabulary), getattr(study.corpus, "length", 0)))
    assert disk_needs(study, tmp_path)["train/vlm.dino/seed-42"].checkpoint_bytes == 4 * parameters


def entered(run: Path, **seconds: float) -> None:
    for name, spent in seconds.items():
        cell = name.replace("__", "/")
        (run / cell).mkdir(parents=True, exist_ok=True)
        Record("code", "settings", {}, finished=spent > 0, seconds=spent).save(run, cell)


def test_time_is_judged_by_the_nearest_of_kin(tmp_path: Path) -> None:
    entered(tmp_path / "a", train__x__1=10.0, train__x__2=20.0, train__y__1=100.0)
    entered(tmp_path / "b", train__x__1=7.0, words=1.0, behaviour__x__1=0.0)
    experience = Experience(tmp_path / "a")
    assert [spent.seconds for spent in experience.of("train/x/3")] == [10.0, 20.0]
    assert [spent.seconds for spent in experience.of("train/z/1")] == [10.0, 20.0, 100.0]
    assert [spent.seconds for spent in experience.of("words")] == [1.0]
    estimate = experience.estimate({name: {} for name in ("train/x/3", "train/x/4", "words", "behaviour/x/1")})
    assert estimate == (31.0, 3, ("behaviour/x/1",))


def test_the_time_of_a_training_grows_with_its_steps_and_its_batch(tmp_path: Path) -> None:
    def settings(steps: int, batch: int) -> dict[str, dict[str, int]]:
        return {"training": {"steps": steps, "batch_size": batch}}

    (tmp_path / "a/train/x/seed-1").mkdir(parents=True)
    done = Record("code", "settings", {}, finished=True, seconds=12.0, settings_in_full=settings(100, 16))
    done.save(tmp_path / "a", "train/x/seed-1")
    experience = Experience(tmp_path / "b")
    assert experience.estimate({"train/x/seed-1": settings(3000, 16)}).seconds == pytest.approx(360)
    assert experience.estimate({"train/y/seed-2": settings(100, 64)}).seconds == pytest.approx(48)
    study = load_study(None, [*SMALL, "training.steps=5000"])
    training = next(cell for cell in plan(study, tmp_path, lambda run, page: page) if cell.kind == "train")
    sequences = study.training.steps * study.training.batch_size
    told = experience.estimate({training.name: training.settings}).seconds
    assert told == pytest.approx(12 * sequences / 1600)


def test_a_dry_run_says_first_that_nothing_of_a_kind_was_timed_yet(tmp_path: Path) -> None:
    study = load_study(None, SMALL)

    def told() -> str:
        return list(plan_run(study, tmp_path / "new", lambda run, page: page, Selection(only=("train",)), lambda: 1))[
            -1
        ]

    assert told() == "Time: not known yet (no earlier cells of these kinds here)."
    entered(tmp_path / "old", corpus=2.0, words=1.0)
    known = "about 3 s, one cell after the other, judged by 2 earlier cells."
    assert told() == f"Time: not known yet (no earlier train here); the other 2: {known}"
    entered(tmp_path / "old", train__x__1=60.0)
    assert told().startswith("Time: about 2 min 03 s, one cell after the other")


def test_ls_says_how_much_of_the_plan_is_done(tmp_path: Path) -> None:
    entered(tmp_path / "a", corpus=1.0, words=2.0, train__x__1=0.0, old=3.0)
    assert "3 of 4 cells done, 1 begun" in next(iter(list_runs(tmp_path)))
    write_json(tmp_path / "a/plan.json", {"cells": ["corpus", "words", "train/x/1", "tables", "report"]})
    assert "2 of 5 cells done, 1 begun  no page yet" in next(iter(list_runs(tmp_path)))
    assert cells_left(tmp_path / "a") == ["tables", "train/x/1"]
    assert cells_left(tmp_path) == []


def test_tables_are_joined_by_rising_step_whatever_came_first(tmp_path: Path) -> None:
    row = {"tokens_seen": 1, "loss_nats": 1.0, "learning_rate": 0.1, "gradient_norm": 1.0}
    upstream = {}
    for arch, seed, step in (("m", 42, 9), ("m", 42, 0), ("m", 7, 9), ("m", 7, 0), ("a", 42, 9), ("a", 42, 0)):
        name = f"mechanism/{arch}/seed-{seed}/step-{step:08d}"
        frame = LOSS.frame([{"arch": arch, "seed": seed, "step": step, **row}])
        write_table(tmp_path / name / "loss.parquet", frame, LOSS)
        upstream[name] = {"": "done"}
    table = joined(tmp_path, upstream, "mechanism/", LOSS)
    found = list(table.select("arch", "seed", "step").iter_rows())
    assert found == [("m", 42, 0), ("m", 42, 9), ("m", 7, 0), ("m", 7, 9), ("a", 42, 0), ("a", 42, 9)]
