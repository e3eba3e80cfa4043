"""The sections beside the main effect, on tables computed from made-up gains whose truth is known."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from groundscope.behaviour.acquisition import ACQUISITION, WORD_EMERGENCE, acquisition, word_emergence
from groundscope.behaviour.audit import AUDIT, NEUTRAL_FRAMES, neutral_frames
from groundscope.behaviour.controls import CONTROL_EVIDENCE, CONTROLS, control_evidence
from groundscope.behaviour.dose import DOSE, dose
from groundscope.behaviour.dose_tests import DOSE_CONCLUSIONS, FALLS, LEFT, SPECIFIC, dose_conclusions
from groundscope.behaviour.generalisation import (
    CATEGORIES,
    CROSSED,
    KINDS,
    REPLICATION,
    by_category,
    by_kind,
    crossed_evidence,
    replication,
)
from groundscope.behaviour.layout import CONTEXTS
from groundscope.behaviour.measure import GAIN, SURPRISAL
from groundscope.corpus.ablation import Ablation
from groundscope.corpus.arms import Arm
from groundscope.files import write_json
from groundscope.report.findings import Verdict
from groundscope.report.findings_behaviour import ablation_claims
from groundscope.report.numbers import FIXED
from groundscope.report.page import write_page
from groundscope.report.run import open_run
from groundscope.report.sections_behaviour import CONTROLS as CONTROLS_SECTION
from groundscope.report.sections_behaviour import FRAMES
from groundscope.report.sections_dose import DOSE as DOSE_SECTION
from groundscope.report.sections_generality import EMERGENCE, SEEDS
from groundscope.report.sections_generality import KINDS as KINDS_SECTION
from groundscope.tables import TableSchema, write_table

FRAME_NAMES = ("look at the", "where is the", "i like this", "that is my", "i see the", "you like the")
QUICK = {"resamples": 200}
SECTIONS = (CONTROLS_SECTION, DOSE_SECTION, FRAMES, SEEDS, KINDS_SECTION, EMERGENCE)


def with_verbs(gain: pl.DataFrame) -> pl.DataFrame:
    verbs = gain.filter(pl.col("word").is_in(gain["word"].unique().sort()[:6].implode())).with_columns(
        pl.concat_str(pl.lit("to "), "word").alias("word"),
        pl.lit("verb").alias("kind"),
        pl.when(pl.col("category") == "animals").then(pl.lit("hands")).otherwise(pl.lit("motion")).alias("category"),
    )
    return pl.concat([gain, scaled(verbs, 0.5)])


def scaled(gain: pl.DataFrame, factor: float) -> pl.DataFrame:
    return gain.with_columns(
        (pl.col("gain_nats") * factor).alias("gain_nats"),
        (pl.col("match_nats") + pl.col("gain_nats") * factor).alias("mismatch_nats"),
    )


def in_contexts(gain: pl.DataFrame) -> pl.DataFrame:
    """Each word's surprisal in six contexts, with noise whose mean over contexts is zero."""
    rng = np.random.default_rng(0)
    frames = []
    noise = rng.normal(0, 0.2, (gain.height, len(FRAME_NAMES)))
    noise -= noise.mean(axis=1, keepdims=True)
    shared = [name for name in SURPRISAL.dtypes if name in gain.columns]
    for number in range(len(FRAME_NAMES)):
        for condition, shift in (("match", 0.0), ("mismatch", noise[:, number])):
            values = gain[f"{condition}_nats"] + shift
            frames.append(
                gain.select(shared).with_columns(
                    pl.lit(f"c{number}").alias("context"),
                    pl.lit(condition).alias("condition"),
                    values.alias("surprisal_nats"),
                )
            )
    return SURPRISAL.conform(pl.concat(frames))


