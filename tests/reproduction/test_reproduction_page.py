"""The page and the command."""

import re
from pathlib import Path

import polars as pl
import pytest

from groundscope.cli import main
from groundscope.files import read_json, write_json
from groundscope.report.reproduction import _ours, write_reproduction
from groundscope.reproduction.comparison import Found
from groundscope.reproduction.experiments import run_folder
from groundscope.reproduction.listing import hours
from groundscope.reproduction.origin import FACTS, origin
from groundscope.reproduction.published import paper
from groundscope.reproduction.results import Measured
from groundscope.reproduction.verdicts import Verdict

STUDIES = Path(__file__).parents[2] / "studies" / "paper"


@pytest.fixture(scope="module")
def page(tmp_path_factory, planted) -> str:
    folder = tmp_path_factory.mktemp("reproduced")
    planted(run_folder(folder / "runs", "paper", "transformer-12"), times=20)
    pages = [write_reproduction(folder / f"{name}.html", folder / "runs", STUDIES) for name in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    return pages[0].read_text(encoding="utf-8")


def test_published_and_measured_stand_side_by_side(page: str):
    rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
    (effect,) = (row for row in rows if row.startswith("step 20,000 0.86"))
    assert "1.04" in effect or "1.05" in effect
    assert "] agrees in direction step 20,000" in effect
    assert effect.endswith("not run not run")
    assert any(row.startswith("layer 8 5.002") for row in rows)
    assert any(row.startswith("layer 12 4.766 (sd 0.133)") for row in rows)
    assert "step 20,000 4.2 to 4.5 not run not run" in rows  # and nothing at the scale that does not have it
    assert any(row.startswith("pictures 10 ") for row in rows)


def test_the_page_asks_for_nothing(page: str):
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == page.count("</svg>")


def test_the_command_lists_and_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with pytest.raises(SystemExit) as done:
        main(["reproduce", "--studies", str(STUDIES), "--runs", str(tmp_path), "--scale", "small"])
    assert not done.value.code
    assert "transformer-18" in capsys.readouterr().out
    for name, said in (("transformer", "Did you mean 'transformer-"), ("", "There is no experiment ''")):
        with pytest.raises(SystemExit) as refused:
            main(["reproduce", name, "--studies", str(STUDIES), "--runs", str(tmp_path)])
        assert refused.value.code == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_damaged_run_does_not_hide_the_others(tmp_path: Path, planted):
    planted(run_folder(tmp_path, "small", "transformer-12"))
    damaged = run_folder(tmp_path, "small", "lstm-4") / "tables"
    damaged.mkdir(parents=True)
    (damaged / "gain.parquet").write_bytes(b"PAR1 and no more")
    text = write_reproduction(tmp_path / "deep" / "er" / "page.html", tmp_path, STUDIES).read_text(encoding="utf-8")
    assert "lstm-4/tables/gain.parquet cannot be read as Parquet" in text
    assert "agrees in direction" in text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("resolved.json", "[1, 2]", "resolved.json should hold a JSON object"),
        ("resolved.json", '{"models": 3}', "resolved.json does not hold the settings of a study"),
        ("resolved.json", '{"models": {"transformer-12": {}}}', "resolved.json does not hold the settings of a study"),
        ("resolved.json", '{"corpus": {"source": "chat"}}', "resolved.json does not hold the settings of a study"),
        ("resolved.json", "[" * 100_000, "resolved.json should hold a JSON object"),
        ("resolved.json", '{"training": {"steps": 0}}', "resolved.json does not hold the settings of a study"),
        ("resolved.json", '{"training": {"steps": 1e999}}', "resolved.json does not hold the settings of a study"),
        ("corpus/card.json", "[]", "corpus/card.json should hold a JSON object"),
        ("corpus/card.json", '{"a": 1}', "agrees in direction"),
        ("corpus/card.json", '{"provenance": [1]}', "card.json does not say how a corpus was built"),
        ("corpus/card.json", '{"vocabulary_size": "some", "chunk_length": 0}', "agrees in direction"),
        ("provenance.json", "[]", "agrees in direction"),
    ],
)
def test_files_that_hold_something_else_are_told(name: str, content: str, said: str, tmp_path: Path, planted):
    run = planted(run_folder(tmp_path, "small", "transformer-12"))
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text(content, encoding="utf-8")
    assert said in write_reproduction(tmp_path / "page.html", tmp_path, STUDIES).read_text(encoding="utf-8")


