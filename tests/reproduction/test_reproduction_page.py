"""The page and the command."""

import re
from pathlib import Path

import pytest

from groundscope.cli import main
from groundscope.report.reproduction import write_reproduction
from groundscope.reproduction.experiments import run_folder

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
    assert effect.endswith("agrees in direction not run")
    assert any(row.startswith("layer 8 5.002") for row in rows)
    assert any(row.startswith("layer 12 4.766 (sd 0.13)") for row in rows)
    assert any(row.startswith("step 20,000 4.2 to 4.5 not run not run") for row in rows)
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
    with pytest.raises(SystemExit) as refused:
        main(["reproduce", "transformer", "--studies", str(STUDIES), "--runs", str(tmp_path)])
    assert refused.value.code == 2
    assert "Did you mean 'transformer-" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
