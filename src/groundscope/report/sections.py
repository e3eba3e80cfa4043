"""The page's sections in order: what each shows, built from a run, and what it says where nothing was measured."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from groundscope.corpus.utterance import Channel
from groundscope.report.claims_of_run import claims_of
from groundscope.report.content import Content, Section
from groundscope.report.figures import R2_MEASURES, gain_figure, loss_figure, r_squared_figure, surprisal_figure
from groundscope.report.numbers import percent
from groundscope.report.run import LINKED, Run, World
from groundscope.report.sections_behaviour import CONTROLS, FRAMES
from groundscope.report.sections_dose import DOSE
from groundscope.report.sections_generality import EMERGENCE, KINDS, SEEDS
from groundscope.report.sections_mechanism import MECHANISM_SECTIONS
from groundscope.report.sections_pictures import PICTURE_SECTION
from groundscope.report.sections_prompts import PROMPTS
from groundscope.report.seeds import unfinished
from groundscope.report.words import word_arrays


def _summary(run: Run) -> Content:
    return Content(
        {
            "claims": claims_of(run),
            "left": Counter(name.split("/")[0] for name in run.left),
            "outdated": run.outdated,
            "unfinished": unfinished(run.tables["evidence"]) if run.evidence is not None else [],
            "confidence": percent(run.confidence, 0),
            "negligible": run.negligible,
        }
    )


def _surprisal(run: Run) -> Content | None:
    if run.evidence is None:
        return None
    uniform = math.log(run.card.vocabulary_size) if run.card and run.card.vocabulary_size else None
    reach, axis = _surprisal_reach(run.evidence, uniform), run.axis
    measured = _archs(run.evidence)
    return Content(
        {"archs": measured, "uniform": uniform, "vocabulary_size": run.card.vocabulary_size if run.card else None},
        {
            f"surprisal-{index}": surprisal_figure(run.evidence, arch, run.marks[arch], axis, reach, uniform)
            for index, arch in enumerate(measured)
        },
    )


def _gain(run: Run) -> Content | None:
    if run.evidence is None:
        return None
    figure = gain_figure(run.evidence, run.marks, run.axis)
    rows = {arch: run.evidence.filter(arch=arch).to_dicts() for arch in _archs(run.evidence)}
    return Content({"rows": rows, "test": run.tables["evidence"]["test"][0]}, {"gain": figure})


def _cooccurrence(run: Run) -> Content | None:
    if run.evidence is None or run.evidence["r2_log"].drop_nulls().is_empty():
        return None
    return Content(
        {
            "n_words": run.evidence["n_words"].max(),
            "measures": R2_MEASURES,
            "explorer": run.main_gain is not None,
        },
        {"r-squared": r_squared_figure(run.evidence, run.marks, run.axis)},
        {"rSquared": _r_squared_by_seed(run.tables["evidence"])},
    )


def _words(run: Run) -> Content | None:
    gain = run.main_gain
    if gain is None:
        return None
    return Content({"n_words": gain["word"].n_unique(), "archs": _archs(gain)}, data={"words": word_arrays(gain)})


def _loss(run: Run) -> Content | None:
    if run.loss is None:
        return None
    ends = {arch: run.loss.filter(arch=arch).row(-1, named=True) for arch in _archs(run.loss)}
    return Content({"ends": ends}, {"loss": loss_figure(run.loss, run.marks, run.axis)})


def _corpus(run: Run) -> Content | None:
    if run.card is None:
        return None
    words = {channel.value: run.card.words(channel) for channel in Channel}
    return Content({"card": run.card, "words": words})


def _settings(run: Run) -> Content | None:
    if run.study_text is None and not run.resolved:
        return None
    kept = {key: value for key, value in run.resolved.items() if key not in ("name", "description", "models")}
    models = {f"model {name}": settings for name, settings in run.resolved.get("models", {}).items()}
    return Content({"study_text": run.study_text, "settings": grouped({**models, **kept})})


def _provenance(run: Run) -> Content | None:
    if not run.provenance:
        return None
    evidence = run.table("evidence")
    identity = ("arch", "seed", "step", "weight_hash")
    about = {key: value for key, value in run.provenance.items() if key != "seconds"}
    return Content(
        {
            "provenance": grouped({**about, "page written by": f"groundscope {run.version}", **_content_hash(run)}),
            "seconds": _seconds_by_kind(run.seconds),
            "checkpoints": [] if evidence is None else evidence.select(identity).unique().sort(identity).rows(),
        }
    )


def _tables(run: Run) -> Content | None:
    linked = [(schema, run.heights[schema.name]) for schema in LINKED if schema.name in run.heights]
    return Content({"tables": linked}) if linked else None


def grouped(tree: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Write nested settings as (section, pairs of name and value); a plain value is a pair without a name."""
    return [
        (key, flattened(value) if isinstance(value, Mapping) else [("", _shown(value))]) for key, value in tree.items()
    ]