@pytest.mark.parametrize("spoil", [Path.mkdir, lambda file: file.symlink_to(file.parent / "nowhere")])
def test_a_table_that_is_no_file_does_not_end_the_page(spoil, tmp_path: Path, planted):
    run = planted(run_folder(tmp_path, "small", "transformer-12"))
    (run / "tables" / "lens.parquet").unlink()
    spoil(run / "tables" / "lens.parquet")
    text = write_reproduction(tmp_path / "page.html", tmp_path, STUDIES).read_text("utf-8")
    assert "agrees in direction" in text
    assert "lens.parquet is no file." in text  # not "not run" and nothing more
    found = origin(run)
    assert found is not None
    assert "tables" not in found.hashes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop("p_scene", "seen_env"), "gain.parquet lacks p_scene, seen_env: another version"),
        (lambda table: table.with_columns(later=1), "gain.parquet also has later: another version"),
    ],
)
def test_a_table_of_another_version_is_told_by_what_is_other(change, said: str, tmp_path: Path, planted):
    run = planted(run_folder(tmp_path, "small", "transformer-12"))
    table = run / "tables" / "gain.parquet"
    other = change(pl.read_parquet(table))
    table.unlink()
    other.write_parquet(table)
    text = write_reproduction(tmp_path / "page.html", tmp_path, STUDIES).read_text(encoding="utf-8")
    assert said in text
    assert "agrees in direction" in text  # what the other tables say


def test_the_page_says_where_its_numbers_come_from(tmp_path: Path, planted):
    run = planted(run_folder(tmp_path, "paper", "transformer-12"))
    machine = {"processor": "a processor", "accelerator": "none"}
    about = {"command": "groundscope reproduce x", "versions": {"torch": "2.0"}, "machine": machine}
    write_json(run / "provenance.json", about)
    card = {"files": 3, "utterances": 40, "chunks": 5, "chunk_length": 512, "vocabulary_size": 77}
    shares = {"share_env": 0.25, "share_cooccurring": None, "content_hash": "abcdef" * 8}
    write_json(run / "corpus" / "card.json", card | shares)
    text = write_reproduction(tmp_path / "page.html", tmp_path, STUDIES).read_text(encoding="utf-8")
    assert "<code>groundscope reproduce x</code>" in text
    assert "5 chunks of 512 tokens, vocabulary of 77; 25% of the chunks hold a scene word" in text
    assert "torch 2.0, a processor" in text
    assert "Models: transformer-12, 12 layers of width 768, 1,000 steps of 16." in text
    assert "SHA-256: corpus abcdefabcdefabcd, settings " in text


def test_models_are_told_as_they_were_trained_and_not_as_the_heading_has_them(tmp_path: Path, planted):
    run = planted(run_folder(tmp_path, "small", "ablation"))
    settings = read_json(run / "resolved.json")
    narrow = {"preset": "transformer-4", "d_model": 128, "n_heads": 4, "training": {"steps": 300}}
    models = {"narrow": narrow, "old": {"preset": "of another version"}}
    write_json(run / "resolved.json", settings | {"models": models})
    found = origin(run)
    assert found is not None
    assert found.models == "narrow, 4 layers of width 128, 300 steps of 16"


def test_a_card_of_another_version_hides_nothing_else(tmp_path: Path, planted):
    run = planted(run_folder(tmp_path, "small", "transformer-12"))
    card = dict.fromkeys(FACTS, "some") | {"content_hash": 3}
    write_json(run / "corpus" / "card.json", card)
    found = origin(run)
    assert found is not None
    assert found.corpus == ""
    assert found.hashes.startswith("settings ")


