import base64
import hashlib
import html
import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from plotly.offline import get_plotlyjs

from groundscope.behaviour.dose_tests import DOSE_CONCLUSIONS
from groundscope.errors import CorpusError, GroundscopeError
from groundscope.files import write_json
from groundscope.report.compare import write_comparison
from groundscope.report.findings import claims
from groundscope.report.page import SCRIPTS, embedded, write_page
from groundscope.report.run import open_run
from groundscope.report.sections import SECTIONS, flattened, grouped
from groundscope.study.cell import Record


@pytest.fixture(scope="module")
def page(plain_run: Path) -> str:
    return write_page(plain_run).read_text(encoding="utf-8")


def own(page: str) -> str:
    """The page without Plotly, which names addresses that it never asks for here."""
    return page.replace(get_plotlyjs(), "")


def test_it_lies_in_the_run_and_is_small(plain_run: Path, page: str) -> None:
    assert (plain_run / "report" / "index.html").stat().st_size < 6e6
    assert "</html>" in page


def test_it_asks_nothing_of_any_network(page: str) -> None:
    assert not re.search(r"(https?:)?//[\w.-]+\.\w{2,}", own(page).replace("http://www.w3.org/2000/svg", ""))
    addresses = re.findall(r'(?:src|href)="([^"]*)"', own(page))
    assert addresses
    assert all(address.startswith(("#", "../")) for address in addresses)


def test_its_policy_allows_its_own_scripts_and_no_other(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])  # type: ignore[index]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = re.search(r"script-src ([^;]*)", policy)
    assert allowed is not None
    assert allowed[1].split() == [f"'sha256-{digest}'" for digest in digests]
    assert len(scripts) == 1 + len(SCRIPTS)  # Plotly and ours
    assert policy.startswith("default-src 'none'")


def test_no_string_of_a_corpus_or_study_becomes_markup(page: str, nasty: str) -> None:
    assert nasty not in page
    assert html.escape(nasty) in page  # the description, the command, a collection
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', page, flags=re.DOTALL)[1])  # type: ignore[index]
    assert nasty in data["words"]["words"]


def test_embedded_json_survives_hostile_strings() -> None:
    hostile = {"a": "</script><!--", "b": "\u2028 & ' \" \\", "c": [None, 1.5, "é"]}
    text = str(embedded(hostile))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == hostile
    with pytest.raises(ValueError):
        embedded(float("nan"))


def test_it_states_every_finding(plain_run: Path, page: str) -> None:
    run = open_run(plain_run)
    for claim in claims(run.conclusions, run.evidence, run.recurrent, contrasts=run.contrasts):
        assert html.escape(claim.title) in page
        for statement in claim.statements:
            assert html.escape(statement.sentence) in page
    assert "2 models, 2 seeds each" in page


def test_its_numbers_table_has_a_row_per_checkpoint(plain_run: Path, page: str) -> None:
    run = open_run(plain_run)
    row = run.evidence.filter(arch="lstm-4", direction="env2lan", step=800).row(0, named=True)  # type: ignore[union-attr]
    assert f"<td>{row['match_nats']:.2f}</td><td>{row['mismatch_nats']:.2f}</td><td>{row['gain_nats']:.2f}</td>" in page


def test_same_tables_same_bytes(plain_run: Path, page: str, tmp_path: Path) -> None:
    copy = tmp_path / "toyworld"
    shutil.copytree(plain_run, copy)
    assert write_page(copy).read_text(encoding="utf-8") == page


def test_links_lead_from_wherever_the_page_is_to_the_tables(plain_run: Path, tmp_path: Path) -> None:
    page = write_page(plain_run, tmp_path / "elsewhere" / "a page.html")
    address = re.search(r'href="([^"]*/tables/gain\.parquet)"', page.read_text(encoding="utf-8"))
    assert address is not None
    assert (page.parent / address[1]).resolve() == (plain_run / "tables" / "gain.parquet").resolve()


