from pathlib import Path
from typing import Any

import polars as pl
import pytest

from groundscope.report.findings import Claim, Verdict, claims
from groundscope.report.numbers import FIXED
from groundscope.report.run import open_run

ADVANTAGE, EMERGENCE, COOCCURRENCE, RECURRENT, REVERSE = range(5)


def checkpoint(step: int, gain: float, **changes: Any) -> dict[str, Any]:
    """One row as `evidence_over_seeds` gives it: two seeds, both significant where G is above .1."""
    significant = 2 if gain > 0.1 else 0
    return {
        "arch": "transformer-4",
        "direction": "env2lan",
        "step": step,
        "tokens_seen": step * 1000,
        "n_seeds": 2,
        "n_words": 50,
        "match_nats": 6.0 - gain,
        "mismatch_nats": 6.0,
        "gain_nats": gain,
        "gain_low": gain - 0.1,
        "gain_high": gain + 0.1,
        "effect_size": 1.0,
        "p_holm": 0.0001 if significant else 0.8,
        "n_significant": significant,
        "r2_log": None,
        "r2_log_low": None,
        "r2_log_high": None,
    } | changes


def r2(value: float, reach: float = 0.05) -> dict[str, float]:
    return {"r2_log": value, "r2_log_low": value - reach, "r2_log_high": value + reach}


def judged(*rows: dict[str, Any], recurrent: tuple[str, ...] = ()) -> list[Claim]:
    return claims(pl.DataFrame(rows, infer_schema_length=None), recurrent)


def only(claim: Claim) -> tuple[Verdict, str]:
    (statement,) = claim.statements
    return statement.verdict, statement.sentence.replace(FIXED, " ")


@pytest.mark.parametrize(
    ("end", "verdict", "words"),
    [
        ({}, Verdict.HOLDS, "lowers the word’s surprisal by 1.84 nats [1.74, 1.94], from 6.00 to 4.16"),
        ({}, Verdict.HOLDS, "(2 seeds, 50 words; d = 1.00, p < .001 in both seeds)"),
        ({"n_significant": 1}, Verdict.UNCLEAR, "significant in 1 of 2 seeds"),
        ({"n_significant": 0}, Verdict.FAILS, "significant in no seed"),
        ({"n_seeds": 1, "n_significant": 0, "p_holm": 0.3}, Verdict.FAILS, "d = 1.00, p = .300)"),
        (
            {"gain_nats": -0.3, "gain_low": -0.4, "gain_high": -0.2, "n_significant": 0},
            Verdict.FAILS,
            "raises the word’s surprisal by 0.30 nats (G = −0.30 [−0.40, −0.20])",
        ),
    ],
)
def test_advantage(end: dict[str, Any], verdict: Verdict, words: str) -> None:
    found, sentence = only(judged(checkpoint(0, 0.0), checkpoint(1500, 1.84, **end))[ADVANTAGE])
    assert found is verdict
    assert words in sentence
    assert sentence.startswith("At step 1,500 ")


@pytest.mark.parametrize(
    ("gains", "verdict", "words"),
    [
        (
            (0.0, 0.0, 0.5, 1.0),
            Verdict.HOLDS,
            "first significant in both seeds at step 200 (200k tokens) and stays so.",
        ),
        ((0.0, 0.5, 0.0, 1.0), Verdict.HOLDS, "at step 100 (100k tokens), and lastingly from step 300."),
        ((0.0, 0.5, 0.0, 0.0), Verdict.FAILS, "at step 100 (100k tokens), but at the end in no seed."),
        ((0.0, 0.0, 0.0, 0.0), Verdict.FAILS, "at no checkpoint is it significant in every seed."),
        ((0.5, 0.5, 0.5, 0.5), Verdict.UNCLEAR, "Before training G is 0.50 nats [0.40, 0.60], already significant"),
    ],
)
def test_emergence(gains: tuple[float, ...], verdict: Verdict, words: str) -> None:
    found, sentence = only(judged(*(checkpoint(100 * at, gain) for at, gain in enumerate(gains)))[EMERGENCE])
    assert found is verdict
    assert words in sentence