def audited(gain: pl.DataFrame) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    checkpoints = gain.select("arch", "seed", "step", "tokens_seen", "weight_hash", "kind").unique(maintain_order=True)
    parts = [
        checkpoints.with_columns(
            pl.lit(f"c{number}").alias("context"),
            pl.lit(frame).alias("frame"),
            pl.lit(7.0).alias("mean_nats"),
            pl.lit(0.9).alias("spread_nats"),
            pl.Series("preference_nats", 0.1 * (number + 1) + rng.uniform(0, 0.05, checkpoints.height)),
            pl.lit("ball").alias("easiest"),
            pl.lit("tree").alias("hardest"),
        )
        for number, frame in enumerate(FRAME_NAMES)
    ]
    return AUDIT.conform(pl.concat(parts))


def controlled(gain: pl.DataFrame) -> pl.DataFrame:
    forward = gain.filter(direction="env2lan", kind="noun").filter(pl.col("step").is_in([0, 300, 1500]))
    measured = {
        "shuffled": scaled(forward, 0.0).with_columns(
            pl.Series("gain_nats", np.random.default_rng(2).normal(0, 0.02, forward.height))
        ),
        "single_word": scaled(forward, 0.9),
        "mismatch_same_category": scaled(forward, 0.8),
        "one_vocabulary": scaled(forward, 1.4).with_columns(pl.lit("lan2lan").alias("direction")),
    }
    return CONTROLS.conform(
        pl.concat(table.with_columns(pl.lit(name).alias("control")) for name, table in measured.items())
    )


def laid_out() -> pl.DataFrame:
    return CONTEXTS.frame(
        [
            {
                "kind": "noun", "context": f"c{number}", "held_out": False, "word": None, "direction": "env2lan",
                "shape": "plain", "speaker": "CHI", "length": 11, "cue_position": 4, "distance": 7, "distractors": 0,
                "unknown_share": 0.0, "frame": frame, "frame_count": 100 * number, "frame_overlap": 1.0,
            }
            for number, frame in enumerate(FRAME_NAMES)
        ]
    )  # fmt: skip


LOSS = {Arm.COOCCURRING: 0.7, Arm.SEPARATED: 0.5, Arm.RANDOM: 0.2, Arm.CONTROL: 0.1}
"""Share of G that is lost with the largest dose."""


def dosed(gain: pl.DataFrame) -> list[tuple[Ablation, pl.DataFrame]]:
    forward = gain.filter(kind="noun")
    parts = []
    for arm in Arm:
        for share in (0.0, 0.5, 1.0):
            left = 1 - LOSS[arm] * share
            record = Ablation(
                arm=arm, share=share, seed=0, words=("w",), chunks=1000, cooccurring=400,
                removed=0 if arm is Arm.SEPARATED else round(400 * share),
                cooccurring_left=400 - round(400 * share) * arm.takes_cooccurrence, source="x",
            )  # fmt: skip
            parts.append((record, scaled(forward, left)))
    return parts


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory, make_run) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "everything", seeds=(42, 142, 242))
    study = {**yaml.safe_load((folder / "study.yaml").read_text()), "behaviour": {"kinds": ["noun", "verb"]}}
    write_json(folder / "resolved.json", study)
    gain = with_verbs(pl.read_parquet(folder / "tables/gain.parquet"))
    late = pl.col("step") >= 300 + 50 * pl.col("word").str.len_chars()
    gain = GAIN.conform(gain.with_columns(pl.when(late).then(0.01).otherwise(0.6).alias("p_scene")))
    surprisal, audit, controls = in_contexts(gain), audited(gain), controlled(gain)
    ages = {word: 12.0 + len(word) for word in gain["word"].unique()}
    words = word_emergence(gain, ages)
    nouns = gain.filter(kind="noun")
    tables: dict[TableSchema, pl.DataFrame] = {
        GAIN: gain,
        SURPRISAL: surprisal,
        AUDIT: audit,
        CONTROLS: controls,
        CONTROL_EVIDENCE: control_evidence(controls, **QUICK),
        CONTEXTS: laid_out(),
        CROSSED: crossed_evidence(surprisal),
        REPLICATION: replication(nouns, **QUICK),
        KINDS: by_kind(gain, **QUICK),
        CATEGORIES: by_category(gain, **QUICK),
        NEUTRAL_FRAMES: neutral_frames(surprisal, gain, audit, **QUICK),
        WORD_EMERGENCE: words,
        ACQUISITION: acquisition(words, gain, **QUICK),
        DOSE: dose(dosed(gain), **QUICK),
        DOSE_CONCLUSIONS: dose_conclusions(dosed(gain)),
    }
    for schema, table in tables.items():
        write_table(folder / "tables" / f"{schema.name}.parquet", table, schema)
    return folder


