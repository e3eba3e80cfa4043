"""A run in a notebook: its tables as frames, its figures, its findings."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from groundscope.errors import StudyError, did_you_mean
from groundscope.report.run import Run, open_run
from groundscope.report.run_tables import read_run_table, table_names
from groundscope.study.runs import refuse_no_run, trainings

if TYPE_CHECKING:
    import polars as pl

    from groundscope.report.findings import Claim
    from groundscope.report.paper.canvas import PaperFigure
    from groundscope.trajectory.checkpoints import Trajectory


class RunHandle:
    """A run's folder: ``tables``, ``table(name)``, ``claims``, ``plot``, ``trajectory(model, seed)``.

    Everything is read when it is asked for, so that an unfinished run can be looked at while it grows.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def tables(self) -> list[str]:
        """The names of the tables that there are."""
        return table_names(self.folder)

    def table(self, name: str) -> "pl.DataFrame":
        """Read a table as a polars frame (``.to_pandas()`` if you prefer); TableError for one that is not there."""
        return read_run_table(self.folder, name)

    @property
    def plot(self) -> "Plots":
        """The figures for print."""
        return Plots(self._read())

    @property
    def claims(self) -> "list[Claim]":
        """The paper's claims, each with what was found for every model."""
        from groundscope.report.claims_of_run import claims_of

        return claims_of(self._read())

    def trajectory(self, model: str, seed: int) -> "Trajectory":
        """Open the checkpoints of one training; StudyError, with those there are, where the run has none such."""
        from groundscope.trajectory.checkpoints import Trajectory

        folder = self.folder / "train" / model / f"seed-{seed}"
        if not folder.is_dir():
            seeds = trainings(self.folder)
            there = "; ".join(f"{name} with seed {', '.join(map(str, of))}" for name, of in seeds.items())
            hint = "" if model in seeds else did_you_mean(model, seeds)
            raise StudyError(
                f"{self.folder} has no training of '{model}' with seed {seed}; it has {there or 'none'}.{hint}"
            )
        return Trajectory.open(folder)

    def page(self) -> Path:
        """Write the page from the tables and return its path."""
        from groundscope.report.page import write_page

        return write_page(self.folder)

    def _read(self) -> Run:
        return open_run(self.folder)

    def __repr__(self) -> str:
        """Name, size and tables."""
        run = self._read()
        return f"<run {run.name}: {'; '.join(run.facts) or 'nothing measured yet'}; {len(self.tables)} tables>"

    def _repr_html_(self) -> str:
        run = self._read()
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(claim.title)}</td>"
            f"<td style='text-align:left'>{escape(statement.arch)}</td>"
            f"<td style='text-align:left'>{escape(statement.verdict)}</td>"
            f"<td style='text-align:left'>{escape(statement.signs)}</td></tr>"
            for claim in self.claims
            for statement in claim.statements
        )
        facts = escape(" · ".join(run.facts) or "nothing measured yet")
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in ("claim", "model", "verdict", ""))
        return (
            f"<p><b>{escape(run.name)}</b> <small>{escape(str(self.folder))}</small><br>{facts}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p><small>tables: {escape(', '.join(self.tables) or 'none yet')}</small></p>"
        )


class Plots:
    """The figures for print of one run, each a `matplotlib.figure.Figure` that shows itself and can be saved.

    A method raises StudyError where the run has not measured what it would show.
    """

    def __init__(self, run: Run):
        self._run = run

    def surprisal(self) -> "PaperFigure":
        """Surprisal with the matching scene and with another."""
        return self._draw("surprisal")

    def gain(self) -> "PaperFigure":
        """Grounding information gain over training."""
        return self._draw("gain")

    def r2(self) -> "PaperFigure":
        """R-squared of the gain on co-occurrence."""
        return self._draw("r2")

    def saliency(self) -> "PaperFigure":
        """Saliency of layers over checkpoints."""
        return self._draw("saliency")

    def lens(self) -> "PaperFigure":
        """Surprisal by depth at the last checkpoint."""
        return self._draw("lens")

    def causal(self) -> "PaperFigure":
        """Surprisal without the aggregate heads and without others."""
        return self._draw("causal")

    def _draw(self, name: str) -> "PaperFigure":
        from groundscope.report.paper.figures import CLAIMS

        figure = next(claim for claim in CLAIMS if claim.name == name).draw(self._run)
        if figure is None:
            raise StudyError(f"{self._run.folder} has not measured what figure '{name}' shows. Run its study further.")
        return figure


def open_handle(folder: Path) -> RunHandle:
    """Open a run's folder; raises StudyError where there is none."""
    refuse_no_run(folder)
    return RunHandle(folder)
