"""A study as its run keeps it: what it says of files is true elsewhere, and tells nobody where they lay here."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from groundscope.files import atomic_file, write_json
from groundscope.study.config import PicturesSource, Study
from groundscope.study.paths import from_home, given_copy, kept, located


def portable(study: Study, run: Path) -> dict[str, Any]:
    """Return all settings of ``study`` as JSON-able values, with paths as the study file in ``run`` says them.

    Models that are folders of this machine (vision encoders, an inpainter) are named from ``${HOME}`` on, or stay: they
    are not looked up beside the study file.
    """
    resolved = study.moved(lambda path: kept(path, run)).model_dump(mode="json")
    if isinstance(study.corpus, PicturesSource):
        corpus = resolved["corpus"]
        named = [*corpus["encoders"].values(), corpus["tests"].get("repaint")]
        for options in (options for options in named if isinstance(options, dict)):
            for key in ("name", "inpaint"):
                if Path(options.get(key, "")).is_absolute():
                    options[key] = str(from_home(Path(options[key])))
    return resolved


def keep_study(study: Study, run: Path) -> None:
    """Write ``study`` into ``run``, as people and as programs read it, with the small files that it names."""
    resolved = portable(study, run)
    with atomic_file(run / "study.yaml") as file:
        file.write_text(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_json(run / "resolved.json", resolved)
    for option, path in study.behaviour.given.items():
        file, copy = located(path), run / given_copy(option, path)
        if file.is_file() and not (copy.is_file() and copy.samefile(file)):
            copy.parent.mkdir(exist_ok=True)
            with atomic_file(copy) as temporary:
                shutil.copyfile(file, temporary)
