"""The page's viewer of single prompts: every token with what flows from it into the prediction."""

from typing import Any

import polars as pl

from groundscope.mechanism.prompt_saliency import PROMPT_SALIENCY
from groundscope.report.content import Content, Section
from groundscope.report.run import Run, World

UNIT = 1e-4  # nats per whole number that is embedded: finer than a shade that an eye can tell


def prompt_data(table: pl.DataFrame, archs: tuple[str, ...]) -> dict[str, Any]:
    """Lay table `PROMPT_SALIENCY` out by model: ``steps``, ``layers`` and ``prompts``, whose ``flow`` is
    ``[step][layer][token]`` in units of `UNIT` and whose ``surprisal`` is ``[step]``."""
    return {arch: _of_model(table.filter(arch=arch)) for arch in archs if arch in set(table["arch"])}


def _of_model(rows: pl.DataFrame) -> dict[str, Any]:
    steps, layers = (rows[name].unique().sort().to_list() for name in ("step", "layer"))
    ordered = rows.sort("word", "context", "step", "layer", "position")
    prompts = []
    for (word, context), of_prompt in ordered.group_by("word", "context", maintain_order=True):
        first = of_prompt.filter(step=steps[0], layer=layers[0])
        size = first.height
        whole = (of_prompt["flow_nats"] / UNIT).round().cast(pl.Int64).to_list()
        flow = [whole[at : at + size] for at in range(0, len(whole), size)]
        prompts.append(
            {
                "word": word,
                "context": context,
                "tokens": first["token"].to_list(),
                "ground": first["ground"].arg_max(),
                "flow": [flow[at : at + len(layers)] for at in range(0, len(flow), len(layers))],
                "surprisal": of_prompt.unique("step", keep="first", maintain_order=True)["surprisal_nats"]
                .round(3)
                .to_list(),
            }
        )
    return {"steps": steps, "layers": layers, "prompts": prompts}


def _prompts(run: Run) -> Content | None:
    table = run.read(PROMPT_SALIENCY)
    if table.is_empty():
        return None
    data = prompt_data(table, run.archs)
    return Content({"seeds": table["seed"].unique().sort().to_list()}, data={"prompts": data, "promptUnit": UNIT})


PROMPTS = Section("prompts", "Single prompts", "table prompt_saliency", _prompts, World.TEXT)
