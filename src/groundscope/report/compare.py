"""Several runs on one page: where their studies differ, what each found, and their curves in the same figures."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any
from urllib.parse import quote

import polars as pl

from groundscope.errors import StudyError
from groundscope.files import atomic_file
from groundscope.report.claims_of_run import claims_of
from groundscope.report.content import Content, Section
from groundscope.report.findings import Claim
from groundscope.report.numbers import listing, percent
from groundscope.report.page import render
from groundscope.report.run import Run, open_run
from groundscope.report.sections import SECTIONS
from groundscope.report.seeds import unfinished
from groundscope.tables import TableSchema

SHARED = ("surprisal", "gain", "cooccurrence", "words", "saliency", "cause", "lens", "loss")
"""The sections that show several runs as well as one: the tables that they read name a model in each row."""

JOINED = ("conclusions", "evidence", "gain", "loss")


@dataclass(frozen=True)
class JoinedRun(Run):
    """The models of several runs, each under its run's name; ``runs`` are read for what single sections want."""

    runs: Mapping[str, Run] = field(default_factory=dict)

    def read(self, schema: TableSchema) -> pl.DataFrame:
        """Join a table of all runs."""
        return pl.concat([_under_its_run(name, run.read(schema)) for name, run in self.runs.items()])


def write_comparison(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write a page on several runs; default: ``report/compare-with-NAME.html`` of the first. Returns its path.

    Runs are called A, B, ... and a model of run A is ``A transformer-4``: names at the ends of lines have little room.
    Verdicts are each run's own: no test is taken across runs. Raises StudyError for a run that is given twice, and for
    more runs than there are letters.
    """
    if len(folders) > len(ascii_uppercase):
        raise StudyError(f"{len(folders)} runs are too many for one page. Compare at most {len(ascii_uppercase)}.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise StudyError("A run is given twice. Name each run that is to be compared once.")
    runs = dict(zip(ascii_uppercase, map(open_run, folders), strict=False))
    others = "-and-".join(folder.resolve().name for folder in folders[1:])
    page = out or folders[0] / "report" / f"compare-with-{others}.html"
    sections = (
        Section(
            "differences", "What differs", "", lambda _: Content({"rows": differences(runs), "runs": called(runs)})
        ),
        Section("summary", "What was found", "", lambda _: _summary(runs)),
        *(section for section in SECTIONS if section.key in SHARED),
    )
    links = quote(Path(os.path.relpath(folders[0].resolve(), page.resolve().parent)).as_posix())
    with atomic_file(page) as temporary:
        temporary.write_text(render(joined_run(runs), links, sections), encoding="utf-8")
    return page


def called(runs: Mapping[str, Run]) -> list[str]:
    """Return each run's letter and folder: ``A: toyworld``."""
    return [f"{letter}: {run.folder.resolve().name}" for letter, run in runs.items()]


def joined_run(runs: Mapping[str, Run]) -> Run:
    """Return one run that holds the models of all, each under its run's name."""
    models = {
        renamed(name, model): settings
        for name, run in runs.items()
        for model, settings in run.resolved.get("models", {}).items()
    }
    order = pl.Enum([renamed(name, arch) for name, run in runs.items() for arch in run.archs])
    tables: dict[str, pl.DataFrame] = {}
    for shown in JOINED:
        parts = [
            _under_its_run(name, table)
            for name, run in runs.items()
            if (table := run.conclusions if shown == "conclusions" else run.tables.get(shown)) is not None
        ]
        if parts:
            tables[shown] = pl.concat(parts, how="diagonal_relaxed").with_columns(pl.col("arch").cast(order))
    first = next(iter(runs.values()))
    return JoinedRun(
        folder=first.folder,
        study_text=None,
        resolved={
            "name": listing([run.name for run in runs.values()]),
            "models": models,
            "statistics": dict(first.statistics),
            "behaviour": first.resolved.get("behaviour", {}),
            "mechanism": first.resolved.get("mechanism"),
            "description": f"{'; '.join(called(runs))}. Verdicts and intervals are each run's own.",
        },
        provenance={},
        card=None,
        tables=tables,
        heights={},
        runs=runs,
    )


def differences(runs: Mapping[str, Run]) -> list[tuple[str, list[str]]]:
    """Return (setting, its value in each run) for every setting, size and version that is not the same in all.

    A run keeps its settings with its tables: those of one that has none yet are not known.
    """
    facts = [
        (_flat({**run.resolved, **_made_of(run)}), "–" if run.resolved else "not known yet") for run in runs.values()
    ]
    keys = list(dict.fromkeys(key for fact, _ in facts for key in fact))
    rows = [(key, [fact.get(key, lacking) for fact, lacking in facts]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1 and key not in ("name", "description")]


def renamed(run: str, arch: str) -> str:
    """Name a model of a run among those of others."""
    return f"{run} {arch}"


def _under_its_run(name: str, table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.format("{} {}", pl.lit(name), pl.col("arch").cast(pl.String)).alias("arch"))


def _made_of(run: Run) -> dict[str, Any]:
    card = run.card
    corpus = (
        {"content": card.content_hash[:12], "tokens": card.tokens, "vocabulary": card.vocabulary_size} if card else {}
    )
    return {"corpus built": corpus, "versions": run.provenance.get("versions", {})}


def _summary(runs: Mapping[str, Run]) -> Content:
    found = {name: claims_of(run) for name, run in runs.items()}
    together = [
        replace(same[0], statements=tuple(statement for claim in same for statement in claim.statements))
        for same in zip(*(_under(name, of_run) for name, of_run in found.items()), strict=True)
    ]
    ended = [
        (renamed(name, arch), seed, step, last)
        for name, run in runs.items()
        if "evidence" in run.tables
        for arch, seed, step, last in unfinished(run.tables["evidence"])
    ]
    first = next(iter(runs.values()))
    return Content(
        {
            "claims": together,
            "left": Counter(f"{cell.split('/')[0]} of {name}" for name, run in runs.items() for cell in run.left),
            "outdated": [f"{table} of {name}" for name, run in runs.items() for table in run.outdated],
            "unfinished": ended,
            "confidence": percent(first.confidence, 0),
            "negligible": first.negligible,
        }
    )


def _under(name: str, of_run: list[Claim]) -> list[Claim]:
    return [
        replace(
            claim,
            statements=tuple(
                replace(statement, arch=renamed(name, statement.arch))
                if statement.arch
                else replace(statement, sentence=f"{name}: {statement.sentence}")
                for statement in claim.statements
            ),
        )
        for claim in of_run
    ]


def _flat(value: Any, above: str = "") -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {above: str(value)}
    parts = [_flat(part, f"{above}.{name}".lstrip(".")) for name, part in value.items()]
    return {key: text for part in parts for key, text in part.items()}
