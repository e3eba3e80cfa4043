"""The paper's study files: settings, what a scale replaces, what is reused, what it costs."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from groundscope.errors import StudyError
from groundscope.files import write_json
from groundscope.report.page import write_page
from groundscope.reproduction.cost import AUTHORS_VOCABULARY, cost, trainings
from groundscope.reproduction.experiments import (
    at_scale,
    experiment,
    experiments,
    run_folder,
    scale_overrides,
    scales,
)
from groundscope.reproduction.listing import lines, listed, status
from groundscope.reproduction.published import paper
from groundscope.reproduction.rate import REFERENCE
from groundscope.study.cell import Record
from groundscope.study.cells import train
from groundscope.study.config import ChatSource, ScenesSource, ToyWorldSource
from groundscope.study.disk import CorpusSize
from groundscope.study.load import load_study
from groundscope.study.plan import plan
from groundscope.training.schedule import checkpoint_steps

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "studies" / "paper"
NAMES = tuple(paper().experiments)
OF_TEXT = [name for name in NAMES if name != "pictures"]


def test_every_experiment_has_a_study_of_its_name():
    assert sorted(NAMES) == sorted(experiments(STUDIES))
    assert scales(STUDIES) == ("paper", "small", "small-longer")
    assert sorted(NAMES) == sorted(at_scale(STUDIES, "paper")) == sorted(at_scale(STUDIES, "small"))


@pytest.mark.parametrize("name", OF_TEXT)
def test_studies_have_the_papers_settings(name: str):
    study = experiment(name, STUDIES).study()
    assert study.name == name
    assert study.seeds == (42, 142, 242, 342, 442)
    (model,) = study.models
    config = study.training_of(model)
    assert (config.steps, config.learning_rate, config.warmup_steps, config.clip) == (20_000, 5e-5, 1000, 1.0)
    assert config.schedule == "linear"
    assert len(checkpoint_steps(config.checkpoints, config.steps)) == 43
    assert (study.corpus.chunks.length, study.corpus.chunks.min_frequency) == (512, 1)  # type: ignore[union-attr]
    assert not isinstance(study.corpus, ChatSource) or not study.corpus.chat.fold_case


@pytest.mark.parametrize("name", OF_TEXT)
def test_a_scale_keeps_what_is_trained_and_makes_it_smaller(name: str):
    small = experiment(name, STUDIES).study("small", ["seeds=[7]"])
    assert small.name == name
    assert small.seeds == (7,)
    for model in small.models.values():
        assert model.overrides["d_model"] == 128
    assert max(small.training_of(model).steps for model in small.models) == 1000


def test_a_scale_may_be_like_another_and_have_fewer_experiments():
    assert at_scale(STUDIES, "small-longer") == ("transformer-12", "transformer-4", "mamba2-4", "lstm-4")
    small, longer = (experiment("transformer-12", STUDIES).study(scale) for scale in ("small", "small-longer"))
    assert longer.training.steps == 3 * small.training.steps
    assert longer.models == small.models
    assert longer.corpus == small.corpus
    assert experiment("lstm-4", STUDIES).study("small-longer").mechanism is None
    with pytest.raises(StudyError, match=r"does not say what 'captions' is.*it has transformer-12, transformer-4"):
        experiment("captions", STUDIES).study("small-longer")


def test_scales_that_cannot_be_read_are_named(tmp_path: Path):
    (tmp_path / "some.yaml").write_text((STUDIES / "lstm-4.yaml").read_text())
    written = tmp_path / "scales"
    written.mkdir()
    for name, text in {
        "bare": "all: {seeds: [1]}",
        "odd": "experiments: {some: 3}",
        "lost": "like: nothing\nexperiments: {some: {}}",
        "one": "like: other\nexperiments: {some: {}}",
        "other": "like: one\nexperiments: {some: {}}",
        "dated": "experiments: {some: {name: 2024-13-45}}",
    }.items():
        (written / f"{name}.yaml").write_text(text)
    for scale, said in {
        "bare": "should hold `all` and `experiments`",
        "odd": "should hold `all` and `experiments`",
        "lost": "no scale 'nothing'",
        "one": "scales one, other are like each other",
        "dated": "is not valid YAML",
    }.items():
        with pytest.raises(StudyError, match=said):
            experiment("some", tmp_path).study(scale)


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for scale in scales(STUDIES) for name in at_scale(STUDIES, scale) if name in OF_TEXT],
)
def test_what_an_experiment_asks_for_can_be_planned(name: str, scale: str, tmp_path: Path):
    study = experiment(name, STUDIES).study(scale)
    without_data = study.model_copy(update={"corpus": ToyWorldSource(source="toyworld")})
    cells = plan(without_data, tmp_path, write_page)  # raises for a checkpoint that is asked for and not kept
    assert {"corpus", "train", "behaviour", "statistics"} <= {cell.kind for cell in cells}


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("transformer-4", "childes-architectures"),
        ("lstm-4", "childes-architectures"),
        ("ablation", "childes-architectures"),
        ("captions", "visdial-captions"),
    ],
)
def test_small_trainings_are_those_of_other_studies(name: str, like: str, tmp_path: Path):
    small, other = experiment(name, STUDIES).study("small"), load_study(ROOT / "studies" / f"{like}.yaml")
    corpora = [study.corpus.model_dump(mode="json", exclude={"paths", "captions"}) for study in (small, other)]
    assert corpora[0] == corpora[1]
    known = {cell.name: Record.of(cell, {}) for cell in train.cells(other, tmp_path)}
    mine = {cell.name: Record.of(cell, {}) for cell in train.cells(small, tmp_path)}
    assert mine.items() <= known.items()


def test_the_study_of_pictures_has_the_control(tmp_path: Path):
    study = experiment("pictures", STUDIES).study()
    assert isinstance(study.corpus, ScenesSource)
    assert [encoder.random_weights for encoder in study.corpus.encoders.values()] == [False, True]
    assert {encoder.name for encoder in study.corpus.encoders.values()} == {"facebook/dinov2-base"}
    config = study.training_of("vlm-12")
    assert (config.steps, config.learning_rate) == (300_000, 5e-5)
    assert cost(study, tmp_path).trainings == 5 * 2
    small = experiment("pictures", STUDIES).study("small")
    assert isinstance(small.corpus, ScenesSource)
    assert [encoder.random_weights for encoder in small.corpus.encoders.values()] == [False, True]


def test_what_cannot_be_is_named():
    with pytest.raises(StudyError, match="Did you mean 'mamba2-12'"):
        experiment("mamba-12", STUDIES)
    with pytest.raises(StudyError, match=r"no scale 'smal'.*Did you mean 'small'"):
        experiment("lstm-4", STUDIES).study("smal")
    with pytest.raises(StudyError, match="does not say what 'unheard' is"):
        scale_overrides(STUDIES, "small", "unheard")
    with pytest.raises(StudyError, match="no study files"):
        experiments(ROOT / "src")


def test_costs_are_those_of_the_papers_model(tmp_path: Path):
    study = experiment("transformer-12", STUDIES).study()
    first = next(trainings(study, tmp_path, CorpusSize(AUTHORS_VOCABULARY, 512, False)))
    assert first.parameters == pytest.approx(154.2e6, rel=0.001)  # as the authors count
    assert first.flops == pytest.approx(1.5e17, rel=0.15)
    assert first.checkpoints == 43
    whole = cost(study, tmp_path)
    assert whole.vocabulary == AUTHORS_VOCABULARY
    assert whole.flops == pytest.approx(5 * first.flops)
    assert whole.disk_bytes > 5 * 43 * 4 * first.parameters
    ablated = cost(experiment("ablation", STUDIES).study(), tmp_path)
    assert ablated.trainings == 5 * (1 + 2 * 5)


def test_the_list_tells_where_a_training_goes_on_and_what_was_asked_for_instead(
    tmp_path: Path, planted, monkeypatch: pytest.MonkeyPatch
):
    study = experiment("transformer-12", STUDIES).study()
    short = planted(tmp_path / "short")
    assert status(short, study) == "tables without trainings (1,000 steps in place of 20,000)"
    one_seed = study.model_dump(mode="json") | {"seeds": [42]}
    write_json(short / "resolved.json", one_seed)
    assert status(short, study) == "tables without trainings (1 of 5 seeds)"
    run, name = tmp_path / "run", "train/transformer-12/seed-42"
    for step in (9_000, 9_500):
        (run / name / "state" / f"step-{step:08d}").mkdir(parents=True)
    Record("code", "settings", {}).save(run, name)
    card = SimpleNamespace(training=SimpleNamespace(steps=20_000))
    monkeypatch.setattr("groundscope.reproduction.listing.read_run", lambda _: card)
    assert status(run, study) == "0 of 1 cells done, 1 begun (seed-42 goes on from step 9,500 of 20,000)"


def test_the_list_names_cost_and_status(tmp_path: Path, planted):
    planted(run_folder(tmp_path, "small", "transformer-12"))
    rows = listed(paper(), STUDIES, tmp_path, "small")
    by_name = {row.name: row for row in rows}
    assert by_name["transformer-12"].status == "tables without trainings"
    assert by_name["lstm-4"].status == "not run"
    assert by_name["pictures"].cost
    text = "\n".join(lines(rows, "small", ("paper", "small", "wide"), REFERENCE))
    assert "at 75 GFLOP/s, as the trainings of results/childes-architectures did" in text
    assert all(name in text for name in paper().experiments)
    assert text.endswith("Other sizes have lists of their own: --scale paper, --scale wide.")
