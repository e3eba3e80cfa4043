"""Where heads look: saliency painted over the picture, the box drawn, as pictures and as one page without network."""

import base64
import html
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from groundscope.corpus.boxes import Box, Patches
from groundscope.files import atomic_file
from groundscope.mechanism.inspect_picture import PictureInspection

SIDE = 280  # of the longer edge of an overlay, in pixels
_FROM, _TOWARDS = (38, 70, 120), (255, 196, 0)  # dark blue to yellow: told apart without colour vision too
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1c2430; }
table { border-collapse: collapse; margin: 1rem 0; } th { font-weight: 500; padding: .15rem .4rem; color: #556; }
td.h { width: 2.6rem; height: 1.7rem; text-align: center; font-size: .75rem; border: 1px solid #fff; }
.over { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { font-size: .85rem; }
pre { background: #f4f5f7; padding: .8rem; white-space: pre-wrap; }
.found { outline: 2px solid #c1121f; outline-offset: -2px; }
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
    heat = patches.painted(np.abs(values))
    most = np.nanmax(heat) if np.isfinite(heat).any() else 0.0
    share = np.nan_to_num(heat / most if most > 0 else heat * 0)
    unseen = np.isnan(heat)
    resized = [
        np.asarray(Image.fromarray(part.astype(np.float32)).resize(size, Image.Resampling.NEAREST))[..., None]
        for part in (share, unseen)
    ]
    colour = np.array(_FROM) + (np.array(_TOWARDS) - np.array(_FROM)) * resized[0]
    painted = np.where(resized[1] > 0.5, grey, 0.45 * grey + 0.55 * colour)
    image = Image.fromarray(painted.clip(0, 255).astype(np.uint8))
    if box is not None:
        corners = (box.corners * scale).round().tolist()
        ImageDraw.Draw(image).rectangle(corners, outline=(255, 40, 60), width=3)
    return image


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
    """Write one self-contained page: the grid of all heads, and overlays of those with the largest flow from the box.

    ``lines`` is the inspection as text. The same inspection gives the same bytes.
    """
    by_name = {name: number for number, name in enumerate(found.names)}
    scene = Patches(patches.size, patches.corners[patches.looks_somewhere])
    figures = []
    for head in found.heads[:shown]:
        image = overlay(picture, scene, found.maps[by_name[head.name]], box)
        mark = " found" if head.name in found.found else ""
        figures.append(
            f'<figure><img class="{mark.strip()}" alt="saliency of {head.name}" src="{_data(image)}">'
            f"<figcaption>{head.name}: {100 * head.share:.0f} % from the box, {head.flow:.3g} nats</figcaption>"
            "</figure>"
        )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><pre>{html.escape(lines)}</pre>"
        "<h2>Heads</h2><p>Share of each head's patch-to-word saliency that comes from inside the box, in per cent. "
        "Layers downwards and heads to the right, both counted from 0; outlined: over the threshold.</p>"
        f'{_grid(found)}<h2>Where they look</h2><div class="over">{"".join(figures)}</div></html>'
    )
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _grid(found: PictureInspection) -> str:
    shares = {head.name: head.share for head in found.heads}
    layers: dict[int, list[str]] = {}
    for name in found.names:
        layers.setdefault(int(name[1:].split("H")[0]), []).append(name)
    widest = max(len(names) for names in layers.values())
    rows = ["<tr><th></th>" + "".join(f"<th>H{head}</th>" for head in range(widest)) + "</tr>"]
    for layer, names in layers.items():
        cells = "".join(_cell(shares[name], name in found.found) for name in names)
        rows.append(f"<tr><th>L{layer}</th>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _cell(share: float, is_found: bool) -> str:
    colour = [round(low + (high - low) * share) for low, high in zip(_FROM, _TOWARDS, strict=True)]
    text = "#111" if share > 0.5 else "#fff"
    mark = " found" if is_found else ""
    return f'<td class="h{mark}" style="background:rgb{tuple(colour)};color:{text}">{100 * share:.0f}</td>'


def _data(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
