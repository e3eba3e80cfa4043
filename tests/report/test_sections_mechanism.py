"""The page's sections on mechanism, from tables that tiny models of each kind really gave."""

import base64
import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch

from groundscope.mechanism.causal import CausalOptions
from groundscope.mechanism.causal_table import CAUSAL, CAUSAL_FAMILY, CAUSAL_WORDS, adjust_over_checkpoints
from groundscope.mechanism.conclusions import (
    LENS_CONCLUSIONS,
    MECHANISM_CONCLUSIONS,
    lens_conclusions,
    mechanism_conclusions,
)
from groundscope.mechanism.criteria import CriterionOptions
from groundscope.mechanism.head_tables import SALIENCY_MAPS
from groundscope.mechanism.keep import KEEP, KEEP_FAMILY
from groundscope.mechanism.lens import LogitLens, lens_surprisal
from groundscope.mechanism.lens_table import LENS, lens_table
from groundscope.mechanism.measure import TABLES, MechanismOptions, measure
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.study_prompts import MECHANISM_PROMPTS
from groundscope.models import GroundedLMConfig, GroundedLSTMConfig, build
from groundscope.report import head_maps
from groundscope.report.findings import Verdict
from groundscope.report.findings_mechanism import mechanism_claims
from groundscope.report.page import write_page
from groundscope.report.run import open_run
from groundscope.report.sections_mechanism import (
    MECHANISM_SECTIONS,
    cause_content,
    heads_content,
    lens_content,
    saliency_content,
)
from groundscope.tables import write_table

WORDS = ("horse", "dog", "cup", "ball")
STEPS = (0, 1500)
TOKENS = "<CHI> sees<ENV> a<ENV> horse<ENV> <CHI> the<LAN>"
OPTIONS = MechanismOptions(
    criterion=CriterionOptions(threshold=0.3, sweep=(0.1, 0.5)),
    causal=CausalOptions(draws=2, permutations=99, resamples=100),
)
CONFIGS = {
    "transformer-4": GroundedLMConfig(vocab_size=30, mixers=("attention",) * 2, d_model=16, n_heads=2, dropout=0.0),
    "mamba2-4": GroundedLMConfig(vocab_size=30, mixers=("mamba2",) * 2, d_model=16, ssm_d_head=8, ssm_d_state=4),
    "lstm-4": GroundedLSTMConfig(vocab_size=30, n_layers=2, d_model=16),
}


def prompts() -> PromptBatch:
    ids = torch.tensor([[0, 5, 6, 10 + i, 0, 7] for i in range(4)])
    scene = torch.zeros(4, 6, dtype=torch.bool)
    scene[:, 1:4] = True
    return PromptBatch.with_ground_at(
        ids, torch.arange(20, 24), torch.full((4,), 3), scene=scene, mismatch=ids.roll(1, 0)[:, None]
    )


@pytest.fixture(scope="module")
def tables() -> dict:
    parts: dict = {schema: [] for schema in (*TABLES, LENS)}
    batch, named = prompts(), dict(zip(range(20, 24), WORDS, strict=True))
    for arch, config in CONFIGS.items():
        for seed in (42, 142):
            final = None
            for step in reversed(STEPS):
                model = build(config, seed=seed + step)
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.add_(
                            0.4 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
                        )
                who = {"arch": arch, "seed": seed, "step": step, "tokens_seen": 2048 * step, "weight_hash": f"{step}"}
                found = measure(model.eval(), [batch], OPTIONS, who, final=final, words=named)
                final = found.heads_found
                for schema, frame in found.by_schema().items():
                    parts[schema].append(frame)
                whole = batch.with_mismatches()
                reading = lens_surprisal(model, LogitLens.from_model(model), whole.input_ids, whole.targets)
                conditions, words = ["match", "mismatch"] * 4, [word for word in WORDS for _ in range(2)]
                parts[LENS].append(lens_table({"logit": reading}, conditions, words, who))
    found = {schema: pl.concat(frames) for schema, frames in parts.items()}
    found[CAUSAL] = adjust_over_checkpoints([found[CAUSAL]], CAUSAL_FAMILY)
    found[KEEP] = adjust_over_checkpoints([found[KEEP]], KEEP_FAMILY) if len(found[KEEP]) else found[KEEP]
    found[MECHANISM_CONCLUSIONS] = mechanism_conclusions(found[CAUSAL], found[CAUSAL_WORDS])
    found[LENS_CONCLUSIONS] = lens_conclusions(found[LENS])
    row = {"context": "c", "tokens": TOKENS, "length": 6, "ground": 3, "mismatches": "dog"}
    found[MECHANISM_PROMPTS] = MECHANISM_PROMPTS.frame(
        [{"prompt": i, "word": word, **row} for i, word in enumerate(WORDS)]
    )
    return found


