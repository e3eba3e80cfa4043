"""Pages, cards and tables go where a person says, and never over a file of another kind."""

from pathlib import Path

import pytest

from groundscope.cli import main
from groundscope.errors import StudyError
from groundscope.report.place import check_place

SEEING = ("--model", "m", "--prompt", "a", "--target", "dog", "--image", "dog.png", "--box", "1,1,2,2")


@pytest.mark.parametrize(
    "command",
    [
        ["report", "run", "--out"],
        ["report", "run", "other", "--out"],
        ["card", "run", "--out"],
        ["table", "run", "gain", "--out"],
        ["table", "run", "gain", "--format", "csv", "--out"],
        ["table", "run", "gain", "--format", "latex", "--out"],
        ["inspect", *SEEING, "--overlay"],
        ["reproduce", "--page"],
        ["reproduce", "lstm-4", "--page"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("talk.jsonl", "talk.jsonl does not end in ."),
        ("pages/", "Name such a file, for example pages."),
        ("run", "run is a folder. Name the file to write, such as run/NAME."),
    ],
)
def test_no_file_of_another_kind_is_replaced(
    command: list[str], place: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for run in ("run", "other"):
        (tmp_path / run / "tables").mkdir(parents=True)
    (tmp_path / "talk.jsonl").write_text("years of work", encoding="utf-8")
    with pytest.raises(SystemExit) as refused:
        main([*command, place])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.startswith(f"groundscope: {command[-1]} {place.rstrip('/')} ")
    assert (tmp_path / "talk.jsonl").read_text(encoding="utf-8") == "years of work"
    assert not (tmp_path / "pages").exists()


def test_an_earlier_page_is_replaced_and_folders_are_made(tmp_path: Path):
    (tmp_path / "page.html").write_text("an earlier one", encoding="utf-8")
    for place in ("page.html", "PAGE.HTML", "deep/er/page.html"):
        check_place(tmp_path / place, ".html")
    with pytest.raises(StudyError, match=r"--page .* cannot be written: .*page\.html may not be written to"):
        check_place(tmp_path / "page.html" / "page.html", ".html", "--page")
