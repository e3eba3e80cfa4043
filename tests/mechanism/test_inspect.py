"""One prompt inspected: the numbers are those of the analyses alone, and the text says them."""

import pytest
import torch
import transformers

from groundscope.mechanism.criteria import CriterionOptions, Role
from groundscope.mechanism.inspect import inspect_prompt
from groundscope.mechanism.inspect_models import Answer, Subject
from groundscope.mechanism.inspect_tables import INSPECT_LAYERS, inspect_frames
from groundscope.mechanism.inspect_text import inspection_text
from groundscope.mechanism.lens import TunedLens
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.models import GroundedLMConfig, GroundedLSTMConfig, build
from groundscope.models.gate import Gate, gated
from groundscope.models.hub import from_pretrained
from groundscope.models.pretrained import PretrainedLM
from groundscope.models.wording import Wording, word_prompt

OPTIONS = CriterionOptions(threshold=0.2)
IDS = (3, 9, 4, 7, 5)


def wording(target=(8,), ground=(1,)):
    return Wording(IDS, tuple(f"w{i}" for i in IDS), ground, target, tuple(f"w{i}" for i in target), "as given")


@pytest.fixture(scope="module")
def model():
    model = build(GroundedLMConfig(vocab_size=20, mixers=("attention",) * 2, d_model=16, n_heads=4), seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model.eval()


def surprisal(model, ids, target):
    with torch.no_grad():
        return -model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[target].item()


def test_the_target_is_scored_as_the_model_scores_it(model):
    found = inspect_prompt(model, wording(), options=OPTIONS)
    assert found.surprisal == pytest.approx(surprisal(model, IDS, 8), abs=1e-5)
    assert found.by_layer[-1] == pytest.approx(found.surprisal, abs=1e-5)
    log_p = model(torch.tensor([IDS])).logits[0, -1].log_softmax(-1)
    assert found.rank == 1 + int((log_p > log_p[8]).sum())
    assert found.expected[0][0] == int(log_p.argmax())


def test_pieces_are_summed_along_the_chain(model):
    found = inspect_prompt(model, wording(target=(8, 11, 2)), options=OPTIONS)
    chain = surprisal(model, IDS, 8) + surprisal(model, (*IDS, 8), 11) + surprisal(model, (*IDS, 8, 11), 2)
    assert found.surprisal == pytest.approx(chain, abs=1e-5)
    assert found.first_piece == pytest.approx(surprisal(model, IDS, 8), abs=1e-5)
    assert "sum over 3 pieces" in inspection_text(found, str, threshold=0.2)


def test_heads_are_ordered_by_flow_and_their_removal_is_real(model):
    found = inspect_prompt(model, wording(), options=OPTIONS, draws=3)
    flows = [head.flow for head in found.heads]
    assert flows == sorted(flows, reverse=True)
    first = found.heads[0]
    layer, head = (int(number) for number in first.name[1:].split("H"))
    keep = torch.ones(1, 4, 1, 1)
    keep[:, head] = 0
    with gated(model, {layer: Gate(keep)}):
        without = surprisal(model, IDS, 8)
    assert first.effect == pytest.approx(without - surprisal(model, IDS, 8), abs=1e-5)
    aggregate = {head.name for head in found.heads if Role.AGGREGATE in head.roles}
    assert aggregate == {name for removal in found.removals if removal.role == Role.AGGREGATE for name in removal.heads}
    assert aggregate, "the threshold leaves something to remove"
    assert all(removal.changed and removal.draws == 3 for removal in found.removals)


def test_the_text_says_it(model):
    found = inspect_prompt(model, wording(), options=OPTIONS, lens=TunedLens.from_model(model), draws=2)
    text = inspection_text(found, lambda token: f"w{token}", threshold=0.2)
    assert "w3 [w9] w4 w7 w5" in text
    assert f"w8: {found.surprisal:.3f} nats" in text
    assert "surprisal (tuned lens)" in text
    assert all(name in text for removal in found.removals for name in removal.heads)
    assert max(map(len, text.splitlines())) <= 120


def test_without_a_ground_or_without_heads_the_rest_is_shown_and_said(model):
    found = inspect_prompt(model, wording(ground=()), options=OPTIONS)
    assert "no ground was named" in inspection_text(found, str, threshold=0.2)
    lstm = build(GroundedLSTMConfig(vocab_size=20, n_layers=2, d_model=16), seed=0).eval()
    found = inspect_prompt(lstm, wording(), options=OPTIONS)
    assert len(found.by_layer) == 3
    assert "no mixing matrices that are read here, and so no heads" in inspection_text(found, str, threshold=0.2)


def test_what_passes_beside_the_matrices_is_said(model):
    hybrid = build(GroundedLMConfig(vocab_size=20, mixers=("attention", "mamba2"), d_model=16, ssm_d_head=8), seed=0)
    text = inspection_text(inspect_prompt(hybrid.eval(), wording(), options=OPTIONS, draws=2), str, threshold=0.2)
    assert "the skip D x" in text
    assert max(map(len, text.splitlines())) <= 120
    jamba = transformers.JambaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=24, attn_layer_period=2, attn_layer_offset=1, num_experts=1, mamba_d_state=4,
        pad_token_id=0,
    )  # fmt: skip
    wrapped = PretrainedLM(transformers.JambaForCausalLM(jamba).eval())
    assert inspect_prompt(wrapped, wording(), options=OPTIONS, draws=2).beside.startswith("L0 mix positions without")
    assert inspect_prompt(model, wording(), options=OPTIONS, draws=2).beside == ""


def test_flow_stands_in_the_layers_whose_it_is():
    lfm2 = transformers.Lfm2Config(
        vocab_size=20, hidden_size=16, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=24, layer_types=["conv", "conv", "full_attention", "conv"], pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    wrapped = PretrainedLM(transformers.Lfm2ForCausalLM(lfm2).eval())
    found = inspect_prompt(wrapped, wording(), options=OPTIONS, draws=2)
    whole = saliency(wrapped, PromptBatch.with_ground_at(torch.tensor([IDS]), torch.tensor([8]), torch.tensor([1])))
    assert found.layer_flow == (None, None, pytest.approx(whole.layer_flow[0, 0].item()), None)
    lines = inspection_text(found, str, threshold=0.2).splitlines()
    rows = [next(line for line in lines if line.startswith(name)) for name in ("embedding", "L0", "L1", "L2", "L3")]
    assert [len(line.replace("█", "").split()) for line in rows] == [2, 2, 2, 3, 2]
    answer = Answer(Subject("lfm2", "", lambda: wrapped), found, "", str)
    layers = inspect_frames([answer])[INSPECT_LAYERS]
    assert layers["flow_nats"].to_list() == [None, *found.layer_flow]


@pytest.mark.real
def test_in_a_real_model_aggregate_heads_carry_the_ground_and_others_do_not(real_data):
    lm = from_pretrained(real_data / "weights" / "stories15M")
    prompt = word_prompt(lm.tokenizer, "Lily saw a big red ball. She wanted to play with the", "ball", "ball")
    found = inspect_prompt(lm, prompt, options=CriterionOptions())
    by_role = {removal.role: removal for removal in found.removals}
    assert found.rank == 1
    assert by_role[Role.AGGREGATE].without > 20 * by_role[Role.AGGREGATE].control
    assert by_role[Role.GATHER].without < 0.1