def flattened(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Write nested settings as pairs of dotted name and value, in their order; empty sections vanish."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        rows += flattened(value, f"{name}.") if isinstance(value, Mapping) else [(name, _shown(value))]
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _archs(table: pl.DataFrame) -> list[str]:
    return [str(arch) for arch in table["arch"].unique().sort()]


def _surprisal_reach(evidence: pl.DataFrame, uniform: float | None) -> tuple[float, float]:
    """One y axis for all models: from the lowest to the highest seed, the uniform guess included."""
    columns = [f"{name}_seed_{end}" for name in ("match_nats", "mismatch_nats") for end in ("low", "high")]
    values = [value for column in columns for value in evidence[column].drop_nulls()] + [uniform or 0.0] * bool(uniform)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low or 1.0)
    return round(low - margin, 3), round(high + margin, 3)


def _r_squared_by_seed(evidence: pl.DataFrame) -> list[list[Any]]:
    """Rows (direction, arch, seed, step, each R-squared) for the explorer, which shows one seed at a time."""
    columns = ("direction", "arch", "seed", "step", *(f"r2_{measure}" for measure in R2_MEASURES))
    finite = evidence.select(columns).with_columns(pl.selectors.float().fill_nan(None).round(4))
    return [[str(value) if at < 2 else value for at, value in enumerate(row)] for row in finite.rows()]


def _content_hash(run: Run) -> dict[str, str]:
    return {"corpus hash": run.card.content_hash} if run.card else {}


def _seconds_by_kind(seconds: Mapping[str, float]) -> list[tuple[str, int, float]]:
    """(kind of cell, cells, seconds in sum), in the order in which they were planned."""
    kinds: dict[str, list[float]] = {}
    for name, value in seconds.items():
        kinds.setdefault(name.split("/")[0], []).append(value)
    return [(kind, len(values), sum(values)) for kind, values in kinds.items()]


SECTIONS = (
    Section("summary", "What was found", "", _summary),
    Section("surprisal", "Surprisal with and without the matching scene", "table evidence", _surprisal),
    Section("gain", "Grounding information gain", "table evidence", _gain),
    Section("cooccurrence", "Is it only co-occurrence?", "the regression columns of table evidence", _cooccurrence),
    PICTURE_SECTION,
    CONTROLS,
    DOSE,
    FRAMES,
    SEEDS,
    KINDS,
    Section("words", "Word by word", "table gain", _words),
    EMERGENCE,
    *MECHANISM_SECTIONS,
    PROMPTS,
    Section("loss", "Training", "table loss", _loss),
    Section("corpus", "Corpus", "corpus/card.json", _corpus, World.TEXT),
    Section("settings", "Settings", "study.yaml", _settings),
    Section("provenance", "Provenance", "provenance.json", _provenance),
    Section("tables", "Tables", "tables/", _tables),
)
