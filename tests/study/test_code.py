"""The version of code: what counts, what does not, and that no cell forgets what it stands on."""

import subprocess
import sys
from pathlib import Path

import pytest

from groundscope.study.code import WITHOUT_EFFECT, code_only, code_version, modules_behind
from groundscope.study.load import load_study
from groundscope.study.plan import plan


def test_words_about_code_are_not_code() -> None:
    plain = "def f(x):\n    return x + 1\n"
    told = '"""A module."""\n\ndef f(x):\n    """Add one."""\n    # because\n    return x+1\n'
    assert code_only(plain) == code_only(told)
    assert code_only(plain) != code_only(plain.replace("1", "2"))


def test_versions_differ_by_what_stands_behind_them() -> None:
    assert code_version(("tables",)) != code_version(("files",))
    assert code_version(("tables",)) == code_version(("tables", "files"))  # tables imports files
    assert code_version(("data/words.yaml",)) != code_version(("data/contexts.yaml",))
    with pytest.raises(AssertionError, match="does not exist"):
        code_version(("corpus.nowhere",))


def test_what_only_talks_does_not_count() -> None:
    assert not modules_behind("training.loop") & set(WITHOUT_EFFECT)


@pytest.mark.parametrize("entry", ["training.loop", "behaviour.measure", "corpus.chat", "report.page"])
def test_imports_are_followed_as_python_follows_them(entry: str) -> None:
    """Whatever importing the module alone loads from the package is found in its source."""
    script = f"import sys, groundscope.{entry}; print(*[n for n in sys.modules if n.startswith('groundscope.')])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    package = Path(__file__).parents[2] / "src"
    modules = {
        name.removeprefix("groundscope.") for name in loaded if (package / (name.replace(".", "/") + ".py")).is_file()
    }
    by_packages = {name for name in modules if name.startswith("models.")}  # models/__init__.py loads more than is used
    by_study = {name for name in modules if name.startswith("study.")}  # count where they are named
    assert modules - by_packages - by_study <= modules_behind(entry) | set(WITHOUT_EFFECT)


def test_every_cell_of_the_default_study_has_a_version(tmp_path: Path) -> None:
    cells = plan(load_study(None, ()), tmp_path, lambda run, page: page)
    assert all(len(code_version(cell.code)) == 64 for cell in cells)
