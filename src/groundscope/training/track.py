"""An optional second home for the metrics: any module that speaks as Weights & Biases does."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from groundscope.errors import TrainingError


class Tracker:
    """Logs to ``module.init(...).log(...)``; to nowhere when no module is named, or once the module fails.

    ``name`` is that of the run for all its sessions: a run that goes on is logged where it was. A training never ends
    because of its tracker: what went wrong is said, and no more is logged. Raises TrainingError for a module that
    cannot be imported or has no ``init``.
    """

    def __init__(self, module: str | None, name: str, about: Mapping[str, Any], say: Callable[[str], None]):
        self._run, self._say = None, say
        if module is None:
            return
        try:
            init = importlib.import_module(module).init
        except (ImportError, AttributeError, ValueError, TypeError):
            raise TrainingError(
                f"track: {module} asks for a module that is not installed or has no init() as Weights & Biases' has. "
                f"Try `pip install {module}` (trackio comes with `pip install 'groundscope[track]'`), or leave track "
                "out."
            ) from None
        known = inspect.signature(init).parameters
        same = {"id": name} if "id" in known else {}  # trackio knows a run by its name
        self._run = self._try(
            lambda: init(project="groundscope", name=name, config=dict(about), resume="allow", **same)
        )

    def log(self, step: int, **metrics: float) -> None:
        """Send the metrics of one step."""
        if (run := self._run) is not None:
            self._try(lambda: run.log(metrics, step=step))

    def finish(self) -> None:
        """Say that no more will come."""
        if (run := self._run) is not None:
            self._try(run.finish)

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # a network, a quota, a version: nothing that training should pay for
            self._run = None
            self._say(f"The tracker failed ({type(error).__name__}: {error}); training goes on without it.")
            return None