@pytest.fixture(scope="module")
def run(tables: dict, make_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "mechanism", archs=tuple(CONFIGS))
    for schema, frame in tables.items():
        write_table(folder / "tables" / f"{schema.name}.parquet", frame, schema)
    return folder


def test_the_page_holds_every_section_and_stays_small(run: Path) -> None:
    page = write_page(run).read_text(encoding="utf-8")
    assert len(page) < 7e6
    for section in MECHANISM_SECTIONS:
        body = page.split(f'<section id="{section.key}"')[1].split("</section>")[0]
        assert "Not measured" not in body, section.key
    assert "No heads in lstm-4" in page
    assert "Mamba-2 (mamba2-4)" in page
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', page, flags=re.DOTALL)[1])  # type: ignore[index]
    maps = data["headMaps"]["transformer-4"]
    assert maps["tokens"] == TOKENS.split()
    assert maps["steps"] == list(STEPS)
    assert set(data["headMaps"]) == {"transformer-4", "mamba2-4"}


def test_maps_are_those_of_the_table(run: Path, tables: dict) -> None:
    content = heads_content(open_run(run))
    assert content is not None
    maps = content.data["headMaps"]["mamba2-4"]
    row = tables[SALIENCY_MAPS].filter(arch="mamba2-4", seed=42, step=1500, name=maps["heads"][1])
    expected = row["saliency_nats"][0].to_list()
    packed, entries = maps["maps"][1], 6 * 7 // 2
    assert packed["nats"][1] == pytest.approx(max(expected), rel=1e-2)
    shown = list(base64.b64decode(packed["bytes"])[entries : 2 * entries])
    triangle = [expected[6 * query + key] for query in range(6) for key in range(query + 1)]
    assert shown == pytest.approx([255 * value / max(expected) for value in triangle], abs=0.51)


