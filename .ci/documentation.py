"""The documentation's formulas, and its reference pages, written from the code: study file, commands, tables, errors.

MkDocs calls `on_files` and `on_page_content` (see mkdocs.yml); the pages exist in the built site alone.
"""

import html
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import groundscope
from groundscope import errors
from groundscope.cli import app
from groundscope.study.config import Study
from groundscope.tables import SCHEMAS

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
QUIET_KEYS = {"title", "description", "$defs"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages: Mapping[str, Callable[[], Iterator[str]]] = {
        "reference/study.md": study_page,
        "reference/cli.md": cli_page,
        "reference/tables.md": tables_page,
        "reference/errors.md": errors_page,
    }
    for name, lines in pages.items():
        files.append(File.generated(config, name, content="\n".join(lines())))
    return files


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write formulas as MathML, which browsers draw by themselves: nothing is fetched, nothing is run."""
    return FORMULA.sub(_formula, content)


def _formula(match: re.Match[str]) -> str:
    tex = html.unescape(match[3])
    return convert(tex, display="block" if match[2] == "[" else "inline")


def study_page() -> Iterator[str]:
    """Every key of a study file, section by section, from the models that check it."""
    schema = Study.model_json_schema()
    yield "# Study file\n"
    yield "Unknown keys are refused, with a suggestion. `--set a.b=value` replaces any of them on the command line."
    yield "This page is written from the models that check a study.\n"
    yield from _section("Study", schema)
    for name, section in schema["$defs"].items():
        if section.get("type") == "object":
            yield from _section(name, section)
        elif "enum" in section:
            yield f"\n## {name} {{ #{name.lower()} }}\n"
            yield f"One of {', '.join(f'`{value}`' for value in section['enum'])}."


def _section(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {name} {{ #{name.lower()} }}\n"
    yield _one_line(schema.get("description", ""))
    yield "\n| key | type | default | meaning |\n|---|---|---|---|"
    for key, field in schema.get("properties", {}).items():
        default = "required" if key in schema.get("required", ()) else _default(field.get("default"))
        yield f"| `{key}` | {_type(field)} | {default} | {_one_line(field.get('description', ''))} |"
    if schema.get("additionalProperties") is True:
        yield "\nAny other key is a setting of the preset."


def _default(value: Any) -> str:
    if isinstance(value, dict):
        return "see there"
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}…`"


def _type(field: Mapping[str, Any]) -> str:
    bounds = [
        f"{sign} {field[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in field
    ]
    return _bare_type(field) + (f" {', '.join(bounds)}" if bounds else "")


def _bare_type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in field:
            return " or ".join(dict.fromkeys(_type(part) for part in field[union]))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    match field.get("type"):
        case "array" if "prefixItems" in field:
            return f"list of {len(field['prefixItems'])}"
        case "array":
            return f"list of {_type(field['items'])}" if field.get("items") else "list"
        case "object":
            values = field.get("additionalProperties")
            return f"name → {_type(values)}" if isinstance(values, dict) else "mapping"
        case "null":
            return "none"
        case None:
            return "anything"
        case kind:
            return {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no"}[kind]


def cli_page() -> Iterator[str]:
    """Every command with its arguments and options, from the parser itself."""
    yield "# Command line\n"
    yield "Exit status: 0 done, 1 work failed (what was finished is kept), 2 the input is wrong, 130 stopped.\n"
    yield from _commands(typer.main.get_command(app), "groundscope")


def _commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if not children:
        yield f"\n## `{name}`\n\n{_one_line(command.help or '')}\n"
        yield "| | default | |\n|---|---|---|"
        for parameter in command.params:
            if parameter.name == "help":
                continue
            label = parameter.metavar or (parameter.name or "").upper()
            spelled = ", ".join(parameter.opts) if parameter.param_type_name == "option" else label
            default = "" if parameter.default in (None, False, ()) or callable(parameter.default) else parameter.default
            shown = f"`{getattr(default, 'value', default)}`" if str(default) else ""
            if parameter.required:
                shown = "required"
            yield f"| `{spelled}` | {shown} | {_one_line(getattr(parameter, 'help', '') or '')} |"
    for child, below in children.items():
        yield from _commands(below, f"{name} {child}")


def tables_page() -> Iterator[str]:
    """Every table that a run may have, from the schemas that writing checks."""
    for module in pkgutil.walk_packages(groundscope.__path__, "groundscope."):
        importlib.import_module(module.name)
    yield "# Tables\n"
    yield "Tidy Parquet in `RUN/tables/`: one observation per row, units in the column's name, surprisal in nats. A"
    yield "frame that does not match its schema is not written.\n"
    yield '```python\nimport polars as pl\n\npl.read_parquet("runs/toyworld/tables/gain.parquet")\n```\n'
    for name, schema in sorted(SCHEMAS.items()):
        yield f"\n## `{name}` {{ #{name} }}\n\nOne row: {schema.row}.\n\n| column | type | meaning |\n|---|---|---|"
        for column in schema.columns:
            yield f"| `{column.name}` | {column.dtype} | {_one_line(column.meaning)} |"


HINTS = {
    "StudyError": "Check the file with `groundscope validate STUDY.yaml`; the [study file](study.md) lists every key.",
    "CorpusError": "The line names the path. `groundscope corpus show DIR` prints what a built corpus holds.",
    "VocabularyError": "Look the form up in the corpus' `vocabulary.json`; forms are lower case unless told otherwise.",
    "TableError": "`groundscope table RUN` lists the tables there are; `groundscope run` makes what is missing.",
    "ModelError": "Offline machines need the model in Hugging Face's cache: load it once where there is a network.",
    "TrainingError": "Lower `learning_rate`, raise `accumulate` or keep fewer checkpoints; the same command goes on.",
    "StoppedError": "Nothing is lost: the same command goes on.",
    "RunError": "The same command does what failed and what waits for it. A defect leaves `RUN/CELL.error.txt`.",
}


def errors_page() -> Iterator[str]:
    """The kinds of errors, what they mean and what helps, from their classes."""
    yield "# Errors\n"
    yield "Whatever a person can mend is one line on stderr, without a traceback: what was asked, what was found, what"
    yield "to do.\n"
    yield "| error | exit status | meaning | what helps |\n|---|---|---|---|"
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.GroundscopeError):
            yield f"| `{name}` | {kind.exit_status} | {_one_line(kind.__doc__ or '')} | {HINTS.get(name, '')} |"


def _one_line(text: str) -> str:
    """Text that fits into a cell of a table, code marked as Markdown does, nothing taken for markup."""
    joined = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
    parts = joined.split("`")
    return "`".join(part if at % 2 else part.replace("<", "&lt;").replace("[", "\\[") for at, part in enumerate(parts))
