"""The command line from end to end, in process: a small study, what it leaves, and what goes wrong."""

import runpy
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from groundscope.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
OF_RUNS = {*EXAMPLES.glob("*.py")} - {EXAMPLES / "small_llava.py"}  # that one trains, and has a test of its own
SMALL = [
    "corpus.world.documents=300", "corpus.world.nouns=24", "corpus.chunks.length=64", "behaviour.minimum=20",
    "models={transformer-4: {preset: transformer-4, d_model: 32, n_heads: 2}, lstm-4: {preset: lstm-4, d_model: 32}}",
    "training.steps=20", "training.warmup_steps=5", "training.batch_size=4", "training.checkpoints=[0, 10, 20]",
    "training.precision=fp32", "statistics.resamples=200",
]  # fmt: skip

SHORT = ["--set", "models.transformer-4.n_positions=16", "--set", "behaviour.minimum=20"]


def groundscope(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(arguments))
    return int(done.value.code or 0)


def run(out: Path, *settings: str) -> int:
    options = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    return groundscope("run", "--quiet", "--out", str(out), *options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    assert run(out, "seeds=[1, 2]") == 0
    return out


def test_a_study_leaves_tables_and_a_page(finished: Path) -> None:
    gain = pl.read_parquet(finished / "tables/gain.parquet")
    evidence = pl.read_parquet(finished / "tables/evidence.parquet")
    assert set(gain["arch"]) == {"transformer-4", "lstm-4"}
    assert set(gain["seed"]) == {1, 2}
    assert set(gain["step"]) == {0, 10, 20}
    assert evidence.height == 2 * 2 * 3 * gain["direction"].n_unique()
    means = gain.group_by("arch", "seed", "step", "direction").agg(pl.col("gain_nats").mean())
    joined = evidence.join(means, on=["arch", "seed", "step", "direction"], suffix="_again")
    assert joined.select((pl.col("gain_nats") - pl.col("gain_nats_again")).abs().max()).item() < 1e-9
    page = (finished / "report/index.html").read_text(encoding="utf-8")
    assert "transformer-4" in page
    for name in ("study.yaml", "resolved.json", "provenance.json", "corpus/card.json"):
        assert (finished / name).is_file()


def test_the_same_study_gives_the_same_tables_and_another_seed_others(finished: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "again", "seeds=[1, 3]") == 0
    for table in ("gain", "surprisal", "evidence", "loss"):
        first = pl.read_parquet(finished / f"tables/{table}.parquet")
        second = pl.read_parquet(tmp_path / f"again/tables/{table}.parquet")
        assert_frame_equal(first.filter(seed=1), second.filter(seed=1), check_exact=True)
        other, another = first.filter(seed=2), second.filter(seed=3)
        assert not other.drop("seed").equals(another.drop("seed"))


def test_tables_hold_the_study_and_nothing_of_an_earlier_one(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    changed = ["seeds=[1]", "training.checkpoints=[0, 15]", "description=SHORTER"]
    assert run(tmp_path / "copy", *changed) == 0
    gain = pl.read_parquet(tmp_path / "copy/tables/gain.parquet")
    assert set(gain["step"]) == {0, 15, 20}
    assert set(gain["seed"]) == {1}
    assert "SHORTER" in (tmp_path / "copy/report/index.html").read_text(encoding="utf-8")
    assert list((tmp_path / "copy/.superseded/train").rglob("model.safetensors"))


def test_nothing_is_done_twice(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "tables").glob("*.parquet")}
    assert run(finished, "seeds=[1, 2]") == 0
    assert before == {path: path.stat().st_mtime_ns for path in (finished / "tables").glob("*.parquet")}
    options = [part for setting in (*SMALL, "seeds=[1, 2]", "statistics.seed=9") for part in ("--set", setting)]
    assert groundscope("run", "--dry-run", "--out", str(finished), *options) == 0
    told = capsys.readouterr().out
    assert "statistics/behaviour: settings changed" in told
    stale = {line.split(":")[0] for line in told.splitlines() if "changed" in line or "upstream" in line}
    assert {"statistics/generality", "tables", "report"} <= stale
    assert all(name.startswith(("statistics/", "tables", "report")) for name in stale), "nothing is measured again"


def test_ls_and_report(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert groundscope("ls", str(finished.parent)) == 0
    assert "small" in capsys.readouterr().out
    assert groundscope("report", str(finished)) == 0
    assert groundscope("corpus", "show", str(finished / "corpus")) == 0
    assert "vocabulary" in capsys.readouterr().out


@pytest.mark.parametrize("script", sorted(OF_RUNS), ids=lambda path: path.stem)
def test_the_examples_run(
    script: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path)] if script.stem == "read_a_run" else ["--seed", "1"]
    monkeypatch.setattr(sys, "argv", [str(script), str(finished), *options])
    runpy.run_path(str(script), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_figures_tables_and_comparisons(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert groundscope("figures", str(finished), "--format", "svg,png", "--out", str(tmp_path / "f")) == 0
    assert (tmp_path / "f/gain.svg").is_file()
    assert (tmp_path / "f/gain.png").is_file()
    assert groundscope("table", str(finished)) == 0
    assert "evidence" in capsys.readouterr().out
    assert groundscope("table", str(finished), "evidence", "--format", "csv", "--where", "arch=lstm-4") == 0
    assert capsys.readouterr().out.count("lstm-4") == 2 * 3 * 2
    shutil.copytree(finished, tmp_path / "other")
    assert groundscope("report", str(finished), str(tmp_path / "other"), "--out", str(tmp_path / "both.html")) == 0
    assert "What differs" in (tmp_path / "both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_readers_say_what_they_read_unless_they_are_to_be_quiet(
    quiet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = '{{"speaker": "MOT", "channel": "{}", "text": "the dog and the cat and the horse"}}'
    (tmp_path / "talk.jsonl").write_text("\n".join(map(line.format, ["ENV", "LAN"] * 5)))
    files = [str(tmp_path / "talk.jsonl"), "--out", str(tmp_path / "c")]
    assert groundscope("corpus", "jsonl", *files, "--length", "8", *quiet) == 0
    told = capsys.readouterr()
    assert "content hash" in told.out
    assert told.err == ("" if quiet else "reading documents: 1 in 0 s\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nowhere.yaml"], "There is no study file nowhere.yaml"),
        (["run", "--set", "trainig.steps=3"], "Did you mean 'training'?"),
        (["run", *SHORT], "'transformer-4' has 16 positions. Raise corpus.chunks.length"),
        (["run", "--set", "behaviour.minimum=100000"], "do. Highest smaller counts"),
        (["run", "--set", "behaviour.words=[unicorn, gryphon]"], "The word 'unicorn' was asked for"),
        (["run", "--only", "trian"], "Did you mean 'train'?"),
        (["run", "--gpus", "1"], "--address and --gpus are Ray's"),
        (["run", "--address", "auto"], "--address and --gpus are Ray's"),
        (["run", "--engine", "ray", "--jobs", "2"], "--jobs is of this machine"),
        (["reproduce", "--page", "p.html", "--scale", "small"], "a page has all scales"),
        (["validate", "nowhere.yaml"], "There is no study file"),
        (["ls", "nowhere"], "There are no runs"),
        (["report", "nowhere"], "There is no run"),
        (["figures", "nowhere"], "There is no run"),
        (["figures", "empty", "--format", "gif"], "--format is any of pdf, svg, png"),
        (["table", "empty", "gain"], "There is no run"),
        (["corpus", "chat", "nowhere", "--out", "c"], "nowhere"),
        (["corpus", "chat", "empty", "--out", "c"], "empty"),
        (["corpus", "jsonl", "nowhere", "--out", "c"], "nowhere"),
        (["corpus", "show", "nowhere"], "is not a corpus"),
        (["corpus", "chat", "empty", "--out", "c", "--keep", "some"], "keep"),
        (["corpus", "toyworld", "--out", "c", "--length", "2"], "length"),
        (
            ["corpus", "ablate", "nowhere", "--out", "c", "--remove", "half"],
            ": --remove: input should be a valid integer",
        ),
        (["corpus", "ablate", "nowhere", "--out", "c", "--remove", "9", "--kind", "nuon"], ": --kind: input should be"),
        (["corpus", "chat", "nowhere", "--out", "c", "--env", "a$"], ": --env: 'a$' is no name of a tier"),
        (["inspect", "--model", "m", "--prompt", "a", "--target", "b", "--device", "gpu"], "where cuda is a GPU"),
        (["detect", "--model", "m", "--images", "a", "--boxes", "b", "--device", "gpu"], "where cuda is a GPU"),
        (["rum"], "rum"),
        (["run", "--set", "name=2021-99-99"], "not valid YAML"),
        (["corpus", "toyworld", "--out", "file/c"], "file"),
        (["report", "empty"], "There is no run"),
    ],
)
def test_wrong_input_is_one_line_status_2_and_nothing_half_written(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    if arguments[0] == "run":
        small = ["corpus.world.documents=300", "corpus.world.nouns=24", "corpus.chunks.length=64"]
        arguments = [*arguments, "--quiet", "--out", "out", *(part for s in small for part in ("--set", s))]
    assert groundscope(*arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()} - {".lock"}
    assert not {name for name in left if name.endswith(".partial")}
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "out/train").exists()
    assert not (tmp_path / "out").exists() or (tmp_path / "out/corpus/card.json").is_file()
