"""What a run's folder says of itself: its settings and its corpus, checked to be of the kind that they should be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundscope.corpus.card import CARD
from groundscope.errors import GroundscopeError
from groundscope.files import read_json


def resolved_of(run: Path) -> dict[str, Any]:
    """Return the settings that ``run`` was computed with; empty where it does not hold them.

    Raises GroundscopeError for a file that does not hold a study's settings.
    """
    file = run / "resolved.json"
    settings = object_in(file) if file.is_file() else {}
    models = settings.get("models", {})
    whole = not settings or (isinstance(settings.get("corpus"), dict) and "source" in settings["corpus"])
    if not whole or not isinstance(models, dict) or not all(isinstance(model, dict) for model in models.values()):
        raise GroundscopeError(f"{file} does not hold the settings of a study. Run the experiment again.")
    return settings


def card_of(run: Path) -> dict[str, Any]:
    """Return the card of the corpus of ``run``; empty where it does not hold it."""
    card = run / "corpus" / CARD
    return object_in(card) if card.is_file() else {}


def object_in(file: Path) -> dict[str, Any]:
    """Read a JSON object; raises GroundscopeError for anything else."""
    found = read_json(file)
    if not isinstance(found, Mapping):
        raise GroundscopeError(f"{file} should hold a JSON object. Delete it and run again.")
    return dict(found)