def points(figure, arch: str, **meta: str) -> dict[str, float]:
    """What a forest shows of one model: line of text -> estimate."""
    axis = figure.layout.yaxis
    names = dict(zip(axis.tickvals, axis.ticktext, strict=True))
    traces = [t for t in figure.data if t.meta.get("arch") == arch and meta.items() <= t.meta.items()]
    return {names[round(y)]: x for t in traces for x, y in zip(t.x, t.y, strict=True)}


def test_the_page_holds_every_section(full_run: Path) -> None:
    page = write_page(full_run).read_text(encoding="utf-8")
    figures = json.loads(re.search(r'id="page-data">(.*?)</script>', page, flags=re.DOTALL)[1])["figures"]  # type: ignore[index]
    for section in SECTIONS:
        assert f'id="{section.key}"' in page
    beside = page.split('<section id="controls"')[1].split('<section id="words"')[0]
    assert "Not measured in this run" not in beside
    for name in re.findall(r'data-figure="([^"]+)"', page):
        assert figures[name]["data"], f"figure {name} is empty"
    assert {"controls", "dose", "frames", "neutral", "seeds", "kind-verb", "categories", "emergence"} <= set(figures)


def test_without_these_tables_each_section_says_so(plain_run: Path) -> None:
    run = open_run(plain_run)
    assert all(section.build(run) is None for section in SECTIONS)


def test_controls_stand_beside_the_measurement(full_run: Path) -> None:
    run = open_run(full_run)
    content = CONTROLS_SECTION.build(run)
    assert content is not None
    found = points(content.figures["controls"], "transformer-4")
    last = run.evidence.filter(direction="env2lan", arch="transformer-4", step=1500).row(0, named=True)  # type: ignore[union-attr]
    assert found["as measured"] == pytest.approx(last["gain_nats"], abs=1e-4)
    assert found["the scene word alone"] == pytest.approx(0.9 * last["gain_nats"], abs=1e-3)
    assert found["another word’s scene as the match"] == pytest.approx(0, abs=0.02)
    assert found["a predictor that only counts"] == pytest.approx(last["counted_gain_nats"], abs=1e-4)
    assert "before any training" in found
    assert f"G goes from {last['gain_nats']:.2f}" in content.variables["reading"]


def test_frames_are_ranked_by_their_own_preference(full_run: Path) -> None:
    content = FRAMES.build(open_run(full_run))
    assert content is not None
    assert list(content.figures["frames"].layout.yaxis.ticktext) == [f"{frame} _" for frame in FRAME_NAMES]
    assert len(content.variables["contexts"]) == len(FRAME_NAMES)
    assert list(content.figures["neutral"].data[0].x) == [1, 2, 3, 4, 5, 6]


def test_frames_are_drawn_in_the_same_order_each_time(full_run: Path) -> None:
    drawn = [FRAMES.build(open_run(full_run)) for _ in range(5)]
    assert len({content.figures["frames"].to_json() for content in drawn if content is not None}) == 1


def test_seeds_and_contexts_are_samples(full_run: Path) -> None:
    content = SEEDS.build(open_run(full_run))
    assert content is not None
    row = next(row for row in content.variables["rows"] if row["arch"] == "transformer-4")
    assert row["gain_low"] < row["gain_nats"] < row["gain_high"]
    assert row["n_contexts"] == len(FRAME_NAMES)
    assert row["residual_sd_nats"] == pytest.approx(0.2, rel=0.2)
    thin = [trace for trace in content.figures["seeds"].data if (trace.name or "").startswith("seed ")]
    assert len(thin) == 3 * 2 * 2  # seeds, models, directions


