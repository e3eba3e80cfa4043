"""One self-contained page from a run: a file that opens anywhere, offline, and asks nothing of any network."""

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from groundscope.behaviour.prompts import Direction
from groundscope.files import atomic_file
from groundscope.progress import counted, duration
from groundscope.report import numbers
from groundscope.report.content import Content, Section
from groundscope.report.run import Run, open_run
from groundscope.report.sections import SECTIONS
from groundscope.report.templating import asset, template

SCRIPTS = ("figures.js", "words.js", "explorer.js", "heads.js", "prompts.js", "looks.js", "keyboard.js")
STYLES = ("page.css", "prompts.css", "looks.css")
SHOWN = ("decimal", "share", "interval", "share_interval", "p_level", "whole", "compact", "percent")
FILTERS = {
    **{name: getattr(numbers, name) for name in SHOWN},
    "counted": counted,
    "duration": duration,
    "exp": math.exp,
}
DIRECTIONS = {
    Direction.ENV2LAN: "scene → spoken word",
    Direction.LAN2ENV: "speech → scene’s word",
    Direction.LAN2LAN: "speech → spoken word (control)",
}


def write_page(run: Path, out: Path | None = None) -> Path:
    """Write the page of the run in folder ``run`` to ``out`` (default: its ``report/index.html``); return its path.

    The same tables give the same bytes. Sections without their table say that they were not measured. Raises
    GroundscopeError where a file of the run is damaged.
    """
    page = out or run / "report" / "index.html"
    html = render(open_run(run), links=_links(run, page))
    with atomic_file(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def render(run: Run, links: str, sections: Sequence[Section] = SECTIONS) -> str:
    """Return the page's HTML; ``links`` leads from the page to the run's folder."""
    built = {section.key: section.build(run) for section in sections}
    sections = [section for section in sections if section.belongs(run, built[section.key])]
    contents = {section.key: built[section.key] for section in sections}
    scripts = [get_plotlyjs(), *(asset(name) for name in SCRIPTS)]
    scripts = [script.replace("</script", r"<\/script") for script in scripts]
    return template("page.html.j2", FILTERS).render(
        run=run,
        sections=sections,
        contents=contents,
        links=links,
        directions=_directions(run),
        style=Markup("".join(asset(name) for name in STYLES)),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
        data=embedded(_data(run, contents)),
    )


def embedded(value: Any) -> Markup:
    """Write a value as JSON that is safe inside a script element, whatever strings it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _data(run: Run, contents: Mapping[str, Content | None]) -> dict[str, Any]:
    present = [content for content in contents.values() if content]
    data: dict[str, Any] = {
        "archs": [{"name": arch, "colour": mark.colour, "symbol": mark.symbol} for arch, mark in run.marks.items()],
        "directions": list(_directions(run)),
        "figures": {name: _plain_figure(figure) for part in present for name, figure in part.figures.items()},
    }
    for content in present:
        data |= content.data
    return data


def _plain_figure(figure: go.Figure) -> dict[str, Any]:
    """The figure as plain lists, without Plotly's template: colours of paper and ink are the page's."""
    plain = json.loads(figure.to_json(engine="json") or "{}")
    plain["layout"].pop("template", None)
    return plain


def _directions(run: Run) -> dict[str, str]:
    """Directions that were measured, with their names for people."""
    measured = [] if run.evidence is None else run.evidence["direction"].unique().sort().to_list()
    return {direction: DIRECTIONS[Direction(direction)] for direction in measured}


def _policy(scripts: list[str]) -> str:
    """A policy that lets these very scripts run, no other, and nothing be fetched."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    fetched = "style-src 'unsafe-inline'; img-src data: blob:"  # Plotly sets styles and draws what is saved
    return f"default-src 'none'; script-src {allowed}; {fetched}; base-uri 'none'; form-action 'none'"


def _links(run: Path, page: Path) -> str:
    relative = os.path.relpath(run.resolve(), page.resolve().parent)
    return quote(Path(relative).as_posix())
