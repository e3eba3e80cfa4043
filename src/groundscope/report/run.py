"""A finished or unfinished run, as the page reads it: whatever is there, and None for whatever is not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from groundscope import __version__
from groundscope.behaviour.acquisition import ACQUISITION, WORD_EMERGENCE
from groundscope.behaviour.audit import AUDIT, NEUTRAL_FRAMES
from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.contrasts import CONTRASTS, contrasts
from groundscope.behaviour.controls import CONTROL_EVIDENCE, CONTROLS
from groundscope.behaviour.dose import DOSE
from groundscope.behaviour.dose_tests import DOSE_CONCLUSIONS
from groundscope.behaviour.evidence import EVIDENCE
from groundscope.behaviour.generalisation import CATEGORIES, CROSSED, KINDS, REPLICATION
from groundscope.behaviour.layout import CONTEXTS
from groundscope.behaviour.measure import GAIN, SURPRISAL
from groundscope.behaviour.one_form import ONE_FORM
from groundscope.behaviour.pictures import PICTURES
from groundscope.behaviour.words import WORDS
from groundscope.corpus.card import CARD, CorpusCard, read_card
from groundscope.mechanism.causal_table import CAUSAL
from groundscope.mechanism.conclusions import LENS_CONCLUSIONS, MECHANISM_CONCLUSIONS
from groundscope.mechanism.lens_table import LENS, LENS_FIT
from groundscope.mechanism.measure import TABLES as MECHANISM_TABLES
from groundscope.mechanism.picture_saliency import PICTURE_SALIENCY, PICTURES_SHOWN
from groundscope.mechanism.prompt_saliency import PROMPT_SALIENCY
from groundscope.mechanism.study_prompts import MECHANISM_PROMPTS
from groundscope.progress import counted
from groundscope.report.findings import NEGLIGIBLE_NATS
from groundscope.report.numbers import compact, whole
from groundscope.report.seeds import evidence_over_seeds, loss_over_seeds
from groundscope.report.style import Mark, StepAxis, marks, step_axis
from groundscope.reproduction.run_files import provenance_of, settings_of
from groundscope.study.runs import cells_left
from groundscope.study.table_version import other_columns
from groundscope.tables import TableSchema, read_table
from groundscope.training.metrics import LOSS

SHOWN = (
    CONCLUSIONS,
    EVIDENCE,
    GAIN,
    LOSS,
    CONTROL_EVIDENCE,
    AUDIT,
    NEUTRAL_FRAMES,
    CONTEXTS,
    CROSSED,
    REPLICATION,
    CONTRASTS,
    KINDS,
    CATEGORIES,
    WORD_EMERGENCE,
    ACQUISITION,
    DOSE,
    DOSE_CONCLUSIONS,
    ONE_FORM,
    PICTURES,
)
LINKED = (
    *(*SHOWN, SURPRISAL, CONTROLS, WORDS),
    *(MECHANISM_CONCLUSIONS, *MECHANISM_TABLES, MECHANISM_PROMPTS, LENS_CONCLUSIONS, LENS, LENS_FIT),
    *(PROMPT_SALIENCY, PICTURE_SALIENCY, PICTURES_SHOWN),
)


class World(StrEnum):
    """What a study is about: words alone, or pictures and words."""

    TEXT = "text"
    PICTURES = "pictures"


@dataclass(frozen=True)
class Run:
    """What a run directory holds.

    ``tables`` are those that the page shows, with ``arch`` in the order of the study file; ``heights`` counts the rows
    of every table that the page links.
    """

    folder: Path
    study_text: str | None
    resolved: Mapping[str, Any]
    provenance: Mapping[str, Any]
    card: CorpusCard | None
    tables: Mapping[str, pl.DataFrame]
    heights: Mapping[str, int]
    left: Sequence[str] = ()
    """The cells of the study that are not done: they failed, or wait."""
    outdated: Sequence[str] = ()
    """The tables that another version of the program wrote, with other columns; they count as missing."""

    @property
    def name(self) -> str:
        """The study's name, else the folder's."""
        return str(self.resolved.get("name") or self.folder.resolve().name)

    @property
    def description(self) -> str:
        """What the study file says about itself."""
        return str(self.resolved.get("description", ""))

    @property
    def version(self) -> str:
        """Version of the program that writes the page."""
        return __version__

    @cached_property
    def archs(self) -> tuple[str, ...]:
        """The models of the study and any that only the tables know, in that order."""
        return _archs(self.resolved, self.tables.values())

    @cached_property
    def marks(self) -> dict[str, Mark]:
        """Colour and symbol of each model."""
        return marks(self.archs)

    @property
    def facts(self) -> list[str]:
        """The size of the run in a few phrases."""
        facts = []
        if self.evidence is not None:
            seeds = counted(self.tables["evidence"]["seed"].n_unique(), "seed")
            steps = self.evidence["step"]
            facts.append(f"{counted(self.evidence['arch'].n_unique(), 'model')}, {seeds} each")
            facts.append(f"{counted(steps.n_unique(), 'checkpoint')} up to step {whole(max(steps))}")
            facts.append(counted(max(self.evidence["n_words"]), "word"))
        if self.card:
            facts += [f"corpus of {compact(self.card.tokens)} tokens, vocabulary of {whole(self.card.vocabulary_size)}"]
        return facts

    @property
    def world(self) -> World:
        """What the models were shown."""
        corpus = self.resolved.get("corpus") or {}
        return World.PICTURES if "encoders" in corpus or "pictures" in self.tables else World.TEXT

    @property
    def recurrent(self) -> tuple[str, ...]:
        """The models that are the recurrent control."""
        models = self.resolved.get("models", {})
        return tuple(name for name in self.archs if str(models.get(name, {}).get("preset", "")).startswith("lstm"))

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds that each finished cell took."""
        return self.provenance.get("seconds", {})

    @property
    def statistics(self) -> Mapping[str, Any]:
        """How intervals and tests were computed: resamples, confidence and seed, as far as the study says."""
        return self.resolved.get("statistics", {})

    @property
    def confidence(self) -> float:
        """Level of the intervals in the tables."""
        return float(self.statistics.get("confidence", 0.95))

    @property
    def negligible(self) -> float:
        """The smallest effect that matters, in nats."""
        return float((self.resolved.get("mechanism") or {}).get("negligible_nats", NEGLIGIBLE_NATS))

    @cached_property
    def conclusions(self) -> pl.DataFrame | None:
        """Table ``conclusions``; drawn from table ``gain`` where the run does not have it, None without both."""
        if "conclusions" in self.tables:
            return self.tables["conclusions"]
        gain = self.main_gain
        return None if gain is None else conclusions(gain, **self.statistics)

    @cached_property
    def contrasts(self) -> pl.DataFrame | None:
        """Table ``contrasts``; drawn from table ``gain`` where the run does not have it, None without both."""
        if "contrasts" in self.tables:
            return self.tables["contrasts"]
        gain = self.main_gain
        return None if gain is None else contrasts(gain, confidence=self.confidence)

    @property
    def kind(self) -> str:
        """The kind of word that conclusions are about."""
        return str((self.resolved.get("behaviour", {}).get("kinds") or ["noun"])[0])

    @cached_property
    def main_gain(self) -> pl.DataFrame | None:
        """Table ``gain`` of the words that conclusions are about; None where it is missing or empty."""
        gain = self.table("gain")
        return None if gain is None else gain.filter(pl.col("kind") == self.kind)

    def table(self, name: str) -> pl.DataFrame | None:
        """A table that the page shows; None where it is missing or empty."""
        table = self.tables.get(name)
        return None if table is None or table.is_empty() else table

    def read(self, schema: TableSchema) -> pl.DataFrame:
        """Read one of the tables that only one section wants; empty where it is missing."""
        path = self.folder / "tables" / f"{schema.name}.parquet"
        there = path.is_file() and not any(other_columns(path, schema))
        return read_table(path, schema) if there else schema.frame([])

    @cached_property
    def evidence(self) -> pl.DataFrame | None:
        """Table ``evidence`` over seeds; None where it is missing or empty."""
        table = self.table("evidence")
        return None if table is None else evidence_over_seeds(table)

    @cached_property
    def axis(self) -> StepAxis:
        """The step axis of all figures: that of the checkpoints, else of the training steps, else of what there is."""
        shown = (self.evidence, self.table("loss"), self.table("pictures"))
        table = next((table for table in shown if table is not None), None)
        table = self.read(CAUSAL) if table is None else table
        return step_axis(table["step"], table["tokens_seen"])

    @cached_property
    def loss(self) -> pl.DataFrame | None:
        """Table ``loss`` over seeds, thinned; None where it is missing or empty."""
        table = self.table("loss")
        return None if table is None else loss_over_seeds(table, self.axis.unit)