@pytest.mark.parametrize(
    ("low", "unit", "shown"),
    [(-0.001, "nats", "[−0.001, 0.017]"), (0.0, "nats", "[0.00, 0.02]"), (-0.001, "steps", "[0, 0]")],
)
def test_an_end_that_is_not_zero_is_not_shown_as_zero(low: float, unit: str, shown: str):
    quantity = next(one for one in paper().quantities if one.key == "lstm-gain")
    quantity = quantity.model_copy(update={"unit": unit, "digits": 0 if unit == "steps" else 1})
    found = Found(Measured(0.008, low, 0.017, 1000, 3), Verdict.UNCLEAR)
    assert _ours(found, quantity)["interval"].replace("\N{WORD JOINER}", "").replace("\xa0", " ") == shown


def test_an_interval_of_one_seed_is_said_to_be_over_words_alone():
    """Whatever it is of: G, R², the step of its peak, what is left without co-occurrence, a layer of the lens."""
    r2 = next(one for one in paper().quantities if one.key == "lstm-r2")
    about = {
        (seeds, low): _ours(Found(Measured(0.2, low, 0.3, 20, seeds, "a note"), Verdict.UNCLEAR), r2)["about"]
        for seeds, low in ((1, 0.1), (1, None), (3, 0.1))
    }
    assert about == {
        (1, 0.1): "step 20, 1 seed, a note, over words alone",
        (1, None): "step 20, 1 seed, a note",
        (3, 0.1): "step 20, 3 seeds, a note",
    }


def test_hours_are_not_written_with_an_exponent():
    assert [hours(value) for value in (0.0, 9.7e-5, 0.0041, 1700.0)] == ["0", "<0.001", "0.0041", "1,700"]


def test_the_command_refuses_what_it_would_not_heed(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    where = ["--studies", str(STUDIES), "--runs", str(tmp_path)]
    for asked, said in ((["--set", "seeds=[1]"], "name it"), (["--page", str(tmp_path)], "is a folder")):
        with pytest.raises(SystemExit) as refused:
            main(["reproduce", *asked, *where])
        assert refused.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("asked", [["--page", "page.html"], []])
def test_runs_that_are_not_there_are_refused_and_nothing_is_written(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    with pytest.raises(SystemExit) as refused:
        main(["reproduce", *asked, "--runs", "resutls", "--studies", str(STUDIES)])
    assert refused.value.code == 2
    assert "--runs resutls is no folder. Did you mean 'results'?" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["results"]


@pytest.mark.parametrize("asked", [["--page", "page.html"], [], ["lstm-4", "--quiet"]])
@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ("paper-small", "Name the folder above it"),
        ("paper-small/lstm-4", "Name the folder of all"),
        ("file", "is no folder"),
    ],
)
def test_runs_of_one_scale_and_files_are_no_folder_of_runs(
    asked: list[str],
    runs: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    """Every experiment would be listed as not run, and one would be run into a folder where no page looks."""
    monkeypatch.setattr("groundscope.reproduction.run.run_experiment", lambda *_: pytest.fail("it was run"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper-small" / "lstm-4").mkdir(parents=True)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit) as refused:
        main(["reproduce", *asked, "--runs", runs, "--studies", str(STUDIES)])
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr("groundscope.reproduction.run.run_experiment", lambda *_: pytest.fail("it was run"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place, why in ((tmp_path, "is a folder"), (tmp_path / "file" / "deep" / "page.html", "cannot be written")):
        with pytest.raises(SystemExit) as done:
            main(["reproduce", "lstm-4", "--page", str(place), "--studies", str(STUDIES), "--quiet"])
        assert done.value.code == 2
        assert why in capsys.readouterr().err


def test_an_experiment_is_run_before_the_page_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    called = []
    monkeypatch.setattr("groundscope.reproduction.run.run_experiment", lambda *_: called.append("run"))
    monkeypatch.setattr("groundscope.report.reproduction.write_reproduction", lambda *_: called.append("page"))
    with pytest.raises(SystemExit) as done:
        main(["reproduce", "lstm-4", "--page", str(tmp_path / "page.html"), "--studies", str(STUDIES), "--quiet"])
    assert not done.value.code
    assert called == ["run", "page"]
