"""Where heads look: saliency painted over the picture, the box drawn, as pictures and as one page without network."""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from groundscope.corpus.boxes import Box, Patches, Size
from groundscope.files import atomic_file
from groundscope.mechanism.inspect_picture import PictureInspection

SIDE = 280  # of the longer edge of an overlay, in pixels
_FROM, _TOWARDS = (38, 70, 120), (255, 196, 0)  # dark blue to yellow: told apart without colour vision too
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1c2430; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; }
th { font-weight: 500; padding: .15rem .4rem; color: #556; }
td.h { min-width: 1.7rem; height: 1.7rem; text-align: center; font-size: .75rem; border: 1px solid #fff; }
.over { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { font-size: .85rem; }
pre { background: #f4f5f7; padding: .8rem; white-space: pre-wrap; }
.found { outline: 2px solid #c1121f; outline-offset: -2px; }
input[name=by] { margin-left: 1rem; }
#by-head:checked ~ .by-model, #by-model:checked ~ .by-head { display: none; }
"""


def overlay(
    picture: Image.Image, patches: Patches, values: Float[np.ndarray, " position"], box: Box | None = None
) -> Image.Image:
    """Paint values of the picture's positions over it, from the least (dark) to the greatest (yellow), and the box.

    What no position looks at stays as it is, greyed. ``values`` are magnitudes; the picture is scaled to be seen.
    """
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    grey = np.asarray(picture.convert("L").resize(size, Image.Resampling.BICUBIC), dtype=float)[..., None]
    shown = Patches(Size(*size), patches.corners * np.tile(np.divide(size, picture.size), 2))
    heat = shown.painted(np.abs(values))
    most = np.nanmax(heat) if np.isfinite(heat).any() else 0.0
    share = np.nan_to_num(heat / most if most > 0 else heat * 0)
    colour = np.array(_FROM) + (np.array(_TOWARDS) - np.array(_FROM)) * share[..., None]
    painted = np.where(np.isnan(heat)[..., None], grey, 0.45 * grey + 0.55 * colour)
    return _boxed(Image.fromarray(painted.clip(0, 255).astype(np.uint8)), box, scale)


def write_overlay_page(
    out: Path,
    found: PictureInspection,
    picture: Image.Image,
    patches: Patches,
    box: Box,
    *,
    title: str,
    lines: str,
    shown: int = 12,
) -> Path:
    """Write one self-contained page: grids of all heads, overlays of those with the largest flow from the box, and of
    every layer.

    ``lines`` is the inspection as text. The same inspection gives the same bytes.
    """
    by_name = {name: number for number, name in enumerate(found.names)}
    scene = Patches(patches.size, patches.corners[patches.looks_somewhere])
    inside = scene.inside(box)

    def figure(values: Float[np.ndarray, " position"], caption: str, is_found: bool = False) -> str:
        return _figure(overlay(picture, scene, values, box), caption, is_found)

    heads = [
        figure(
            found.maps[by_name[head.name]],
            f"{head.name}: {100 * head.share:.0f} % from the box, {head.flow:.3g} nats",
            head.name in found.found,
        )
        for head in found.heads[:shown]
    ]
    layers = []
    for layer, names in _layers(found).items():
        values = np.abs(found.maps[[by_name[name] for name in names]].sum(axis=0))
        seen, boxed = float(values.sum()), float(values[inside].sum())
        share = f"{100 * boxed / seen:.0f} % from the box, " if seen > 0 else ""
        layers.append(figure(values, f"L{layer}: {share}{boxed:.3g} nats"))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"{_figure(_shown(picture, box), 'The picture and its box.')}<pre>{html.escape(lines)}</pre>"
        "<h2>Heads</h2><p>Layers downwards and heads to the right, both counted from 0; outlined: over the threshold. "
        "Per head: the share of its patch-to-word |saliency| that comes from inside the box, in per cent. Per model: "
        "that |saliency| itself, in per cent of the largest head's.</p>"
        '<input type="radio" name="by" id="by-head" checked><label for="by-head">per head</label>'
        '<input type="radio" name="by" id="by-model"><label for="by-model">per model</label>'
        f"{_grid(found, 'by-head', {head.name: head.share for head in found.heads})}"
        f"{_grid(found, 'by-model', _of_the_largest(found))}"
        f"<h2>Where heads look</h2><p>The {len(heads)} heads with the largest flow from the box; each from its least "
        f'(dark) to its greatest (yellow) |saliency|.</p><div class="over">{"".join(heads)}</div>'
        "<h2>Where layers look</h2><p>All heads of a layer together: |sum over heads of the saliency|.</p>"
        f'<div class="over">{"".join(layers)}</div></html>'
    )
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _shown(picture: Image.Image, box: Box) -> Image.Image:
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return _boxed(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC), box, scale)


def _boxed(image: Image.Image, box: Box | None, scale: float) -> Image.Image:
    if box is not None:
        corners = (box.corners * scale).round().tolist()
        ImageDraw.Draw(image).rectangle(corners, outline=(255, 40, 60), width=3)
    return image


def _figure(image: Image.Image, caption: str, is_found: bool = False) -> str:
    mark = ' class="found"' if is_found else ""
    said = html.escape(caption)
    return f'<figure><img{mark} alt="{said}" src="{_data(image)}"><figcaption>{said}</figcaption></figure>'


def _layers(found: PictureInspection) -> dict[int, list[str]]:
    layers: dict[int, list[str]] = {}
    for name in found.names:
        layers.setdefault(int(name[1:].split("H")[0]), []).append(name)
    return layers


def _of_the_largest(found: PictureInspection) -> dict[str, float]:
    largest = max(head.flow for head in found.heads)
    return {head.name: head.flow / largest if largest > 0 else 0.0 for head in found.heads}


def _grid(found: PictureInspection, kind: str, shares: Mapping[str, float]) -> str:
    layers = _layers(found)
    widest = max(len(names) for names in layers.values())
    rows = ["<tr><th></th>" + "".join(f"<th>H{head}</th>" for head in range(widest)) + "</tr>"]
    for layer, names in layers.items():
        cells = "".join(_cell(shares[name], name in found.found) for name in names)
        rows.append(f"<tr><th>L{layer}</th>{cells}</tr>")
    return f'<div class="wide {kind}"><table>{"".join(rows)}</table></div>'


def _cell(share: float, is_found: bool) -> str:
    colour = [round(low + (high - low) * share) for low, high in zip(_FROM, _TOWARDS, strict=True)]
    text = "#111" if share > 0.5 else "#fff"
    mark = " found" if is_found else ""
    return f'<td class="h{mark}" style="background:rgb{tuple(colour)};color:{text}">{100 * share:.0f}</td>'


def _data(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
