"""All tables of a checkpoint at once: what is followed over time, and the same tables from the same inputs."""

import pytest
import torch

from groundscope.errors import TableError
from groundscope.mechanism.causal import CausalOptions
from groundscope.mechanism.criteria import CriterionOptions, Role, find_heads
from groundscope.mechanism.measure import MechanismOptions, heads_in, measure
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import Saliency, saliency
from groundscope.models.language_model import GroundedLM, GroundedLMConfig
from groundscope.models.lstm import GroundedLSTM, GroundedLSTMConfig

IDENTITY = {"arch": "tiny", "seed": 1, "step": 150, "tokens_seen": 4096, "weight_hash": "abc"}
OPTIONS = MechanismOptions(
    criterion=CriterionOptions(threshold=0.1), causal=CausalOptions(draws=3, permutations=99, resamples=100)
)


def build(seed, layers=2):
    torch.manual_seed(seed)
    config = GroundedLMConfig(
        vocab_size=30, mixers=("attention",) * layers, d_model=24, n_heads=3, initializer_range=0.3
    )
    return GroundedLM(config).eval()


def groups():
    generator, batches, start = torch.Generator().manual_seed(0), [], 0
    for time, count in ((6, 4), (9, 5)):
        ids = torch.randint(30, (count, time), generator=generator)
        scene = torch.zeros(count, time, dtype=torch.bool)
        scene[:, 1:4] = True
        batches.append(
            PromptBatch.with_ground_at(
                ids,
                torch.arange(count),
                torch.full((count,), 2),
                scene=scene,
                numbers=start + torch.arange(count),
                mismatch=ids.flip(0)[:, None],
            )
        )
        start += count
    return batches


@pytest.fixture(scope="module")
def tables():
    return measure(build(0), groups(), OPTIONS, IDENTITY, text=torch.arange(30).view(3, 10))


def test_every_table_is_about_all_prompts(tables):
    assert len(tables.saliency_heads) == 6
    for name in ("saliency_layers", "saliency_heads", "head_roles", "head_shares", "causal"):
        assert set(getattr(tables, name)["n_prompts"]) == {9}, name
    assert set(tables.heads_found["prompt"]) <= set(range(9))
    assert tables.causal["text_original_nats"].is_not_null().all()
    assert {"bick_gather", "retrieval"} <= set(tables.head_roles["criterion"])


def test_equal_inputs_give_equal_tables(tables):
    again = measure(build(0), groups(), OPTIONS, IDENTITY, text=torch.arange(30).view(3, 10))
    assert all(first.equals(second) for first, second in zip(tables, again, strict=True))


def test_the_final_models_heads_are_followed(tables):
    earlier = measure(build(1), groups(), OPTIONS, IDENTITY, final=tables.heads_found)
    found = find_heads(Saliency.join([saliency(build(0), batch) for batch in groups()]), OPTIONS.criterion)
    now = Saliency.join([saliency(build(1), batch) for batch in groups()])
    for role in Role:
        expected = ((now.total * found[role]).sum(1) / now.total.sum(1)).mean().item()
        (row,) = earlier.head_shares.filter(role=role.value).to_dicts()
        assert row["share"] == pytest.approx(expected, rel=1e-5)
        assert row["mean_count"] == pytest.approx(found[role].sum().item() / 9)


def test_heads_of_another_model_are_refused(tables):
    small = saliency(build(0, layers=1), groups()[0])
    with pytest.raises(TableError, match="L1H"):
        heads_in(tables.heads_found, small.index, small.numbers)


def test_an_lstm_goes_through_with_empty_tables():
    model = GroundedLSTM(GroundedLSTMConfig(vocab_size=30, d_model=16, n_layers=1)).eval()
    tables = measure(model, groups(), OPTIONS, IDENTITY, text=torch.arange(30).view(3, 10))
    assert len(tables.saliency_heads) == len(tables.heads_found) == len(tables.keep) == 0
    assert set(tables.causal["effect"]) == {"no heads: a GroundedLSTM has no mixing matrices"}