def test_many_large_maps_are_shown_at_fewer_checkpoints(
    run: Path, tables: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = tables[SALIENCY_MAPS]
    steps = pl.DataFrame({"step": range(0, 1000, 50)}, schema={"step": pl.Int64})
    dense = maps.filter(step=0).drop("step").join(steps, how="cross").select(maps.columns)
    assert {len(model["steps"]) for model in head_maps.head_maps(dense, {}).values()} == {head_maps.MOST_STEPS}
    monkeypatch.setattr(head_maps, "BUDGET", 1100)
    shown = head_maps.head_maps(dense, {})
    assert {(model["steps"][0], model["steps"][-1], len(model["steps"])) for model in shown.values()} == {(0, 950, 3)}
    assert sum(len(step["bytes"]) for model in shown.values() for step in model["maps"]) <= 1100


def test_seeds_are_averaged(run: Path, tables: dict) -> None:
    content = cause_content(open_run(run))
    assert content is not None
    (first, last) = content.variables["tables"]["transformer-4"]["aggregate"]
    rows = tables[CAUSAL].filter(arch="transformer-4", role="aggregate", control="random", step=1500)
    assert (first["step"], last["step"]) == STEPS
    assert last["intervention_nats"] == pytest.approx(rows["intervention_nats"].mean())
    assert last["p_holm"] == rows["p_holm"].max()
    assert "lstm-4" not in content.variables["tables"]


def test_effects_are_drawn_in_the_same_order_each_time(run: Path) -> None:
    drawn = [cause_content(open_run(run)) for _ in range(5)]
    assert len({content.figures["effect"].to_json() for content in drawn if content is not None}) == 1


def test_the_lens_table_reads_the_lens(run: Path, tables: dict) -> None:
    content = lens_content(open_run(run))
    assert content is not None
    table = content.variables["tables"]["lstm-4"]
    expected = tables[LENS].filter(arch="lstm-4", step=1500, condition="match", layer=2)["surprisal_nats"].mean()
    assert table["rows"][-1][1][-1] == pytest.approx(expected)
    assert table["names"] == ["embedding", "after L0", "output"]


def test_a_removal_that_did_nothing_is_said(run: Path, tables: dict, tmp_path: Path) -> None:
    said = "no heads found in any prompt, so nothing was removed"
    last = (
        (pl.col("arch") == "mamba2-4") & (pl.col("role") == "gather") & (pl.col("step") == tables[CAUSAL]["step"].max())
    )
    causal = tables[CAUSAL].with_columns(pl.when(last).then(pl.lit(said)).otherwise(pl.lit("changed")).alias("effect"))
    shutil.copytree(run, tmp_path / "run")
    write_table(tmp_path / "run" / "tables" / "causal.parquet", causal, CAUSAL)
    page = write_page(tmp_path / "run").read_text(encoding="utf-8")
    for seed in (42, 142):
        assert page.count(f"mamba2-4, gather heads, seed {seed} at step 1,500: {said}.") == 1
    assert "transformer-4, gather heads, seed" not in page


def test_a_run_that_holds_its_mechanism_alone_has_a_page(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    for name in ("evidence", "loss"):
        (tmp_path / "run" / "tables" / f"{name}.parquet").unlink()
    assert 'data-figure="effect"' in write_page(tmp_path / "run").read_text(encoding="utf-8")


def test_shares_and_maps_are_drawn_for_models_with_heads(run: Path) -> None:
    content = saliency_content(open_run(run))
    assert content is not None
    assert content.variables["archs"] == ["transformer-4", "mamba2-4"]
    assert len(content.figures["saliency-0"].data[0].z) == 2


def test_nothing_measured_is_said(plain_run: Path) -> None:
    run = open_run(plain_run)
    assert all(section.build(run) is None for section in MECHANISM_SECTIONS)


def conclusion(claim: str, against: str, estimate: float, holds: bool, note: str = "") -> dict:
    values = {"estimate": estimate, "ci_low": estimate - 0.1, "ci_high": estimate + 0.1, "p_holm": 0.01, "holds": holds}
    return {
        "arch": "t",
        "claim": claim,
        "against": against,
        "unit": "nats",
        "step": 100,
        "test": "x",
        "p": 0.01,
        "n_seeds": 2,
        "n_words": 30,
        "mean_count": 2.0,
        "note": note,
        **(dict.fromkeys(values) if note else values),
    }


def judged(**claims) -> dict[str, Verdict]:
    """``claims``: name -> (estimate, holds against random heads, holds against those of the same layers)."""
    rows = [
        conclusion(claim, control, estimate, holds)
        for claim, (estimate, *both) in claims.items()
        for control, holds in zip(("random", "layer-matched"), both, strict=True)
    ]
    found = mechanism_claims(MECHANISM_CONCLUSIONS.frame(rows), None)
    return {claim.title.split(":")[0]: claim.statements[0].verdict for claim in found}


def test_verdicts_follow_the_tests() -> None:
    quiet = {"gather_heads_do_not_matter": (0.0, True, True), "gather_heads_matter": (0.0, False, False)}
    strong = {"aggregate_heads_matter": (0.4, True, True), "aggregate_heads_carry_grounding": (0.3, True, False)}
    found = judged(**strong, **quiet)
    assert found["Aggregate heads matter"] is Verdict.HOLDS
    assert found["What is lost with them is grounding"] is Verdict.UNCLEAR
    assert found["Gather heads do not matter"] is Verdict.HOLDS
    small = (-0.06, True, True)  # up to 0.04 nats
    found = judged(aggregate_heads_matter=small, aggregate_heads_carry_grounding=small, **quiet)
    assert found["Aggregate heads matter"] is Verdict.NEGLIGIBLE
    assert found["What is lost with them is grounding"] is Verdict.NEGLIGIBLE
    loud = {"gather_heads_do_not_matter": (0.4, False, False), "gather_heads_matter": (0.4, True, True)}
    weak = {"aggregate_heads_matter": (-0.1, False, False), "aggregate_heads_carry_grounding": (-0.1, False, False)}
    found = judged(**weak, **loud)
    assert found["Aggregate heads matter"] is Verdict.FAILS
    assert found["Gather heads do not matter"] is Verdict.FAILS
    assert found["Grounding concentrates in the middle layers"] is Verdict.UNTESTED
    slight = {"gather_heads_do_not_matter": (0.04, False, False), "gather_heads_matter": (0.04, True, True)}
    assert judged(**weak, **slight)["Gather heads do not matter"] is Verdict.UNCLEAR, "a rise within the margin"


def test_a_model_without_heads_does_not_test_the_claims() -> None:
    rows = [
        conclusion(claim, control, 0.0, False, note="no heads: an LSTM has no mixing matrices")
        for claim in (
            "aggregate_heads_matter",
            "aggregate_heads_carry_grounding",
            "gather_heads_matter",
            "gather_heads_do_not_matter",
        )
        for control in ("random", "layer-matched")
    ]
    statements = [claim.statements[0] for claim in mechanism_claims(MECHANISM_CONCLUSIONS.frame(rows), None)[:3]]
    assert {statement.verdict for statement in statements} == {Verdict.UNTESTED}
    assert {statement.sentence for statement in statements} == {"No heads: an LSTM has no mixing matrices."}
