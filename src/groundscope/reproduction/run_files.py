"""What a run's folder says of itself: its settings and its corpus, checked to be of the kind that they should be."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

from groundscope.corpus.card import CARD
from groundscope.errors import GroundscopeError
from groundscope.files import read_json

SECTIONS = ("corpus", "models", "training", "behaviour", "mechanism", "lens", "statistics")
LEFT_OUT = ("mechanism", "lens")
"""The sections that a study may do without; the settings hold null for them."""
NUMBERS = (
    ("training", "steps"),
    ("statistics", "confidence"),
    ("statistics", "resamples"),
    ("mechanism", "negligible_nats"),
)
"""The settings that a page counts with, where its run names them; all of them are above zero."""
KINDS = ("behaviour", "kinds")
"""The setting that says by its first which words conclusions are about."""


def settings_of(run: Path) -> dict[str, Any]:
    """Return the settings that ``run`` was computed with, whichever it names; empty where it does not hold them.

    Raises GroundscopeError for a file in which a section of a study, or a number, is something else.
    """
    file = run / "resolved.json"
    settings = object_in(file) if file.is_file() else {}
    named = [name for name in SECTIONS if name in settings and (settings[name] is not None or name not in LEFT_OUT)]
    sections: dict[str, Any] = {name: settings[name] for name in named}
    if not all(isinstance(section, dict) for section in sections.values()):
        raise _no_settings(file)
    models = sections.get("models", {}).values()
    if not all(isinstance(model, dict) and isinstance(model.get("training", {}), dict) for model in models):
        raise _no_settings(file)
    numbers = [sections[section][name] for section, name in NUMBERS if name in sections.get(section, {})]
    numbers += [model["training"]["steps"] for model in models if "steps" in model.get("training", {})]
    if not all(isinstance(number, int | float) and 0 < number < inf for number in numbers):
        raise _no_settings(file)
    section, name = KINDS
    if not _list_of(str, sections.get(section, {}).get(name, [])) or not _list_of(int, settings.get("seeds", [])):
        raise _no_settings(file)
    return settings


def _list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, kind) for one in value)


def resolved_of(run: Path) -> dict[str, Any]:
    """Return the settings of a study that ``run`` was computed with; empty where it does not hold them.

    Raises GroundscopeError for a file that does not hold all that a study has.
    """
    settings = settings_of(run)
    if settings and not ("source" in settings.get("corpus", {}) and settings.get("models")):
        raise _no_settings(run / "resolved.json")
    return settings


def _no_settings(file: Path) -> GroundscopeError:
    return GroundscopeError(f"{file} does not hold the settings of a study. Run the experiment again.")


def provenance_of(run: Path) -> dict[str, Any]:
    """Return how ``run`` came to be; empty where it does not say.

    Raises GroundscopeError for a file whose versions, machine or seconds are no lists by name.
    """
    file = run / "provenance.json"
    provenance = object_in(file) if file.is_file() else {}
    by_name = all(isinstance(provenance.get(name, {}), dict) for name in ("versions", "machine", "seconds"))
    told = by_name and isinstance(provenance.get("commit", ""), str)
    if not told or not all(isinstance(spent, int | float) for spent in provenance.get("seconds", {}).values()):
        raise GroundscopeError(f"{file} does not say how a study was run. Delete it, or run the study again.")
    return provenance


def card_of(run: Path) -> dict[str, Any]:
    """Return the card of the corpus of ``run``; empty where it does not hold it.

    Raises GroundscopeError for a file that says otherwise than by name how the corpus was read.
    """
    file = run / "corpus" / CARD
    card = object_in(file) if file.is_file() else {}
    provenance = card.get("provenance", {})
    if not isinstance(provenance, dict) or not isinstance(provenance.get("options", {}), dict):
        raise GroundscopeError(f"{file} does not say how a corpus was built. Delete it, or run the study again.")
    return card


def object_in(file: Path) -> dict[str, Any]:
    """Read a JSON object; raises GroundscopeError for anything else."""
    try:
        found = read_json(file)
    except RecursionError:  # thousands of brackets
        found = None
    if not isinstance(found, Mapping):
        raise GroundscopeError(f"{file} should hold a JSON object. Delete it and run again.")
    return dict(found)