def test_kinds_and_categories(full_run: Path) -> None:
    run = open_run(full_run)
    content = KINDS_SECTION.build(run)
    assert content is not None
    assert content.variables["kinds"] == ["noun", "verb"]
    lines = list(content.figures["categories"].layout.yaxis.ticktext)
    assert lines.index("<b>verbs</b>") > lines.index("animals") > lines.index("<b>nouns</b>") == 0
    assert set(lines[lines.index("<b>verbs</b>") + 1 :]) == {"hands", "motion"}
    assert run.main_gain is not None
    assert set(run.main_gain["kind"]) == {"noun"}


def test_words_emerge_one_after_the_other(full_run: Path) -> None:
    content = EMERGENCE.build(open_run(full_run))
    assert content is not None
    trace = next(t for t in content.figures["emergence"].data if t.meta.get("arch") == "lstm-4" and t.mode != "text")
    assert list(trace.y) == sorted(trace.y)
    assert trace.y[0] == 0
    assert trace.y[-1] == 1 or "never" in content.figures["ages-0"].layout.yaxis.ticktext
    assert content.variables["agreement"][0]["rho"] > 0.9


def test_the_dose_and_what_is_left_of_the_gain(full_run: Path) -> None:
    run = open_run(full_run)
    content = DOSE_SECTION.build(run)
    assert content is not None
    curves = {
        (trace.meta["arch"], trace.line.dash): trace
        for trace in content.figures["dose"].data
        if trace.mode == "lines+markers" and trace.meta["direction"] == "env2lan"
    }
    for dash, arm in (
        ("solid", Arm.COOCCURRING),
        ("dashdot", Arm.SEPARATED),
        ("dash", Arm.RANDOM),
        ("dot", Arm.CONTROL),
    ):
        curve = curves["transformer-4", dash]
        assert curve.x[0] == 0
        assert list(curve.x) == pytest.approx([0, 50, 100], abs=1.5), "side by side"
        assert curve.y[0] == curves["transformer-4", "solid"].y[0]
        assert curve.y[2] == pytest.approx((1 - LOSS[arm]) * curve.y[0], abs=1e-3)
    named = {t.text[0].strip() for t in content.figures["dose"].data if t.mode == "text"}
    assert {"separated", "random", "control", "transformer-4"} <= named
    reading = content.variables["reading"].replace("\N{NO-BREAK SPACE}", " ")
    assert "100 % of the co-occurring chunks removed" in reading
    assert "where they stayed with their scene’s words exchanged" in reading
    drawn = {arm: line.look for arm, line in content.variables["lines"]}
    assert drawn == {"cooccurring": "Solid", "separated": "Dash-dotted", "random": "Dashed", "control": "Dotted"}
    done = [(row["done"], row["percent"]) for row in content.variables["rows"] if row["arch"] == "transformer-4"]
    assert done[:3] == [("nothing", 0), ("cooccurring: removed", 50), ("cooccurring: removed", 100)]
    assert "separated: exchanged, 50 %<br>1,000 chunks, 200 of them co-occurring<br>" in curves[
        "transformer-4", "dashdot"
    ].text[1].replace(FIXED, "")
    assert len(done) == 1 + 2 * len(Arm)


