import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.contrasts import CONTRASTS
from groundscope.files import read_json, write_json
from groundscope.report.findings import NEGLIGIBLE_NATS, Claim, Verdict, claims
from groundscope.report.numbers import FIXED
from groundscope.report.page import write_page
from groundscope.report.run import open_run

ADVANTAGE, EMERGENCE, COOCCURRENCE, RECURRENT, REVERSE = range(5)
STATEMENT = "rises_then_falls_while_gain_grows"


def concluded(claim: str, estimate: float | None, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    """One row of table ``conclusions``: two seeds, fifty words, significant unless said otherwise."""
    return {
        "arch": "transformer-4",
        "direction": "env2lan",
        "claim": claim,
        "unit": {"final_gain": "nats", "gain_growth": "nats", "emergence_step": "steps"}.get(claim, "R^2"),
        "step": 1500,
        "estimate": estimate,
        "ci_low": low,
        "ci_high": high,
        "n_seeds": 2,
        "n_words": 50,
        "test": None,
        "p": 0.0001,
        "p_holm": 0.0002,
        "holds": True,
    } | more


def whole_study(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    """A model for which every claim holds, with the named claims changed."""
    rows = [
        concluded("final_gain", 1.84, 1.6, 2.1),
        concluded("emergence_step", 300, 100, 500, step=300),
        concluded("r2_rise", 0.3, 0.1, 0.4),
        concluded("r2_fall", 0.2, 0.1, 0.3),
        concluded("gain_growth", 1.2, 1.1, 1.3),
        concluded(STATEMENT, 300, None, None, step=300),
    ]
    return [row | changed.get(row["claim"], {}) for row in rows]


def checkpoint(step: int, gain: float, r2: float | None, **more: Any) -> dict[str, Any]:
    """One row as `evidence_over_seeds` gives it."""
    return {
        "arch": "transformer-4",
        "direction": "env2lan",
        "step": step,
        "tokens_seen": step * 1000,
        "match_nats": 6.0 - gain,
        "mismatch_nats": 6.0,
        "gain_nats": gain,
        "r2_log": r2,
        "r2_log_low": None if r2 is None else r2 - 0.05,
        "r2_log_high": None if r2 is None else r2 + 0.05,
    } | more


COURSE = [checkpoint(0, 0.0, None), checkpoint(300, 0.6, 0.4), checkpoint(1500, 1.84, 0.2)]


def judged(
    rows: list[dict[str, Any]],
    course: list[dict[str, Any]] | None = None,
    recurrent: tuple[str, ...] = (),
    contrasts: pl.DataFrame | None = None,
) -> list[Claim]:
    table = CONCLUSIONS.conform(pl.DataFrame(rows, infer_schema_length=None))
    courses = pl.DataFrame(course or COURSE, infer_schema_length=None)
    return claims(table, courses, recurrent, contrasts=contrasts)


def only(claim: Claim) -> tuple[Verdict, str]:
    (statement,) = claim.statements
    return statement.verdict, statement.sentence.replace(FIXED, " ")


@pytest.mark.parametrize(
    ("final", "verdict", "words"),
    [
        (
            {},
            Verdict.HOLDS,
            "lowers the word’s surprisal by 1.84 nats [1.60, 2.10], from 6.00 to 4.16 (2 seeds, 50 words",
        ),
        ({}, Verdict.HOLDS, "p < .001)."),
        ({"p_holm": 0.2, "holds": False, "ci_low": -0.4}, Verdict.UNCLEAR, "1.84 nats [−0.40, 2.10], from 6.00"),
        ({"estimate": 0.0004, "ci_low": -0.001, "ci_high": 0.002}, Verdict.NEGLIGIBLE, "0.0004 nats [−0.0010, 0.0020]"),
        ({"estimate": 0.02, "ci_low": 0.01, "ci_high": 0.049}, Verdict.NEGLIGIBLE, "of G lies below 0.05 nats."),
        ({"estimate": 0.03, "ci_low": 0.01, "ci_high": 0.051}, Verdict.HOLDS, "0.03 nats [0.01, 0.05]"),
        ({"estimate": 0.02, "ci_low": -0.01, "ci_high": 0.06, "holds": False}, Verdict.UNCLEAR, "0.02 nats"),
        ({"estimate": 0.02, "ci_low": -0.01, "ci_high": 0.049, "holds": False}, Verdict.NEGLIGIBLE, "of zero."),
        ({"estimate": 0.0, "ci_low": -0.06, "ci_high": 0.049, "holds": False}, Verdict.FAILS, "0.00 nats"),
        ({"p_holm": 0.2, "holds": None}, Verdict.UNCLEAR, "p = .200)."),
        (
            {"estimate": -0.3, "ci_low": -0.4, "ci_high": -0.2, "holds": False},
            Verdict.FAILS,
            "raises the word’s surprisal by 0.30 nats (G = −0.30 [−0.40, −0.20])",
        ),
        ({"estimate": None, "holds": None}, Verdict.UNTESTED, "too few"),
    ],
)
def test_advantage(final: dict[str, Any], verdict: Verdict, words: str) -> None:
    found, sentence = only(judged(whole_study(final_gain=final))[ADVANTAGE])
    assert found is verdict
    assert words in sentence


@pytest.mark.parametrize(
    ("onset", "verdict", "words"),
    [
        ({}, Verdict.HOLDS, "At step 0 G is 0.00 nats; it stays above zero from step 300 [100, 500] on (300k tokens)."),
        ({"ci_high": None}, Verdict.UNCLEAR, "from step 300 [100, beyond training] on"),
        ({"estimate": 0}, Verdict.FAILS, "its interval lies above zero at every checkpoint from this first one on"),
        ({"estimate": None}, Verdict.UNCLEAR, "its interval is not above zero at the last checkpoint"),
    ],
)
def test_emergence(onset: dict[str, Any], verdict: Verdict, words: str) -> None:
    found, sentence = only(judged(whole_study(emergence_step=onset))[EMERGENCE])
    assert found is verdict
    assert words in sentence


def test_what_emerges_or_grows_may_be_negligible() -> None:
    tiny = {"estimate": 0.005, "ci_low": 0.003, "ci_high": 0.007}
    found = judged(whole_study(final_gain=tiny, gain_growth=tiny))
    assert [only(found[at])[0] for at in (ADVANTAGE, EMERGENCE, COOCCURRENCE)] == [Verdict.NEGLIGIBLE] * 3
    assert "interval of G at the last checkpoint lies below 0.05 nats" in only(found[EMERGENCE])[1]
    assert all("Negligible when" in found[at].rule for at in (ADVANTAGE, EMERGENCE, COOCCURRENCE))
    assert only(judged(whole_study(final_gain=tiny))[COOCCURRENCE])[0] is Verdict.HOLDS
    none = {"estimate": 0.0001, "ci_low": -0.0001, "ci_high": 0.0002, "holds": False}
    flat = judged(
        whole_study(final_gain=none, emergence_step={"estimate": None}), [*COURSE[:2], checkpoint(900, 0.0001, 0.2)]
    )
    assert only(flat[EMERGENCE])[0] is Verdict.NEGLIGIBLE


def test_a_study_names_the_smallest_effect_that_matters(plain_run: Path, tmp_path: Path) -> None:
    shutil.copytree(plain_run, tmp_path / "run")
    assert open_run(tmp_path / "run").negligible == NEGLIGIBLE_NATS
    for mechanism, expected in ((None, NEGLIGIBLE_NATS), ({"negligible_nats": 9.0}, 9.0)):
        settings = read_json(plain_run / "resolved.json") | {"mechanism": mechanism}
        write_json(tmp_path / "run" / "resolved.json", settings)
        assert open_run(tmp_path / "run").negligible == expected
    page = write_page(tmp_path / "run").read_text(encoding="utf-8")
    assert "lies below 9.00 nats" in page.replace(FIXED, " ")
    assert 'data-verdict="negligible"' in page


def test_emergence_before_the_first_checkpoint_is_not_tested() -> None:
    found, _ = only(judged(whole_study(emergence_step={"estimate": 300}), COURSE[1:])[EMERGENCE])
    assert found is Verdict.UNTESTED


def test_cooccurrence_holds_on_the_test_of_the_whole_course() -> None:
    found, sentence = only(judged(whole_study())[COOCCURRENCE])
    assert found is Verdict.HOLDS
    assert "highest at step 300, .40 [.35, .45], and .20 [.15, .25] at the end." in sentence
    assert "rises by .30 [.10, .40]; after it, it falls by .20 [.10, .30] while G grows by 1.20 nats" in sentence
    found, sentence = only(judged(whole_study(**{STATEMENT: {"p_holm": 0.4, "holds": False}}))[COOCCURRENCE])
    assert found is Verdict.UNCLEAR
    assert "(Holm p = .400)" in sentence


def test_cooccurrence_does_not_hold_where_r_squared_ends_at_its_highest() -> None:
    rising = [*COURSE[:2], checkpoint(1500, 1.84, 0.6)]
    found, sentence = only(judged(whole_study(**{STATEMENT: {"p_holm": 1.0, "holds": False}}), rising)[COOCCURRENCE])
    assert found is Verdict.FAILS
    assert "the last checkpoint: it has not fallen" in sentence


def test_cooccurrence_without_a_test_is_not_tested() -> None:
    untestable = {"p": None, "p_holm": None, "holds": None, "estimate": None, "step": None}
    assert only(judged(whole_study(**{STATEMENT: untestable}))[COOCCURRENCE])[0] is Verdict.UNTESTED


def contrast(difference: float, low: float, high: float, p: float, arch: str = "lstm-4") -> pl.DataFrame:
    """Table ``contrasts`` of one pair: ``arch`` less the other of LSTM and Transformer."""
    other = {"lstm-4": "transformer-4", "transformer-4": "lstm-4"}[arch]
    row = {"arch": arch, "other": other, "direction": "env2lan", "step": 1500, "other_step": 1500, "n_words": 50}
    numbers = {"difference_nats": difference, "difference_low": low, "difference_high": high, "p": p, "p_holm": p}
    return CONTRASTS.frame([{**row, **numbers, "n_seeds": 2, "test": "t"}])


@pytest.mark.parametrize(
    ("contrasts", "verdict", "words"),
    [
        (contrast(-1.3, -1.5, -1.1, 0.001), Verdict.HOLDS, "it is 1.30 nats [1.10, 1.50] more in transformer-4"),
        (contrast(1.3, 1.1, 1.5, 0.001, "transformer-4"), Verdict.HOLDS, "it is 1.30 nats [1.10, 1.50] more"),
        (contrast(-0.02, -0.03, -0.01, 0.001), Verdict.NEGLIGIBLE, "interval of a difference lies below"),
        (contrast(-1.3, -2.8, 0.2, 0.09), Verdict.UNCLEAR, "p = .090"),
        (contrast(0.4, 0.1, 0.7, 0.01), Verdict.FAILS, "−0.40 nats"),
        (None, Verdict.UNTESTED, "No common seed and words with transformer-4"),
    ],
)
def test_recurrent_control(contrasts: pl.DataFrame | None, verdict: Verdict, words: str) -> None:
    """Intervals that overlap decide nothing: the difference itself is tested."""
    final = {"estimate": 1.5, "ci_low": 1.3, "ci_high": 1.7}
    control = [row | {"arch": "lstm-4"} for row in whole_study(final_gain=final)]
    courses = COURSE + [row | {"arch": "lstm-4"} for row in COURSE]
    found, sentence = only(judged(whole_study() + control, courses, ("lstm-4",), contrasts)[RECURRENT])
    assert found is verdict
    assert "against 1.84 [1.60, 2.10] in transformer-4" in sentence
    assert words in sentence
    assert only(judged(whole_study() + control, courses)[RECURRENT])[0] is Verdict.UNTESTED


def test_reverse_is_judged_on_its_own_rows() -> None:
    assert only(judged(whole_study())[REVERSE])[0] is Verdict.UNTESTED
    against = {"estimate": -0.1, "ci_low": -0.2, "ci_high": 0.0, "holds": False}
    backwards = [row | {"direction": "lan2env"} for row in whole_study(final_gain=against)]
    course = COURSE + [row | {"direction": "lan2env"} for row in COURSE]
    found, sentence = only(judged(whole_study() + backwards, course)[REVERSE])
    assert found is Verdict.FAILS
    assert sentence.endswith("At step 0 they were 6.00 and 6.00.")


def test_a_run_without_tables_claims_nothing() -> None:
    assert {only(claim)[0] for claim in claims(None, None)} == {Verdict.UNTESTED}


def test_sentences_state_the_numbers_of_the_tables(plain_run: Path) -> None:
    run = open_run(plain_run)
    table = conclusions(pl.read_parquet(plain_run / "tables" / "gain.parquet"), confidence=0.95)
    row = table.row(
        by_predicate=(pl.col("arch") == "transformer-4")
        & (pl.col("direction") == "env2lan")
        & (pl.col("claim") == "final_gain"),
        named=True,
    )
    found = claims(run.conclusions, run.evidence, run.recurrent, contrasts=run.contrasts)
    statement = found[ADVANTAGE].of("transformer-4")
    assert statement is not None
    expected = f"by {row['estimate']:.2f} nats [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    assert expected in statement.sentence.replace(FIXED, " ")
    assert statement.verdict is Verdict.HOLDS
    recurrent = found[RECURRENT].of("lstm-4")
    assert recurrent is not None
    assert recurrent.verdict is Verdict.HOLDS


def test_a_table_of_conclusions_goes_before_drawing_them_again(plain_run: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    table = CONCLUSIONS.conform(pl.DataFrame(whole_study(), infer_schema_length=None))
    table.write_parquet(tmp_path / "tables" / "conclusions.parquet")
    (tmp_path / "tables" / "gain.parquet").write_bytes((plain_run / "tables" / "gain.parquet").read_bytes())
    drawn = open_run(tmp_path).conclusions
    assert drawn is not None
    assert drawn.height == table.height