@pytest.mark.parametrize(
    ("parts", "sections"),
    [
        (["tables/evidence.parquet"], ["surprisal", "gain", "cooccurrence"]),
        (["tables/gain.parquet"], ["words"]),
        (["tables/loss.parquet"], ["loss"]),
        (["corpus/card.json"], ["corpus"]),
        (["study.yaml", "resolved.json"], ["settings"]),
        (["provenance.json"], ["provenance"]),
        (
            [f"tables/{name}.parquet" for name in ("evidence", "gain", "loss")],
            ["surprisal", "gain", "cooccurrence", "words", "loss", "tables"],
        ),
    ],
)
def test_a_missing_part_is_named_and_the_rest_is_shown(
    parts: list[str], sections: list[str], plain_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(plain_run, run)
    for part in parts:
        (run / part).unlink()
    page = write_page(run).read_text(encoding="utf-8")
    already = absent_sections(write_page(plain_run, tmp_path / "whole.html").read_text(encoding="utf-8"))
    assert [name for name in absent_sections(page) if name not in already] == sections
    assert page.count("<section id=") == len(SECTIONS) - 1  # all but that of pictures


def absent_sections(page: str) -> list[str]:
    found = re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', page, flags=re.DOTALL)
    return [name for name, content in found if "Not measured in this run" in content.split("</h2>")[1][:80]]


def test_every_place_for_a_figure_has_one(page: str) -> None:
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', page, flags=re.DOTALL)[1])  # type: ignore[index]
    places = re.findall(r'data-figure="([^"]+)"', page)
    assert places
    assert set(places) == set(data["figures"])


@pytest.mark.parametrize(("corpus", "shown"), [({"source": "toyworld"}, "dose"), ({"encoders": {}}, "pictures")])
def test_a_section_of_the_other_kind_of_study_is_left_out(tmp_path: Path, corpus: dict, shown: str) -> None:
    write_json(tmp_path / "resolved.json", {"name": "study", "corpus": corpus})
    shown_sections = absent_sections(write_page(tmp_path).read_text(encoding="utf-8"))
    assert [key for key in ("dose", "pictures") if key in shown_sections] == [shown]


def test_an_empty_run_still_has_a_page(tmp_path: Path) -> None:
    page = write_page(tmp_path).read_text(encoding="utf-8")
    assert "Not measured in this run." in page
    assert set(re.findall(r'class="statement" data-verdict="([\w ]+)"', page)) == {"not tested"}


def test_a_damaged_table_is_named(plain_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(plain_run, run)
    (run / "tables" / "gain.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(GroundscopeError, match=r"gain\.parquet"):
        write_page(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("file", ["resolved.json", "provenance.json"])
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("[1]")
    with pytest.raises(GroundscopeError, match=f"{file} should hold a JSON object"):
        write_page(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        *('{"models": [1]}', '{"models": null}', '{"models": {"a": null}}', '{"corpus": "chat"}', '{"behaviour": 3}'),
        *('{"behaviour": {"kinds": 3}}', '{"behaviour": {"kinds": [3]}}', '{"seeds": 3}', '{"seeds": [[42]]}'),
        *('{"training": {"steps": "x"}}', '{"models": {"a": {"training": {"steps": null}}}}'),
        *('{"training": 3}', '{"models": {"a": {"training": 3}}}'),
        *('{"statistics": {"confidence": null}}', '{"mechanism": {"negligible_nats": "x"}}'),
    ],
)
def test_settings_whose_sections_are_none_are_named(tmp_path: Path, settings: str) -> None:
    (tmp_path / "resolved.json").write_text(settings)
    with pytest.raises(GroundscopeError, match=r"resolved\.json does not hold the settings of a study"):
        write_page(tmp_path)


@pytest.mark.parametrize(
    "said",
    ['{"seconds": 3}', '{"seconds": {"words": "x"}}', '{"versions": ["torch"]}', '{"machine": 3}', '{"commit": 3}'],
)
def test_a_provenance_of_another_kind_is_named(tmp_path: Path, said: str) -> None:
    (tmp_path / "provenance.json").write_text(said)
    with pytest.raises(GroundscopeError, match=r"provenance\.json does not say how a study was run"):
        write_page(tmp_path)


def test_a_card_of_another_version_is_named_by_what_differs(plain_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(plain_run, run)
    card = json.loads((run / "corpus" / "card.json").read_text())
    write_json(run / "corpus" / "card.json", {**card, "colour": "red"})
    with pytest.raises(CorpusError, match=r"card\.json is damaged, or another version .* \(colour: Extra inputs"):
        open_run(run)


def test_a_table_of_another_version_counts_as_missing_and_is_named(plain_run: Path, tmp_path: Path) -> None:
    run, other = tmp_path / "old", tmp_path / "new"
    for folder in (run, other):
        shutil.copytree(plain_run, folder)
    earlier = {name: dtype for name, dtype in DOSE_CONCLUSIONS.dtypes.items() if name not in ("arm", "control")}
    pl.DataFrame(schema=earlier).write_parquet(run / "tables" / "dose_conclusions.parquet")
    told = "Another version of groundscope wrote dose_conclusions with other columns, and the page is without it."
    assert told in write_page(run).read_text(encoding="utf-8")
    assert open_run(run).read(DOSE_CONCLUSIONS).is_empty()
    compared = write_comparison([run, other]).read_text(encoding="utf-8")
    assert told.replace("dose_conclusions", "dose_conclusions of A") in compared
    assert "Another version of groundscope" not in write_page(other).read_text(encoding="utf-8")


def test_a_seed_that_stopped_early_is_named(make_run, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", directions=["env2lan"], steps_of={("lstm-4", 142): (0, 50, 100)})
    page = write_page(run).read_text(encoding="utf-8")
    assert "lstm-4 seed 142 at step 100 of 1,500" in page


def test_one_model_one_seed_one_checkpoint(make_run, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", archs=["transformer-4"], seeds=[42], steps=[0], directions=["env2lan"])
    page = write_page(run).read_text(encoding="utf-8")
    assert "its interval is not above zero at the last checkpoint" in page
    assert 'name="direction"' not in page


def test_settings_are_flattened_in_their_order() -> None:
    tree = {"a": {"b": {"c": 1, "d": [True, None]}, "e": {}}, "f": "x", "g": []}
    assert flattened(tree) == [("a.b.c", "1"), ("a.b.d", "yes, none"), ("f", "x"), ("g", "none")]
    assert grouped(tree) == [("a", [("b.c", "1"), ("b.d", "yes, none")]), ("f", [("", "x")]), ("g", [("", "none")])]


def test_a_page_of_an_unfinished_study_says_so(plain_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(plain_run, folder)
    cells = ["corpus", "mechanism/a/seed-1/step-00000000", "lens/a/seed-1/step-00000000", "report"]
    write_json(folder / "plan.json", {"cells": cells})
    (folder / "corpus").mkdir(exist_ok=True)
    Record("code", "settings", {}, finished=True).save(folder, "corpus")
    notice = "This study is not finished: 1 lens, 1 mechanism failed or wait"
    assert notice in write_page(folder).read_text(encoding="utf-8")
    write_json(folder / "plan.json", {"cells": ["corpus", "report"]})
    assert "not finished" not in write_page(folder).read_text(encoding="utf-8")
