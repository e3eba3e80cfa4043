"""What pages show of study files is valid as it stands, and the README shows what its name names."""

import re
from pathlib import Path

import pytest
import yaml

from groundscope.study.load import load_study

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown(page: Path) -> list[str]:
    """The parts of study files that a page shows; lists are contexts, not studies."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if isinstance(yaml.safe_load(block), dict)]


SHOWN = [(page, block) for page in PAGES for block in shown(page)]


@pytest.mark.parametrize(
    ("page", "block"), SHOWN, ids=[f"{page.stem}-{number}" for number, (page, _) in enumerate(SHOWN)]
)
def test_what_a_page_shows_of_a_study_file_is_valid(page: Path, block: str, tmp_path: Path) -> None:
    least = {"name": "shown", "corpus": {"source": "toyworld"}, "models": {"lstm-4": {"preset": "lstm-4"}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**least, **yaml.safe_load(block)}), encoding="utf-8")
    assert load_study(tmp_path / "study.yaml").name


@pytest.mark.parametrize("file", sorted(ROOT.glob("studies/*.yaml")), ids=lambda file: file.stem)
def test_every_study_that_is_shipped_is_valid(file: Path) -> None:
    if isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict):  # else it is a study's contexts
        assert load_study(file).name


def test_the_readme_shows_the_models_and_the_corpus_of_the_study_it_names() -> None:
    (block,) = shown(ROOT / "README.md")
    readme = yaml.safe_load(block)
    study = yaml.safe_load((ROOT / "studies" / f"{readme['name']}.yaml").read_text(encoding="utf-8"))
    assert {key: readme[key] for key in ("models", "corpus", "seeds")} == {
        key: study[key] for key in ("models", "corpus", "seeds")
    }
    assert study["training"].items() >= {**readme["training"], "checkpoints": study["training"]["checkpoints"]}.items()
