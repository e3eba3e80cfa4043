"""An optional second home for the metrics: any module that speaks as Weights & Biases does."""

import importlib
from collections.abc import Mapping
from typing import Any

from groundscope.errors import GroundscopeError


class Tracker:
    """Logs to ``module.init(...).log(...)``; to nowhere when no module is named."""

    def __init__(self, module: str | None, name: str, about: Mapping[str, Any]):
        self._run = None
        if module is None:
            return
        try:
            tracker = importlib.import_module(module)
        except ImportError:
            raise GroundscopeError(
                f"track: {module} asks for a module that is not installed. Try `pip install {module}` (trackio "
                "comes with `pip install 'groundscope[track]'`), or leave track out."
            ) from None
        self._run = tracker.init(project="groundscope", name=name, config=dict(about))

    def log(self, step: int, **metrics: float) -> None:
        """Send the metrics of one step."""
        if self._run is not None:
            self._run.log(metrics, step=step)

    def finish(self) -> None:
        """Say that no more will come."""
        if self._run is not None:
            self._run.finish()
