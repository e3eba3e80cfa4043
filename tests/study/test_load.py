"""Study files: what is accepted, what is refused, and in which words."""

from pathlib import Path

import pytest
import yaml

from groundscope.errors import StudyError
from groundscope.study.config import ScenesSource
from groundscope.study.load import load_study
from groundscope.study.paths import located
from groundscope.training.config import Every

FOLDER = Path(__file__).parents[2] / "studies"
NO_STUDIES = {FOLDER / "visdial-contexts.yaml", *FOLDER.glob("paper/scales/*.yaml")}  # what studies read
STUDIES = sorted(set(FOLDER.glob("**/*.yaml")) - NO_STUDIES)

PICTURES = {"corpus": {"source": "scenes", "encoders": {"vit": {"name": "vit"}}}}
PHOTOGRAPHS = {
    "source": "photographs",
    "photographs": {"images": ["a"], "boxes": ["b.json"], "captions": ["c.json"]},
    "encoders": {"vit": {"name": "vit"}},
}
STRICT = "corpus.criterion.threshold=0.9"


def written(folder: Path, **changes) -> Path:
    tree = {"name": "small", "corpus": {"source": "toyworld"}, "models": {"t": {"preset": "transformer-4"}}, **changes}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDSCOPE_DATA", "/data")
    assert load_study(path).name


def test_without_a_file_it_is_the_toy_world() -> None:
    study = load_study(None)
    assert study.corpus.source == "toyworld"
    assert len(study.seeds) == 3


def test_overrides_reach_every_depth(tmp_path: Path) -> None:
    study = load_study(
        written(tmp_path),
        ["training.steps=3000", "models.t.d_model=64", "seeds=[1, 2]", "corpus.chunks.length=64"],
    )
    assert study.training.steps == 3000
    assert study.models["t"].overrides == {"d_model": 64}
    assert study.seeds == (1, 2)
    assert study.corpus.model_dump()["chunks"]["length"] == 64


def test_a_model_may_train_otherwise(tmp_path: Path) -> None:
    models = {"t": {"preset": "transformer-4"}, "l": {"preset": "lstm-4", "training": {"learning_rate": 0.01}}}
    study = load_study(written(tmp_path, models=models))
    assert study.training_of("l").learning_rate == 0.01
    assert study.training_of("t") == study.training


def test_paths_are_relative_to_the_study_and_variables_stay_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(written(tmp_path, corpus={"source": "chat", "paths": ["a.zip", "${TALK}/b.zip"]}))
    paths = study.corpus.model_dump()["paths"]
    assert paths == (tmp_path / "a.zip", Path("${TALK}/b.zip"))
    with pytest.raises(StudyError, match="export TALK="):
        located(paths[1])
    monkeypatch.setenv("TALK", "/somewhere")
    assert located(paths[1]) == Path("/somewhere/b.zip")
    monkeypatch.setenv("TALK", "")
    with pytest.raises(StudyError, match="export TALK="):
        located(paths[1])