def open_run(folder: Path) -> Run:
    """Read a run directory. Missing parts are None or empty; a damaged one raises the error that names it.

    A table with the columns of another version is missing, too, and `Run.outdated` names it: one table that changed
    must not take the page away from a run that was made before.
    """
    resolved = settings_of(folder)
    paths = {schema: folder / "tables" / f"{schema.name}.parquet" for schema in LINKED}
    there = {schema: path for schema, path in paths.items() if path.is_file()}
    outdated = [schema for schema, path in there.items() if any(other_columns(path, schema))]
    found = {schema: path for schema, path in there.items() if schema not in outdated}
    tables = {schema.name: read_table(path, schema) for schema, path in found.items() if schema in SHOWN}
    corpus = folder / "corpus"
    study = folder / "study.yaml"
    order = pl.Enum(_archs(resolved, tables.values()))
    return Run(
        folder=folder,
        study_text=study.read_text(encoding="utf-8", errors="replace") if study.is_file() else None,
        resolved=resolved,
        provenance=provenance_of(folder),
        card=read_card(corpus) if (corpus / CARD).is_file() else None,
        tables={name: table.with_columns(pl.col("^arch$").cast(order)) for name, table in tables.items()},
        heights={
            schema.name: pl.scan_parquet(path).select(pl.len()).collect().item() for schema, path in found.items()
        },
        left=cells_left(folder),
        outdated=[schema.name for schema in outdated],
    )


def _archs(resolved: Mapping[str, Any], tables: Iterable[pl.DataFrame]) -> tuple[str, ...]:
    found = {str(arch) for table in tables if "arch" in table.columns for arch in table["arch"].unique()}
    named = [str(name) for name in resolved.get("models", {})]
    behind = {arch.split(".")[0] for arch in found if "." in arch}  # pictures: a model is trained with each encoder
    named = [name for name in named if name in found or name not in behind]
    return (*named, *sorted(found - set(named)))
