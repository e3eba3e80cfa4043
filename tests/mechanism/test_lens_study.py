"""A study's lenses: what is read is what the lens reads, with as much text as there is."""

import numpy as np
import polars as pl
import pytest
import torch

from groundscope.errors import AnalysisError
from groundscope.mechanism.lens import LogitLens, lens_surprisal
from groundscope.mechanism.lens_study import fit_lenses, read_lenses, within
from groundscope.mechanism.lens_table import lens_fit_table
from groundscope.mechanism.lens_training import LensOptions
from groundscope.mechanism.options import LensStudy, PromptOptions
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.study_prompts import MECHANISM_PROMPTS, StudyPrompts
from groundscope.models import GroundedLMConfig, build

IDENTITY = {"arch": "tiny", "seed": 1, "step": 150, "tokens_seen": 4096, "weight_hash": "abc"}
CHUNKS = np.random.default_rng(0).integers(0, 30, (24, 12)).astype(np.int32)
WORDS = ("horse", "dog", "cup")


@pytest.fixture(scope="module")
def model():
    return build(GroundedLMConfig(vocab_size=30, mixers=("attention",) * 2, d_model=16, n_heads=2), seed=0).eval()


@pytest.fixture(scope="module")
def prompts():
    ids = torch.randint(30, (3, 6), generator=torch.Generator().manual_seed(1))
    batch = PromptBatch.with_ground_at(
        ids, torch.tensor([4, 5, 6]), torch.tensor([2, 2, 2]), mismatch=torch.stack([ids.roll(1, 0), ids.roll(2, 0)], 1)
    )
    rows = [
        {"prompt": i, "word": word, "context": "c", "tokens": "", "length": 6, "ground": 2, "mismatches": ""}
        for i, word in enumerate(WORDS)
    ]
    return StudyPrompts((batch,), MECHANISM_PROMPTS.frame(rows))


def options(**changes):
    small = LensOptions(begin="regression", steps=2, tokens_per_step=24, regression_tokens=96)
    return LensStudy(**{"tuned": small, "fit_chunks": 4, "prompts": PromptOptions(), **changes})


def fitted_and_read(model, prompts, chunks, settings, starts=None):
    fitted = fit_lenses(model, chunks, settings, starts)
    return fitted, read_lenses(model, fitted.lenses, prompts.groups, prompts.words, IDENTITY)


def test_the_table_holds_what_the_lens_reads(model, prompts):
    fitted, table = fitted_and_read(model, prompts, CHUNKS, options())
    (batch,) = prompts.groups
    own = lens_surprisal(model, LogitLens.from_model(model), batch.input_ids, batch.targets)
    other = lens_surprisal(model, LogitLens.from_model(model), batch.mismatch[2], batch.targets[2].repeat(2)).mean(0)
    cup = table.filter(lens="logit", word="cup").sort("layer")
    assert cup.filter(condition="match")["surprisal_nats"].to_list() == pytest.approx(own[2].tolist(), abs=1e-5)
    assert cup.filter(condition="mismatch")["surprisal_nats"].to_list() == pytest.approx(other.tolist(), abs=1e-5)
    assert set(fitted.trained) == {"tuned"}
    fit = lens_fit_table(fitted.fits, IDENTITY)
    assert fit.filter(lens="tuned")["trained_tokens"].unique().to_list() == [96]


def test_equal_inputs_give_equal_tables_and_a_start_is_used(model, prompts):
    (first, table), (_, again) = (fitted_and_read(model, prompts, CHUNKS, options()) for _ in range(2))
    assert table.equals(again)
    still = options(tuned=LensOptions(begin="regression", steps=0, tokens_per_step=24, regression_tokens=96))
    _, going_on = fitted_and_read(model, prompts, CHUNKS, still, first.trained)
    assert going_on.equals(table)
    _, alone = fitted_and_read(model, prompts, CHUNKS, still)
    assert not alone.filter(pl.col("lens") == "tuned").equals(table.filter(pl.col("lens") == "tuned"))


def test_a_small_corpus_shortens_training(model, prompts):
    wanted = options(tuned=LensOptions(begin="regression", steps=100, tokens_per_step=8192), kinds=("tuned", "linear"))
    fitted = fit_lenses(model, CHUNKS, wanted)
    assert {tokens for _, tokens in fitted.fits.values()} == {20 * 12}
    short = within(LensOptions(steps=9, tokens_per_step=30), there=5, time=12)
    assert (short.steps, short.tokens_per_step) == (2, 24)
    with pytest.raises(AnalysisError, match="at least two"):
        fit_lenses(model, CHUNKS[:1], wanted)