def test_a_home_is_known_as_shells_write_it_and_their_variables_are_not(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, corpus={"source": "chat", "paths": ["~/a.zip"]}))
    assert study.corpus.model_dump()["paths"] == (Path("${HOME}/a.zip"),)
    with pytest.raises(StudyError, match=r'as shells have it\. Write "\$\{TALK\}/b\.zip"\.$'):
        load_study(written(tmp_path, corpus={"source": "chat", "paths": ["$TALK/b.zip"]}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"trainig": {}}, "unknown key 'trainig'. Did you mean 'training'?"),
        ({"training": {"step": 5}}, "unknown key 'training.step'. Did you mean 'steps'?"),
        ({"corpus": {"source": "toyworld", "world": {"noize": 1}}}, "Did you mean 'noise'?"),
        (
            {"corpus": {"source": "jsnol"}},
            "corpus: its 'source' should be one of 'toyworld', 'chat', 'jsonl', 'visdial', 'scenes', 'photographs', "
            "'built' (given: 'jsnol'). Did you mean 'jsonl'?",
        ),
        ({"corpus": {}}, "corpus: give its 'source' (given: {})"),
        ({"corpus": 5}, "corpus: give its settings, as key: value (given: 5)"),
        ({"seeds": [True, False]}, "study: seeds takes a number, not yes or no"),
        ({"training": {"steps": True}}, "training: steps takes a number, not yes or no"),
        ({"statistics": {"resamples": False}}, "statistics: resamples takes a number, not yes or no"),
        ({"training": {"schedule": "linaer"}}, "(given: 'linaer'). Did you mean 'linear'?"),
        ({"ablation": {"arms": ["contol"]}}, "ablation.arms.0: input should be 'cooccurring', "),
        ({"ablation": {"arms": ["contol"]}}, "(given: 'contol'). Did you mean 'control'?"),
        ({"seeds": 42}, "seeds: write a list: [42]"),
        ({"behaviour": {"kinds": "noun"}}, "behaviour.kinds: write a list: [noun]"),
        ({"corpus": {"source": "jsonl", "paths": {"a": 1}}}, "corpus.paths: write a list (given: {'a': 1})"),
        ({"mechanism": False}, "mechanism: give its settings, as key: value, or null to leave it out (given: False)"),
        ({"models": {"t": {"preset": "transfomer-4"}}}, "Did you mean 'transformer-4'?"),
        ({"models": {"t": {"preset": "transformer-4", "d_modle": 8}}}, "Did you mean 'd_model'?"),
        ({"models": {"t": {"preset": "transformer-4", "d_model": -32}}}, "models.t: d_model should be a whole number"),
        ({"models": {"t": {"preset": "lstm-4", "d_model": "32"}}}, "It is text; write 32 without quotes."),
        (
            {"models": {"t": {"preset": "transformer-4", "norm_eps": "1e-5"}}},
            "It is text; write 1.0e-05 without quotes.",
        ),
        ({"models": {"t": {"preset": "transformer-4", "n_heads": 7}}}, "does not divide into n_heads=7"),
        ({"models": {"t": {"preset": "lstm-4", "vocab_size": 9}}}, "models.t: vocab_size is no setting"),
        ({"models": {}}, "models"),
        ({"models": {"../t": {"preset": "lstm-4"}}}, "names a folder"),
        ({"seeds": [1, 1]}, "seeds are listed twice"),
        ({"training": {"steps": -5}}, "training.steps: input should be greater than 0 (given: -5)"),
        (
            {"models": {"t": {"preset": "lstm-4", "training": {"stepz": 1}}}},
            "models.t.training: unknown key 'stepz'. Did",
        ),
        ({"models": {"..": {"preset": "lstm-4"}}}, "names a folder"),
        (
            {"corpus": {"source": "scenes", "encoders": {"../../evil": {"name": "vit"}}}},
            "encoders: '../../evil' names a",
        ),
        (
            {
                "corpus": {"source": "scenes", "encoders": {"b.c": {"name": "vit"}, "c": {"name": "vit"}}},
                "models": {"a": {"preset": "vlm-4"}, "a.b": {"preset": "vlm-4"}},
            },
            "two trainings would be called 'a.b.c'",
        ),
        ({"seeds": [-1]}, "seeds.0"),
        ({"statistics": {"seed": -1}}, "statistics.seed: input should be greater than or equal to 0"),
        ({"behaviour": {"seed": -1}}, "behaviour.seed: input"),
        ({"ablation": {"seed": -1}}, "ablation.seed: input"),
        ({"mechanism": {"causal": {"seed": -1}}}, "mechanism.causal.seed: input"),
        ({"mechanism": {"prompts": {"seed": -1}}}, "mechanism.prompts.seed: input"),
        ({"corpus": {"source": "toyworld", "world": {"seed": -1}}}, "corpus.world.seed: input"),
        ({"corpus": {**PICTURES["corpus"], "scenes": {"seed": -1}}}, "corpus.scenes.seed: input"),
        (
            {"corpus": {**PHOTOGRAPHS, "photographs": {**PHOTOGRAPHS["photographs"], "seed": -1}}},
            "corpus.photographs.seed: input",
        ),
        ({"lens": {"kinds": ["linear"], "linear": {"begin": "regression"}}}, "lens: linear.begin 'regression' gives a"),
        ({"behaviour": {"controls": ["shufled"]}}, "behaviour.controls.0: input should be 'one_vocabulary'"),
        ({"behaviour": {"controls": ["shufled"]}}, "(given: 'shufled'). Did you mean 'shuffled'?"),
        ({"behaviour": {"controls": ["shuffled"] * 2}}, "behaviour.controls: 'shuffled' is listed twice"),
        ({"behaviour": {"controls_at": [7]}}, "behaviour.controls_at names step 7, which is no checkpoint"),
        ({"mechanism": {"at": [7]}}, "mechanism.at names step 7, which is no checkpoint"),
        ({"lens": {"at": [7]}}, "lens.at names step 7, which is no checkpoint"),
        ({"ablation": {"models": ["u"]}}, "ablation.models: there is no model 'u'"),
        (
            {**PICTURES, "ablation": {}},
            "ablation: a study of pictures (corpus.source: scenes) has none",
        ),
        (
            {"corpus": {**PHOTOGRAPHS, "tests": {"pictures": 0}}},
            "corpus.tests.pictures: input should be greater than or equal to 1",
        ),
        (
            {"corpus": {**PHOTOGRAPHS, "tests": {"pictres": 2}}},
            "unknown key 'corpus.tests.pictres'. did you mean 'pictures'? known: alone, box,",
        ),
        ({"corpus": {**PHOTOGRAPHS, "photographs": {"images": "a"}}}, "corpus.photographs.images: write a list: [a]"),
        ({"corpus": {**PHOTOGRAPHS, "tests": {"repaint": "crap"}}}, "corpus.tests.repaint: give one of: crop: with"),
        ({**PICTURES, "behaviour": {"words": ["dog", "cat"]}}, "behaviour: a study of pictures"),
        ({**PICTURES, "mechanism": {"criterion": {"threshold": 0.9}}}, "mechanism.criterion: a study of pictures"),
        ({**PICTURES, "mechanism": {"prompts": {"contexts": 2}}}, "mechanism.prompts: a study of pictures"),
        ({**PICTURES, "mechanism": {"text_chunks": 2}}, "mechanism.text_chunks: a study of pictures"),
        ({**PICTURES, "lens": {"prompts": {"contexts": 2}}}, "lens.prompts: a study of pictures"),
        ({"ablation": {"remove": [101]}}, "ablation.remove.0: input should be less than or equal to 100"),
        ({"seeds": [10**30]}, "seeds.0"),
        ({"behaviour": {"words": []}}, "behaviour.words: name at least two words"),
        ({"behaviour": {"words": ["dog", "dog"]}}, "behaviour.words: name at least two words"),
        ({"lens": 4}, "lens: give its settings, as key: value, or null to leave it out (given: 4)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, changes: dict, complaint: str) -> None:
    with pytest.raises(StudyError) as error:
        load_study(written(tmp_path, **changes))
    assert complaint.lower() in str(error.value).lower()
    assert "\n" not in str(error.value)


def test_a_threshold_of_boxes_leaves_the_rest_of_their_criterion(tmp_path: Path) -> None:
    corpora = [load_study(written(tmp_path, **PICTURES), more).corpus for more in ((), (STRICT,))]
    plain, strict = (corpus.criterion for corpus in corpora if isinstance(corpus, ScenesSource))
    assert (plain.threshold, plain.sweep, plain.relative_to) == (0.7, (0.5, 0.7, 0.9), "scene")
    assert strict == plain.model_copy(update={"threshold": 0.9})


@pytest.mark.parametrize(
    ("section", "key", "given", "forms"),
    [
        ("training", "checkpoints", {"every": 3, "log": 4}, "{every: n}, {log: n} or a list of steps"),
        ("training", "checkpoints", {"evry": 3}, "{every: n}, {log: n} or a list of steps"),
        ("training", "checkpoints", [1, -3], "{every: n}, {log: n} or a list of steps"),
        ("training", "checkpoints", "banana", "paper (0, 150, 300, then every 500)"),
        ("training", "state_every", "0s", "steps (500) or seconds (120s)"),
        ("behaviour", "words", "all", "paper: the hundred nouns"),
        ("behaviour", "controls_at", "some", "final, or a list of steps"),
    ],
)
def test_a_setting_of_several_forms_is_one_complaint(
    tmp_path: Path, section: str, key: str, given: object, forms: str
) -> None:
    path = written(tmp_path, **{section: {key: given}})
    with pytest.raises(StudyError) as error:
        load_study(path)
    message = str(error.value)
    assert message.startswith(f"{path}: {section}.{key}: give one of: ")
    assert forms in message
    assert message.endswith(f" (given: {given!r})")
    assert message.count(f"{section}.{key}") == 1
    assert not any(name in message for name in ("constrained", "literal", "tuple", "Every", "Log", "Did you mean"))


def test_a_complaint_about_forms_hides_no_other(tmp_path: Path) -> None:
    path = written(tmp_path, training={"checkpoints": "banana", "steps": -5}, trainig={})
    with pytest.raises(StudyError) as error:
        load_study(path)
    assert all(key in str(error.value) for key in ("training.checkpoints: give", "training.steps: input", "'trainig'"))


def test_a_key_below_a_value_is_told_how_to_replace_it() -> None:
    with pytest.raises(StudyError, match="holds a value, not a section") as refused:
        load_study(None, ["training.checkpoints.every=50"])
    assert str(refused.value).endswith("To replace it: --set 'training.checkpoints={every: 50}'")
    assert load_study(None, ["training.checkpoints={every: 50}"]).training.checkpoints == Every(every=50)


def test_files_that_are_not_studies(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(StudyError, match=r"Did you mean 'study\.yaml'"):
        load_study(tmp_path / "studi.yaml")
    path.write_text("a: [1,")
    with pytest.raises(StudyError, match="not valid YAML at line"):
        load_study(path)
    path.write_text("- a list")
    with pytest.raises(StudyError, match="holds list"):
        load_study(path)
    path.write_text("# nothing yet")
    with pytest.raises(StudyError, match="is empty where a study's keys"):
        load_study(path)
    with pytest.raises(StudyError, match="is a folder"):
        load_study(tmp_path)
    path.write_bytes(b"name: caf\xe9")
    with pytest.raises(StudyError, match="not UTF-8"):
        load_study(path)
    with pytest.raises(StudyError, match="not valid YAML"):
        load_study(None, ["name=2021-99-99"])
    with pytest.raises(StudyError, match="wants key=value"):
        load_study(None, ["training.steps"])
    with pytest.raises(StudyError, match="holds a value"):
        load_study(None, ["name.first=x"])


def test_a_key_that_stands_twice_is_refused_at_every_depth(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_text()
    path.write_text(f"{whole}training: {{steps: 5}}\nstatistics: {{}}\ntraining: {{warmup_steps: 1}}\n")
    line = whole.count("\n") + 1
    with pytest.raises(StudyError) as error:
        load_study(path)
    assert f"at line {line + 2}: the key 'training' stands at line {line} already; keep one" in str(error.value)
    path.write_text(f"{whole}training:\n  steps: 5\n  'steps': 6\n")
    with pytest.raises(StudyError, match="the key 'steps' stands"):
        load_study(path)
    with pytest.raises(StudyError, match="not valid YAML"):
        load_study(written(tmp_path), ["training={steps: 5, steps: 6}"])


def test_merge_keys_give_way_to_a_mappings_own(tmp_path: Path) -> None:
    path = written(tmp_path, models={})
    shared = "a: &a {preset: transformer-4, d_model: 64}"
    merged = "{<<: *b, d_model: 128}"
    path.write_text(
        f"name: n\ncorpus: {{source: toyworld}}\nmodels:\n  {shared}\n  b: &b {{<<: *a, d_model: 32}}\n  c: {merged}\n"
    )
    overrides = {name: model.overrides for name, model in load_study(path).models.items()}
    assert overrides == {"a": {"d_model": 64}, "b": {"d_model": 32}, "c": {"d_model": 128}}