def test_emergence_is_not_tested_without_a_checkpoint_before_training() -> None:
    assert only(judged(checkpoint(100, 0.0), checkpoint(200, 1.0))[EMERGENCE])[0] is Verdict.UNTESTED
    assert only(judged(checkpoint(0, 0.0))[EMERGENCE])[0] is Verdict.UNTESTED


@pytest.mark.parametrize(
    ("course", "verdict", "words"),
    [
        (((0.1, 0.2), (0.4, 0.6), (0.1, 2.0)), Verdict.HOLDS, ".40 [.35, .45], and .10 [.05, .15] at step 400"),
        (((0.1, 0.2), (0.18, 0.6), (0.1, 2.0)), Verdict.UNCLEAR, "which leaves the fall of R² open"),
        (((0.1, 0.2), (0.4, 0.6), (0.1, 0.7)), Verdict.UNCLEAR, "which leaves the growth of G open"),
        (((0.1, 0.2), (0.2, 0.6), (0.4, 2.0)), Verdict.FAILS, "the last checkpoint: it has not fallen"),
        (((0.4, 0.2), (0.2, 0.6), (0.1, 2.0)), Verdict.FAILS, "the first checkpoint with counts: it has not risen"),
        (((0.1, 0.2), (0.4, 2.0), (0.1, 0.5)), Verdict.FAILS, "G falls too"),
    ],
)
def test_cooccurrence(course: tuple[tuple[float, float], ...], verdict: Verdict, words: str) -> None:
    rows = [checkpoint(100 * 2**at, gain, **r2(share)) for at, (share, gain) in enumerate(course)]
    found, sentence = only(judged(checkpoint(0, 0.0), *rows)[COOCCURRENCE])
    assert found is verdict
    assert words in sentence


def test_cooccurrence_needs_words_and_checkpoints() -> None:
    few = [checkpoint(step, 1.0, n_words=5, **r2(0.3)) for step in (100, 200, 300)]
    assert only(judged(*few)[COOCCURRENCE])[0] is Verdict.UNTESTED
    assert only(judged(*[row | {"n_words": 50} for row in few[:2]])[COOCCURRENCE])[0] is Verdict.UNTESTED


@pytest.mark.parametrize(("control", "verdict"), [(0.5, Verdict.HOLDS), (1.95, Verdict.UNCLEAR), (3.0, Verdict.FAILS)])
def test_recurrent_control(control: float, verdict: Verdict) -> None:
    rows = [checkpoint(100, 2.0), checkpoint(100, control, arch="lstm-4")]
    found, sentence = only(judged(*rows, recurrent=("lstm-4",))[RECURRENT])
    assert found is verdict
    assert "against 2.00 [1.90, 2.10] in transformer-4" in sentence
    assert only(judged(*rows)[RECURRENT])[0] is Verdict.UNTESTED


def test_reverse_is_judged_on_its_own_rows() -> None:
    forward = [checkpoint(0, 0.0), checkpoint(100, 2.0)]
    assert only(judged(*forward)[REVERSE])[0] is Verdict.UNTESTED
    reverse = [row | {"direction": "lan2env", "n_significant": 0} for row in forward]
    assert only(judged(*forward, *reverse)[REVERSE])[0] is Verdict.FAILS


def test_a_run_without_evidence_claims_nothing() -> None:
    assert {only(claim)[0] for claim in claims(None)} == {Verdict.UNTESTED}


def test_sentences_state_the_numbers_of_the_tables(plain_run: Path) -> None:
    run = open_run(plain_run)
    seeds = pl.read_parquet(plain_run / "tables" / "evidence.parquet").filter(
        arch="transformer-4", direction="env2lan", step=1500
    )
    gain, low, high = seeds["gain_nats"].mean(), seeds["gain_low"].min(), seeds["gain_high"].max()
    statement = claims(run.evidence, run.recurrent)[ADVANTAGE].of("transformer-4")
    assert statement is not None
    assert f"by {gain:.2f} nats [{low:.2f}, {high:.2f}]" in statement.sentence.replace(FIXED, " ")
    assert statement.verdict is Verdict.HOLDS
    recurrent = claims(run.evidence, run.recurrent)[RECURRENT].of("lstm-4")
    assert recurrent is not None
    assert recurrent.verdict is Verdict.HOLDS
