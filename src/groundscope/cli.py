"""The command line: parse, call, print. Whatever a person can mend is one line on stderr and exit status 2."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from groundscope import __version__
from groundscope.cli_corpus import Quiet, corpus_app, listed
from groundscope.cli_models import detect, inspect
from groundscope.errors import GroundscopeError, StudyError, did_you_mean
from groundscope.progress import Progress

_INPUT_ERRORS = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="When, where and by which mechanism symbol grounding emerges inside language models.",
    epilog="Start with: groundscope run     Then open the page that it names.",
)
app.add_typer(corpus_app, name="corpus")


class Engine(StrEnum):
    """Where the cells of a study are computed."""

    LOCAL = "local"
    RAY = "ray"


Choice = TypeVar("Choice", bound=StrEnum)
StudyFile = Annotated[
    Path | None,
    typer.Argument(help="Study file. Without one: the generated toy world.", metavar="[STUDY.yaml]"),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        envvar="GROUNDSCOPE_JOBS",
        help="Cells computed at once on this machine. Default: one per core, up to four, as far as memory goes; "
        "one with an accelerator.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads per cell. Default: this machine's cores, shared by the jobs.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a setting, e.g. training.steps=300.", metavar="KEY=VALUE"),
]


@app.command()
def run(
    study: StudyFile = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/NAME.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this kind, cell or pattern, and what it needs.")] = None,
    force: Annotated[list[str] | None, typer.Option(help="Recompute this kind, cell or pattern.")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Keep finished cells of this kind, name or pattern, though groundscope's code has changed."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be computed and why, on how much disk, for how long.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="Where cells are computed: on this machine, or on Ray.")
    ] = Engine.LOCAL,
    address: Annotated[
        str | None, typer.Option(help="Ray's cluster: auto (the default), HOST:PORT, or local to start one here.")
    ] = None,
    jobs: Jobs = None,
    threads: Threads = None,
    gpus: Annotated[
        float | None,
        typer.Option(min=0, help="With Ray: GPUs per cell that runs a model. Default: one, if any and not left alone."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run a study: corpus, training, measurements, tables and the page. Finished work is never done twice."""
    from groundscope.report.page import write_page
    from groundscope.study.executors import here, jobs_here, on_ray
    from groundscope.study.load import load_study
    from groundscope.study.run import plan_run, run_study
    from groundscope.study.selection import Selection

    ray = engine is Engine.RAY
    if ray and jobs:
        raise StudyError("--jobs is of this machine; Ray computes as many cells at once as it has room for.")
    if not ray and (address or gpus is not None):
        raise StudyError("--address and --gpus are Ray's: add --engine ray, or leave them out.")
    loaded = load_study(study, overrides or ())
    folder = out or Path("runs") / loaded.name
    selection = Selection(tuple(only or ()), tuple(force or ()), tuple(keep or ()))
    if dry_run:
        at_once = None if ray else lambda: jobs or jobs_here(loaded, folder)
        for line in plan_run(loaded, folder, write_page, selection, at_once):
            typer.echo(line)
        return
    make = (
        on_ray(loaded, address or "auto", threads, gpus, quiet) if ray else here(loaded, folder, jobs, threads, quiet)
    )
    page = run_study(loaded, folder, write_page, Progress(quiet=quiet), selection, make)
    if page:
        typer.echo(f"The page: {page}")


@app.command()
def validate(study: StudyFile = None, overrides: Overrides = None) -> None:
    """Check a study file without running it."""
    from groundscope.study.load import load_study
    from groundscope.study.run import describe

    for line in describe(load_study(study, overrides or ())):
        typer.echo(line)


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="An experiment. Without one: the list.", metavar="[NAME]")] = None,
    scale: Annotated[
        str, typer.Option(help="paper, or the name of a file in STUDIES/scales, such as small.")
    ] = "paper",
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. Default: where --page looks, RUNS/paper[-SCALE]/NAME.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write the page that holds all runs against the paper, after NAME if one is given.", metavar="OUT.html"
        ),
    ] = None,
    studies: Annotated[Path, typer.Option(help="Folder of the paper's study files.")] = Path("studies/paper"),
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    jobs: Jobs = None,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Reproduce the paper: list its experiments, run one, or write the page of published numbers beside ours."""
    from groundscope.reproduction import listing
    from groundscope.reproduction.experiments import check_runs, experiment, run_folder, scales
    from groundscope.reproduction.published import paper

    if name is None and (overrides or out):
        raise StudyError("--set and --out are about one experiment: name it. `groundscope reproduce` lists them.")
    if name is None and page and scale != "paper":
        raise StudyError("--scale is about one experiment or the list: a page has all scales, so leave it out.")
    if page:
        from groundscope.report.place import check_place

        check_place(page, ".html", "--page")
    check_runs(runs, studies, name)
    if name is None and page is None:
        from groundscope.reproduction.rate import measured_rate, recorded_rate

        rows = listing.listed(paper(), studies, runs, scale)
        rate = recorded_rate(runs) or measured_rate()
        typer.echo("\n".join(listing.lines(rows, scale, scales(studies), rate)))
        return
    if name is not None:
        from groundscope.report.page import write_page
        from groundscope.reproduction.run import run_experiment
        from groundscope.study.executors import here

        study = experiment(name, studies).study(scale, overrides or ())
        folder = out or run_folder(runs, scale, name)
        make = here(study, folder, jobs, threads, quiet)
        made = run_experiment(study, folder, runs, write_page, Progress(quiet=quiet), make)
        if made:
            typer.echo(f"The page: {made}")
    if page:
        from groundscope.report.reproduction import write_reproduction

        typer.echo(f"The page of all experiments: {write_reproduction(page, runs, studies)}")


@app.command(name="ls")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="Where runs are kept.")] = Path("runs"),
) -> None:
    """List runs and how far they are."""
    from groundscope.study.runs import list_runs as runs_in

    for line in runs_in(folder):
        typer.echo(line)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="A run's folder; several to compare them.", metavar="RUN...")],
    out: Annotated[Path | None, typer.Option(help="The page to write. Default: in the first run's folder.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the page of a run again from its tables, or one page that compares several runs."""
    from groundscope.report.compare import write_comparison
    from groundscope.report.page import write_page
    from groundscope.report.place import check_place
    from groundscope.study.runs import refuse_no_run

    for run in runs:
        refuse_no_run(run)
    if out:
        check_place(out, ".html")
    page = write_page(runs[0], out) if len(runs) == 1 else write_comparison(runs, out)
    typer.echo(f"The page: {page}")
    if open_page:
        typer.launch(page.resolve().as_uri())


