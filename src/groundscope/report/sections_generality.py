"""Sections of the page on whether the effect holds for other seeds, contexts, kinds of words, and for single words."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import polars as pl

from groundscope.progress import counted
from groundscope.report.content import Content, Section
from groundscope.report.figures_behaviour import ages_figure, curves_figure, emergence_figure, forest_figure
from groundscope.report.findings import FORWARD
from groundscope.report.forest import FINAL_GAIN, forest_rows, height_of
from groundscope.report.numbers import listing, nats, whole
from groundscope.report.run import Run, World
from groundscope.report.seeds import at_the_end


def _seeds(run: Run) -> Content | None:
    replication, gain = run.table("replication"), run.main_gain
    if replication is None or gain is None or run.evidence is None:
        return None
    per_seed = gain.group_by("arch", "direction", "seed", "step").agg(pl.col("gain_nats").mean())
    figure = curves_figure(_with_tokens(run, replication), run.marks, run.axis, seeds=per_seed)
    last = at_the_end(replication).filter(direction=FORWARD).sort("arch")
    crossed = run.table("crossed")
    found = [{**row, **_crossed_at_the_end(run, crossed, row["arch"])} for row in last.iter_rows(named=True)]
    return Content({"rows": found, "n_seeds": max(replication["n_seeds"])}, {"seeds": figure})


def _crossed_at_the_end(run: Run, crossed: pl.DataFrame | None, arch: str) -> dict[str, Any]:
    """Words and contexts as crossed random effects: the weakest of the seeds, and how far each of the two scatters."""
    if crossed is None:
        return {}
    own = crossed.filter((pl.col("arch") == arch) & (pl.col("direction") == FORWARD) & (pl.col("kind") == run.kind))
    own = at_the_end(own)
    if own.is_empty():
        return {}
    return {
        "n_contexts": own["n_contexts"].max(),
        "crossed_low": own["gain_low"].min(),
        "crossed_high": own["gain_high"].max(),
        "crossed_p": own["p"].max(),
        **{name: own[name].mean() for name in ("word_sd_nats", "context_sd_nats", "residual_sd_nats")},
    }


def _kinds(run: Run) -> Content | None:
    kinds, categories = run.table("kinds"), run.table("categories")
    if kinds is None or run.evidence is None:
        return None
    names = kinds["kind"].unique(maintain_order=True).to_list()
    names.sort(key=lambda name: (name != run.kind, name))
    figures = {}
    if len(names) > 1:
        ends = [v for name in ("gain_low", "gain_high") for v in kinds[name].drop_nulls()]
        margin = 0.05 * (max(ends) - min(ends) or 1)
        reach = (min(*ends, 0) - margin, max(ends) + margin)
        for name in names:
            rows = _with_tokens(run, kinds.filter(kind=name))
            figures[f"kind-{name}"] = curves_figure(rows, run.marks, run.axis, height=290, reach=reach)
    if categories is not None:
        last = at_the_end(categories)
        rows = forest_rows(last, pl.col("category"))
        lines = [
            line
            for kind in names
            for line in (f"{kind}s", *_ordered_categories(last.filter(kind=kind)))
            if last.filter(kind=kind).height
        ]
        figures["categories"] = forest_figure(lines, [f"{kind}s" for kind in names], rows, run.marks, FINAL_GAIN)
    n_words = {kind: max(kinds.filter(kind=kind)["n_words"]) for kind in names}
    return Content(
        {
            "kinds": names,
            "n_words": n_words,
            "reading": _reading_of_kinds(kinds, names),
            "categories": height_of(figures["categories"]) if categories is not None else None,
        },
        figures,
    )


def _ordered_categories(rows: pl.DataFrame) -> list[str]:
    forward = rows.filter(direction=FORWARD)
    means = (forward if forward.height else rows).group_by("category").agg(pl.col("gain_nats").mean())
    return means.sort("gain_nats", descending=True)["category"].to_list()


def _reading_of_kinds(kinds: pl.DataFrame, names: Sequence[str]) -> str:
    last = at_the_end(kinds).filter(direction=FORWARD)
    said = []
    for (arch,), rows in last.sort("arch").group_by("arch", maintain_order=True):
        found = {row["kind"]: row for row in rows.iter_rows(named=True)}
        gains = [f"{nats(found[name]['gain_nats'])} for {name}s" for name in names if name in found]
        said.append(f"{listing(gains)} in {arch}")
    return f"At the last checkpoint G is {'; '.join(said)}." if len(names) > 1 and said else ""


def _emergence(run: Run) -> Content | None:
    words = run.table("word_emergence")
    if words is None or run.evidence is None:
        return None
    checkpoints = run.evidence.select("arch", "direction", "step", "tokens_seen")
    begins = pl.col("emergence_step")
    shares = (
        words.join(checkpoints, on=["arch", "direction"])
        .group_by("arch", "direction", "step", "tokens_seen")
        .agg((begins <= pl.col("step")).fill_null(False).mean().alias("share"), pl.len().alias("n_words"))
        .sort("arch", "direction", "step")
    )
    figures = {"emergence": emergence_figure(shares, run.marks, run.axis)}
    known = words.drop_nulls("age_months")
    archs = [str(arch) for arch in known["arch"].unique().sort()]
    for number, arch in enumerate(archs):
        figures[f"ages-{number}"] = ages_figure(known, arch, run.marks[arch], run.axis)
    children = run.table("acquisition")
    agreement = [] if children is None else children.filter(direction=FORWARD).to_dicts()
    forward = words.filter(direction=FORWARD).sort("arch", begins.fill_null(2**62), "word")
    return Content(
        {
            "reading": _reading_of_emergence(forward),
            "words": {str(arch): rows.to_dicts() for (arch,), rows in forward.group_by("arch", maintain_order=True)},
            "ages": archs,
            "agreement": agreement,
        },
        figures,
    )


def _reading_of_emergence(words: pl.DataFrame) -> str:
    said = []
    for (arch,), rows in words.group_by("arch", maintain_order=True):
        grounded = rows.drop_nulls("emergence_step")
        middle = f", half of them by step {whole(median(grounded['emergence_step']))}" if grounded.height else ""
        said.append(f"{grounded.height} of {counted(rows.height, 'word')} in {arch}{middle}")
    return f"Grounded within training: {'; '.join(said)}." if said else ""


def _with_tokens(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    assert run.evidence is not None
    tokens = run.evidence.select("arch", "step", "tokens_seen").unique(["arch", "step"])
    return rows.join(tokens, on=["arch", "step"], how="left", maintain_order="left")


SEEDS = Section("seeds", "Seeds, words and contexts as samples", "table replication", _seeds, World.TEXT)
KINDS = Section("kinds", "Kinds and categories of words", "table kinds", _kinds, World.TEXT)
EMERGENCE = Section("emergence", "When each word is grounded", "table word_emergence", _emergence, World.TEXT)
