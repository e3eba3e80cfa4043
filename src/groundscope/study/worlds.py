"""From what a study file says of pictures to the world that it means: the one place where the kinds of them part."""

from collections.abc import Mapping
from typing import Any

from groundscope.behaviour.composed import composed_world
from groundscope.behaviour.photographed import photographed_world
from groundscope.behaviour.picture_worlds import PictureWorld
from groundscope.corpus.album import FILES
from groundscope.corpus.sources import place_of
from groundscope.corpus.walk import files_below
from groundscope.files import sha256_json
from groundscope.models.vision import VisionEncoder
from groundscope.study.config import PhotographsSource, PicturesSource, ScenesSource
from groundscope.study.file_hashes import hash_files
from groundscope.study.paths import located

CODE = {
    "scenes": ("behaviour.composed", "data/emoji.yaml"),
    "photographs": ("behaviour.photographed",),
}
"""The code behind each kind of world."""
_NOT_SHOWN = {"cache": True, "criterion": True}


def open_world(source: PicturesSource, encoders: Mapping[str, VisionEncoder], device: str = "cpu") -> PictureWorld:
    """Return the world of a study; raises CorpusError for what is missing, StudyError for a variable that is not set.

    The encoders say what of a photograph they see; what a model repaints is painted on ``device``.
    """
    match source.moved(located):
        case ScenesSource() as composed:
            return composed_world(composed.scenes, composed.tests)
        case PhotographsSource() as taken:
            return photographed_world(
                taken.photographs, taken.tests, lambda size: [one.patches(size) for one in encoders.values()], device
            )


def labels_beside(source: PicturesSource) -> dict[str, str]:
    """Return the hash of YOLO's labels that a study names only by the YAML that they lie beside, if it has such.

    Of their folder nothing but labels counts, for a run may be written there.
    """
    if not isinstance(source, PhotographsSource) or source.photographs.labels:
        return {}
    folders = [folder for path in source.photographs.label_places if (folder := located(path)).is_dir()]
    files = sorted(
        file for _, file in files_below(folders, lambda _place, _error: None) if file.suffix.lower() == ".txt"
    )
    names = [file.as_posix().removeprefix(folders[0].as_posix()) for file in files]
    return {"labels": sha256_json([*zip(names, hash_files(files), strict=True)])} if files else {}


def settings_of(source: PicturesSource) -> dict[str, Any]:
    """Return what of a source changes what is shown: everything but where its files lie on this machine."""
    files = {"scenes": {"sprites"}, "photographs": set(FILES)}[source.source]
    settings = source.model_dump(mode="json", exclude={**_NOT_SHOWN, source.source: files})
    inside = [place_of(located(path))[1].as_posix() for path in source.files]
    return {**settings, "inside": inside}