@app.command()
def card(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    model: Annotated[str | None, typer.Argument(help="One of its models. Default: its only one.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: RUN/model-card.md.")] = None,
) -> None:
    """Write the card of a trained model: what it is, what it saw, what was measured, and the hashes of its weights."""
    from groundscope.report.model_card import write_model_card
    from groundscope.report.place import check_place
    from groundscope.study.runs import refuse_no_run

    refuse_no_run(run)
    if out:
        check_place(out, ".md")
    typer.echo(f"The card: {write_model_card(run, model, out or run / 'model-card.md')}")


@app.command()
def figures(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    formats: Annotated[str, typer.Option("--format", help="Any of pdf, svg, png, separated by commas.")] = "pdf",
    out: Annotated[Path | None, typer.Option(help="Where to put them. Default: RUN/figures.")] = None,
) -> None:
    """Draw the figures for print, one per claim of the paper that the run has measured."""
    from groundscope.report.paper.figures import parse_formats, write_figures
    from groundscope.report.run import open_run
    from groundscope.study.runs import refuse_no_run

    wanted = parse_formats(formats)
    refuse_no_run(run)
    opened = open_run(run)
    written, missing = write_figures(opened, out or run / "figures", wanted)
    for path in written:
        typer.echo(str(path))
    if missing:
        typer.echo(f"Not measured in this run, so not drawn: {', '.join(missing)}.", err=True)
    if opened.outdated:
        names = ", ".join(opened.outdated)
        typer.echo(f"Another version of groundscope wrote {names} with other columns: left out.", err=True)


@app.command()
def table(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    name: Annotated[str | None, typer.Argument(help="A table's name. Without one: the names.")] = None,
    form: Annotated[str, typer.Option("--format", help="latex, md or csv.")] = "md",
    columns: Annotated[str, typer.Option(help="Columns, separated by commas. Default: those a paper shows.")] = "",
    where: Annotated[list[str] | None, typer.Option(help="Only rows with this value.", metavar="COLUMN=VALUE")] = None,
    out: Annotated[Path | None, typer.Option(help="A file to write. Default: the terminal.")] = None,
) -> None:
    """Print a table of a run for a paper: LaTeX (booktabs), Markdown, or CSV with every column and digit."""
    from groundscope.files import atomic_file
    from groundscope.report.place import check_place
    from groundscope.report.run_tables import read_run_table, table_names
    from groundscope.report.table_text import SUFFIXES, TextFormat, selected, table_text
    from groundscope.study.runs import refuse_no_run

    refuse_no_run(run)
    if name is None:
        typer.echo("\n".join(table_names(run)))
        return
    wanted = _one_of(TextFormat, form, "--format")
    if out:
        check_place(out, SUFFIXES[wanted])
    everything = wanted is TextFormat.CSV
    rows = selected(read_run_table(run, name), name, listed(columns), where or (), all_columns=everything)
    text = table_text(rows, wanted)
    if out is None:
        typer.echo(text, nl=False)
        return
    with atomic_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


app.command()(inspect)
app.command()(detect)


def _one_of(choices: type[Choice], value: str, option: str) -> Choice:
    known = [choice.value for choice in choices]
    if value not in known:
        raise StudyError(f"{option} is one of {', '.join(known)}; given: '{value}'.{did_you_mean(value, known)}")
    return choices(value)


def _version(value: bool) -> bool:
    if value:
        typer.echo(f"groundscope {__version__}")
        raise typer.Exit
    return value


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 work failed, 2 the input is wrong, 130 interrupted."""
    try:
        app(args=arguments, prog_name="groundscope")
    except GroundscopeError as error:
        print(f"groundscope: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_status)
    except OSError as error:  # a file where a folder should be, no permission, a full disk
        print(f"groundscope: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, _INPUT_ERRORS) else 1)
