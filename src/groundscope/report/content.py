"""What a section of the page is, and what it hands to its template."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from groundscope.report.run import Run, World


@dataclass(frozen=True)
class Content:
    """What a section's template needs: its variables, its figures by name, and data for the page's scripts."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, go.Figure] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One section; ``key`` is its anchor and names its template. ``build`` returns None where nothing was measured.

    ``missing`` says what would have to be there. A section ``only_in`` the other kind of study, which could not hold
    it, is left out.
    """

    key: str
    title: str
    missing: str
    build: Callable[[Run], Content | None]
    only_in: World | None = None

    def belongs(self, run: Run, content: Content | None) -> bool:
        """Tell whether the page of ``run`` shows the section."""
        return content is not None or self.only_in in (None, run.world)
