"""Composed pictures as files that any vision-language model and any reader of COCO takes: pictures, boxes, captions.

The truth of every picture is known, so that whatever says where a model looks can be held against it.
"""

from pathlib import Path
from typing import Any

from groundscope.corpus.scenes import SceneWorld
from groundscope.errors import CorpusError
from groundscope.files import atomic_directory, write_json

IMAGES, INSTANCES, CAPTIONS = "images", "instances.json", "captions.json"


def write_scenes(world: SceneWorld, out: Path, *, pictures: int, style: str) -> Path:
    """Write pictures of a world in one style, none of them a picture of its training; returns the folder ``out``.

    ``images/000000000000.png`` and on, ``instances.json`` (COCO: every thing and its box in pixels) and
    ``captions.json`` (COCO: what is said about a picture, one caption per utterance). Words take turns, so that each is
    shown often enough. Raises CorpusError where ``out`` holds anything and for a style that does not draw every word.
    """
    if out.exists() and any(out.iterdir()):
        raise CorpusError(f"{out} is not empty. Name a new folder for the pictures.")
    missing = sorted(set(world.words) - set(world.sprites.words([style])))
    if missing:
        raise CorpusError(f"The style {style} does not draw '{missing[0]}'; leave the word out or take another style.")
    number_of = {word: number for number, word in enumerate(world.words, start=1)}
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    with atomic_directory(out) as folder:
        (folder / IMAGES).mkdir()
        for number in range(pictures):
            scene = world.scene(f"file-{style}-{number}", (style,), shows=world.words[number % len(world.words)])
            name = f"{number:012}.png"
            world.render(scene).save(folder / IMAGES / name)
            images.append({"id": number, "file_name": name, "width": scene.size.width, "height": scene.size.height})
            for thing in scene.things:
                box = world.box(thing)
                place = {"bbox": [box.x, box.y, box.width, box.height], "area": box.area, "iscrowd": 0}
                named = {"image_id": number, "category_id": number_of[thing.word]}
                boxes.append({"id": len(boxes), **named, **place})
            for utterance in scene.talk:
                captions.append({"id": len(captions), "image_id": number, "caption": " ".join(utterance.words)})
        categories = [{"id": number, "name": word} for word, number in number_of.items()]
        write_json(folder / INSTANCES, {"images": images, "annotations": boxes, "categories": categories})
        write_json(folder / CAPTIONS, {"images": images, "annotations": captions})
    return out