def test_what_is_left_without_cooccurrence_is_judged_by_the_test_that_is_in_the_tables(full_run: Path) -> None:
    run = open_run(full_run)
    dose, tested = run.table("dose"), run.table("dose_conclusions")
    assert dose is not None
    assert tested is not None
    claim, grows = ablation_claims(dose, tested=tested)
    assert [statement.verdict for statement in (*claim.statements, *grows.statements)] == [Verdict.HOLDS] * 4
    row = tested.filter(claim=LEFT, arm="cooccurring", arch="transformer-4").row(0, named=True)
    said = claim.of("transformer-4").sentence.replace(FIXED, " ")  # type: ignore[union-attr]
    assert f"G is {row['estimate_nats']:.2f} nats [{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in said
    assert "with as much other text removed" in said
    assert "Holm p = .002" in said

    def verdicts(**changes: float | bool | None) -> set[Verdict]:
        changed = tested.with_columns(**{name: pl.lit(value) for name, value in changes.items()})
        return {statement.verdict for statement in ablation_claims(dose, tested=changed)[0].statements}

    assert verdicts(holds=False, estimate_nats=-0.1, ci_low=-0.2, ci_high=0.05) == {Verdict.FAILS}
    assert verdicts(estimate_nats=0.005, ci_low=0.003, ci_high=0.007) == {Verdict.NEGLIGIBLE}
    assert verdicts(holds=False, p_holm=0.06) == {Verdict.UNCLEAR}, "whatever the interval of one test alone"
    assert verdicts(holds=None, p_holm=None) == {Verdict.UNCLEAR}
    half = ablation_claims(dose.filter(pl.col("share_removed") < 1), tested=tested.filter(pl.col("claim") != LEFT))[0]
    assert "At most 50" in half.statements[0].sentence
    for untested in (half, ablation_claims(dose)[0], ablation_claims(None)[0]):
        assert {statement.verdict for statement in untested.statements} == {Verdict.UNTESTED}


def test_a_gain_that_grows_with_cooccurrence_is_told_from_a_loss_of_text() -> None:
    row = {
        "arch": "a", "direction": "env2lan", "arm": "cooccurring", "n_doses": 3, "n_seeds": 3, "n_words": 40,
        "test": "t", "p": 0.001,
    }  # fmt: skip
    numbers = {"estimate_nats": -1.2, "ci_low": -1.5, "ci_high": -0.9, "p_holm": 0.002, "holds": True}

    def judged(**specific: Any) -> tuple[Verdict, str]:
        others = {"claim": SPECIFIC, "control": "control", "holds": False}  # the better matched control is asked first
        rows = [
            {**row, **numbers, "claim": FALLS},
            {**row, **numbers, **others},
            {**row, **numbers, "claim": SPECIFIC, "control": "random", **specific},
            {**row, **numbers, "claim": FALLS, "arm": "separated", "holds": False, "estimate_nats": -0.77},
        ]
        (statement,) = ablation_claims(None, tested=DOSE_CONCLUSIONS.frame(rows))[1].statements
        return statement.verdict, statement.sentence

    verdict, sentence = judged()
    assert verdict is Verdict.HOLDS
    assert "−1.20 nats [−1.50, −0.90]" in sentence.replace(FIXED, " ")
    assert "With scene words exchanged in the same chunks, and none removed, it changes by −0.77" in sentence
    assert judged(holds=False, p_holm=0.2)[0] is Verdict.UNCLEAR, "falls, but perhaps no more than with other text"
    assert judged(holds=False, estimate_nats=0.1, ci_high=0.3)[0] is Verdict.FAILS
    assert judged(estimate_nats=-0.02, ci_low=-0.03, ci_high=-0.01)[0] is Verdict.NEGLIGIBLE
    (alone,) = ablation_claims(
        None, tested=DOSE_CONCLUSIONS.frame([{**row, **numbers, "claim": FALLS, "control": None}])
    )[1].statements
    assert alone.verdict is Verdict.UNTESTED
    assert "as much other text removed" in alone.sentence
    separated = DOSE_CONCLUSIONS.frame([{**row, **numbers, "claim": FALLS, "control": None, "arm": "separated"}])
    for tested in (None, DOSE_CONCLUSIONS.frame([]), separated):
        (lacking,) = ablation_claims(None, tested=tested)[1].statements
        assert lacking.verdict is Verdict.UNTESTED, "and not a claim without a word"
