"""A run moves between machines: it holds what its study names, tells nobody's home, and a move makes nothing stale."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from groundscope.cli import main
from groundscope.files import read_json, sha256_json
from groundscope.report.page import write_page
from groundscope.study.cell import Record
from groundscope.study.config import Study
from groundscope.study.freshness import reasons_to_run
from groundscope.study.load import load_study
from groundscope.study.paths import kept, located, same_place
from groundscope.study.plan import plan
from groundscope.study.portable import portable

STUDY = """
name: small
corpus: {source: toyworld, world: {documents: 120, nouns: 12}, chunks: {length: 64}}
models: {t: {preset: transformer-4, d_model: 16, n_heads: 2, n_layers: 1}}
seeds: [1]
training: {steps: 2, warmup_steps: 1, batch_size: 4, checkpoints: [0], precision: fp32, device: cpu}
behaviour: {minimum: 5, controls: [], contexts: ../lists/mine.yaml, acquisition: ../lists/ages.csv}
statistics: {resamples: 100}
mechanism: null
lens: null
"""
CONTEXTS = """
- {name: look, speaker: CHI, env: looks at the _, lan: look at the}
- {name: give, speaker: MOT, env: gives the _ to her, lan: here is your}
"""


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as done:
        main(list(arguments))
    assert not done.value.code


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in somebody's home: a study, the files that it names, and its run."""
    home = tmp_path_factory.mktemp("home") / "jane-doe"
    folder = home / "project"
    for name, text in (("studies/small.yaml", STUDY), ("lists/mine.yaml", CONTEXTS)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "lists/ages.csv").write_text("definition,aoa_months_50pct\nball,16.5\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(home))
        command("run", str(folder / "studies/small.yaml"), "--quiet", "--out", str(folder / "runs/small"))
    return folder


@pytest.fixture
def moved(project: Path, tmp_path: Path) -> Path:
    """The project on another machine."""
    return Path(shutil.copytree(project, tmp_path / "elsewhere"))


def stale(study: Study, run: Path) -> list[str]:
    reasons = reasons_to_run(plan(study, run, write_page), run)
    return [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def test_what_a_run_keeps_tells_no_home(project: Path) -> None:
    run = project / "runs/small"
    told = [run / name for name in ("study.yaml", "resolved.json", "provenance.json", "report/index.html")]
    for file in (*told, *(run / "catalogue").rglob("*.json")):
        assert "jane-doe" not in file.read_text(), file


def test_its_study_stands_with_the_files_that_it_names(project: Path, tmp_path: Path) -> None:
    run = project / "runs/small"
    assert (run / "given/contexts.yaml").read_text() == CONTEXTS
    alone = Path(shutil.copytree(run, tmp_path / "alone"))
    study = load_study(alone / "study.yaml")
    assert study.behaviour.contexts == alone / "given/contexts.yaml"
    assert stale(study, alone) == []
    command("run", str(alone / "study.yaml"), "--quiet", "--out", str(alone))
    assert (alone / "given/contexts.yaml").read_text() == CONTEXTS


def test_nothing_is_stale_by_a_move_and_what_changes_is(moved: Path) -> None:
    run, file = moved / "runs/small", moved / "studies/small.yaml"
    assert stale(load_study(file), run) == []
    (moved / "lists/mine.yaml").write_text(CONTEXTS.replace("looks at", "sees"))
    assert "words: upstream changed: contexts" in stale(load_study(file), run)


def test_a_record_that_holds_where_a_file_lay_is_fresh_all_the_same(moved: Path) -> None:
    """Earlier versions wrote absolute paths into records."""
    run, study = moved / "runs/small", load_study(moved / "studies/small.yaml")
    record = Record.load(run, "words")
    assert record
    settings = {**record.settings_in_full, "contexts": "/home/jane-doe/project/studies/../lists/mine.yaml"}

    def rewritten(settings: dict) -> list[str]:
        replace(record, settings=sha256_json(settings), settings_in_full=settings).save(run, "words")
        return stale(study, run)

    assert rewritten(settings) == []
    assert rewritten({**settings, "contexts": None})[0] == "words: settings changed: contexts"
    assert rewritten({**settings, "minimum": 6})[0] == "words: settings changed: contexts, minimum"


@pytest.mark.parametrize(
    ("path", "run", "expected"),
    [
        ("/home/me/work/studies/../data/talk.zip", "/home/me/work/runs/a", "../../data/talk.zip"),
        ("/home/me/data/talk.zip", "/home/me/work/runs/a", "${HOME}/data/talk.zip"),
        ("/home/me/data/talk.zip", "/scratch/runs/a", "${HOME}/data/talk.zip"),
        ("/scratch/talk.zip", "/scratch/runs/a", "../../talk.zip"),
        ("/data/talk.zip", "/home/me/runs/a", "/data/talk.zip"),
        ("${TALK}/talk.zip", "/home/me/runs/a", "${TALK}/talk.zip"),
    ],
)
def test_paths_are_kept_relative_or_from_home(
    path: str, run: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert kept(Path(path), Path(run)) == Path(expected)


def test_places_are_the_same_however_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert same_place("/home/me/vit", "${HOME}/vit")
    assert same_place("/anywhere/mine.yaml", "given/contexts.yaml")
    assert not same_place("/anywhere/mine.json", "given/contexts.yaml")
    assert not same_place("/home/me/vit", "${HOME}/other")
    assert not same_place("${UNSET_HERE}/vit", "/home/me/vit")
    assert not same_place("", ".")


def written(folder: Path, corpus: dict) -> Path:
    tree = {"name": "small", "corpus": corpus, "models": {"t": {"preset": "transformer-4"}}}
    (folder / "studies").mkdir(exist_ok=True)
    (folder / "studies/a.yaml").write_text(yaml.safe_dump(tree))
    return folder / "studies/a.yaml"


ENCODERS = {"hub": {"name": "facebook/dinov2-base"}, "vit": {"name": "/home/me/vit"}}
PHOTOGRAPHS = {"images": ["../i.zip"], "boxes": ["../b.json"], "captions": ["${TALK}/c.json"]}
Places = Callable[[dict], list]


@pytest.mark.parametrize(
    ("corpus", "places", "expected"),
    [
        ({"source": "chat", "paths": ["../a.zip"]}, lambda it: it["paths"], ["../../a.zip"]),
        ({"source": "jsonl", "paths": ["a.jsonl"]}, lambda it: it["paths"], ["../../studies/a.jsonl"]),
        (
            {"source": "visdial", "paths": ["../a.json"], "captions": ["../c.json"]},
            lambda it: it["paths"] + it["captions"],
            ["../../a.json", "../../c.json"],
        ),
        ({"source": "built", "path": "../c"}, lambda it: [it["path"]], ["../../c"]),
        ({"source": "toyworld"}, lambda it: [], []),
        (
            {"source": "scenes", "encoders": ENCODERS, "cache": "../cache", "scenes": {"sprites": "../emoji"}},
            lambda it: [it["cache"], it["scenes"]["sprites"], *(one["name"] for one in it["encoders"].values())],
            ["../../cache", "../../emoji", "facebook/dinov2-base", "${HOME}/vit"],
        ),
        (
            {
                "source": "photographs",
                "encoders": ENCODERS,
                "photographs": PHOTOGRAPHS,
                "tests": {"repaint": {"inpaint": "/home/me/painter"}},
            },
            lambda it: [
                *it["photographs"]["images"],
                *it["photographs"]["captions"],
                it["tests"]["repaint"]["inpaint"],
            ],
            ["../../i.zip", "${TALK}/c.json", "${HOME}/painter"],
        ),
    ],
    ids=lambda value: value["source"] if isinstance(value, dict) else "",
)
def test_a_kept_study_names_the_same_files(
    corpus: dict, places: Places, expected: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    run = tmp_path / "runs/a"
    run.mkdir(parents=True)
    study = load_study(written(tmp_path, corpus))
    resolved = portable(study, run)
    assert places(resolved["corpus"]) == expected
    (run / "study.yaml").write_text(yaml.safe_dump(resolved))
    again = load_study(run / "study.yaml")
    monkeypatch.setenv("TALK", "/talk")

    def files(one: Study) -> list[Path]:
        found: list[Path] = []
        one.moved(lambda path: found.append(located(path).resolve()) or path)
        return found

    assert files(again) == files(study)


def test_a_cell_of_pictures_is_fresh_when_home_is_written_as_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    settings = [{"encoders": {"vit": {"name": name, "canvas": 28}}} for name in ("/home/me/vit", "${HOME}/vit")]
    before, now = (Record("code", sha256_json(one), {}, settings_in_full=one) for one in settings)
    assert now.why_stale(before) is None
    assert before.why_stale(now) is None
    other = {"encoders": {"vit": {"name": "/home/me/vit", "canvas": 56}}}
    changed = Record("code", sha256_json(other), {}, settings_in_full=other)
    assert changed.why_stale(now) == "settings changed: encoders.vit.canvas, encoders.vit.name"


def test_the_run_that_was_moved_says_so_in_its_page(project: Path) -> None:
    resolved = read_json(project / "runs/small/resolved.json")
    assert resolved["behaviour"]["contexts"] == "given/contexts.yaml"
    assert resolved["behaviour"]["acquisition"] == "given/acquisition.csv"
    assert "given/contexts.yaml" in (project / "runs/small/report/index.html").read_text()
