"""Removals against hooks on the output projection, controls, and the causal tables against naive loops."""

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from groundscope.errors import AnalysisError
from groundscope.mechanism import intervention
from groundscope.mechanism.branches import distinct, last_states_without
from groundscope.mechanism.causal import CausalOptions, CausalRuns, causal_runs, replacement_for, text_losses
from groundscope.mechanism.causal_table import CAUSAL_FAMILY, adjust_over_checkpoints, causal_table, paired_test
from groundscope.mechanism.controls import random_heads
from groundscope.mechanism.criteria import Role
from groundscope.mechanism.heads import HeadIndex, under
from groundscope.mechanism.intervention import (
    Ablation,
    ablate,
    head_outputs,
    mean_outputs,
    removal_effects,
    resampled_outputs,
)
from groundscope.mechanism.keep import keep_table
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.language_model import GroundedLM, GroundedLMConfig
from groundscope.models.lstm import GroundedLSTM, GroundedLSTMConfig

VOCAB, TIME, PROMPTS, D_HEAD = 30, 7, 6, 8
IDENTITY = {"arch": "tiny", "seed": 1, "step": 150, "tokens_seen": 4096, "weight_hash": "abc"}


def build(*mixers):
    torch.manual_seed(3)
    config = GroundedLMConfig(
        vocab_size=VOCAB, mixers=mixers, d_model=24, n_heads=3, ssm_d_head=12, ssm_d_state=4, initializer_range=0.3
    )
    model = GroundedLM(config).eval()
    return model.double() if set(mixers) == {"attention"} else model


def build_prompts():
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(VOCAB, (PROMPTS, TIME), generator=generator)
    targets = torch.tensor([1, 1, 2, 2, 3, 3])
    mismatch = ids[:, None].repeat(1, 2, 1)
    mismatch[:, :, 2] = torch.randint(VOCAB, (PROMPTS, 2), generator=generator)
    return PromptBatch.with_ground_at(ids, targets, torch.full((PROMPTS,), 2), mismatch=mismatch)


def random_sets(heads, share=0.4, seed=5):
    return torch.rand(PROMPTS, heads, generator=torch.Generator().manual_seed(seed)) < share


def hooked_surprisal(model, ids, target, removed, replace=None):
    """One prompt, with heads' slices overwritten at the input of the output projection: the other way to ablate."""
    hooks = []
    for layer, block in enumerate(model.blocks):

        def overwrite(module, args, layer=layer):
            heads = args[0].clone().unflatten(-1, (3, D_HEAD))
            for head in range(3):
                if removed[layer * 3 + head]:
                    heads[:, :, head] = 0 if replace is None else replace[layer][head]
            return (heads.flatten(-2),)

        hooks.append(block.mixer.out.register_forward_pre_hook(overwrite))
    with torch.no_grad():
        logits = model(ids[None]).logits[0, -1]
    for hook in hooks:
        hook.remove()
    return functional.cross_entropy(logits, target).item()


def test_zero_is_zeroing_the_input_of_the_output_projection():
    model, prompts, sets = build("attention", "attention"), build_prompts(), random_sets(6)
    found = ablate(model, prompts, torch.arange(PROMPTS), sets).surprisal
    for i in range(PROMPTS):
        expected = hooked_surprisal(model, prompts.input_ids[i], prompts.targets[i], sets[i])
        assert found[i].item() == pytest.approx(expected, abs=1e-12)


def test_mean_stands_in_for_what_is_removed():
    model, prompts, sets = build("attention", "attention"), build_prompts(), random_sets(6)
    text = torch.randint(VOCAB, (4, 9), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        means = {layer: out.mean((0, 2)) for layer, out in head_outputs(model, text).items()}
    replacement = mean_outputs(model, text, budget=1)
    found = ablate(model, prompts, torch.arange(PROMPTS), sets, replacement=replacement).surprisal
    for i in range(PROMPTS):
        expected = hooked_surprisal(model, prompts.input_ids[i], prompts.targets[i], sets[i], means)
        assert found[i].item() == pytest.approx(expected, abs=1e-12)


def test_means_over_the_prompts_are_over_what_they_show_too(monkeypatch):
    model, prompts = build("attention", "attention"), build_prompts()
    shown = torch.arange(PROMPTS)
    with torch.no_grad():
        means = {layer: out.mean((0, 2)) for layer, out in head_outputs(model, (prompts.input_ids + 1) % VOCAB).items()}
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, *, picture: hidden((ids + picture[:, None]) % VOCAB))
    ids = (prompts.input_ids + 1 - shown[:, None]) % VOCAB
    prompts = PromptBatch(ids, prompts.targets, prompts.ground, extras={"picture": shown})
    found = replacement_for(model, prompts, CausalOptions(ablation=Ablation.MEAN)).of_prompts(shown)
    for layer, mean in means.items():
        torch.testing.assert_close(found[layer][0, :, 0], mean)


def test_resampling_takes_outputs_of_the_donor_at_the_same_position():
    model, prompts, sets = build("attention", "attention"), build_prompts(), random_sets(6)
    donors = prompts.mismatch[:, 0]
    replacement = resampled_outputs(model, prompts, seed=0, donors=donors)
    which = torch.tensor([4, 0, 4])
    found = ablate(model, prompts, which, sets[:3], replacement=replacement).surprisal
    for run, prompt in enumerate(which.tolist()):
        with torch.no_grad():
            outputs = {layer: out[0] for layer, out in head_outputs(model, donors[prompt : prompt + 1]).items()}
        expected = hooked_surprisal(model, prompts.input_ids[prompt], prompts.targets[prompt], sets[run], outputs)
        assert found[run].item() == pytest.approx(expected, abs=1e-12)


def test_drawn_donors_are_other_prompts():
    model, prompts = build("attention"), build_prompts()
    everything = torch.ones(PROMPTS, 3, dtype=torch.bool)
    replacement = resampled_outputs(model, prompts, seed=4)
    assert ablate(model, prompts, torch.arange(PROMPTS), everything, replacement=replacement).changed.all()
    with pytest.raises(AnalysisError, match="`donors`"):
        resampled_outputs(model, prompts[:1], seed=4)


@pytest.mark.parametrize("mixers", [("mamba2", "mamba2"), ("mamba2", "attention")])
def test_zero_removes_what_mamba2_moves_and_leaves_the_rest(mixers):
    model, prompts = build(*mixers), build_prompts()
    index = HeadIndex.of(model)
    sets = torch.zeros(PROMPTS, len(index), dtype=torch.bool)
    sets[:, 1] = True
    found = ablate(model, prompts, torch.arange(PROMPTS), sets)
    mixer = model.blocks[0].mixer  # the same by weights: a head whose C B is seen with a step of 0 moves nothing
    with torch.no_grad():
        mixer.dt_bias[1] = -1e4
        row = mixer.inner + len(mixer.conv_bias) + 1
        mixer.project.weight[row] = 0
        logits = model(prompts.input_ids).logits[:, -1]
    expected = functional.cross_entropy(logits, prompts.targets, reduction="none")
    torch.testing.assert_close(found.surprisal, expected, atol=1e-5, rtol=0)
    assert found.changed.all()


def test_runs_without_removal_are_the_original_and_say_so():
    model, prompts = build("attention", "mamba2"), build_prompts()
    heads = len(HeadIndex.of(model))
    outcome = ablate(model, prompts, torch.arange(PROMPTS), torch.zeros(PROMPTS, heads, dtype=torch.bool))
    with torch.no_grad():
        logits = model(prompts.input_ids).logits[:, -1]
    expected = functional.cross_entropy(logits, prompts.targets, reduction="none")
    torch.testing.assert_close(outcome.surprisal, expected, atol=1e-5, rtol=0)
    assert not outcome.changed.any()


def test_equal_runs_are_computed_once(monkeypatch):
    model, prompts = build("attention", "attention"), build_prompts()
    which = torch.tensor([0, 1, 0, 1, 0])
    sets = torch.zeros(5, 6, dtype=torch.bool)
    sets[:, 2] = torch.tensor([True, True, True, True, False])
    computed, run = [], intervention._run

    def count(*args):
        computed.append(len(args[4]))
        return run(*args)

    monkeypatch.setattr(intervention, "_run", count)
    found = ablate(model, prompts, which, sets).surprisal
    assert sum(computed) == 3
    assert found[0] == found[2] != found[4]
    assert found[1] == found[3]


@pytest.mark.parametrize("mixers", [("attention",) * 3, ("mamba2",) * 3, ("mamba2", "attention", "mamba2")])
@pytest.mark.parametrize("ablation", list(Ablation))
def test_runs_that_share_their_lower_layers_are_those_of_a_model_run_whole(mixers, ablation):
    model, prompts = build(*mixers), build_prompts()
    index = HeadIndex.of(model)
    generator = torch.Generator().manual_seed(4)
    which = torch.randint(PROMPTS, (40,), generator=generator)
    removed = torch.rand(40, len(index), generator=generator) < 0.25
    replacement = replacement_for(model, prompts, CausalOptions(ablation=ablation))
    found = ablate(model, prompts, which, removed, replacement=replacement)
    for run, prompt in enumerate(which.tolist()):
        gates = index.gates(removed[run : run + 1], replacement.of_prompts(which[run : run + 1]))
        with torch.no_grad(), under(model, gates):
            logits = model(prompts.input_ids[prompt : prompt + 1]).logits[:, -1]
        expected = functional.cross_entropy(logits, prompts.targets[prompt : prompt + 1])
        assert found.surprisal[run].item() == pytest.approx(expected.item(), abs=2e-6)


@pytest.mark.parametrize("heads", [0, 3, 8, 144])
def test_runs_are_told_apart_as_rows_of_numbers_are(heads):
    generator = np.random.default_rng(1)
    number, out = generator.permutation(2000).repeat(3) % 700, generator.random((6000, heads)) < 0.02
    rows = np.concatenate([number[:, None], np.packbits(out, axis=1)], axis=1)
    _, first, back = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    found = distinct(number, out)
    np.testing.assert_array_equal(found[0], first)
    np.testing.assert_array_equal(found[1], back.reshape(-1))


def test_what_runs_have_in_common_is_computed_once():
    model, prompts = build("attention", "attention", "attention"), build_prompts()
    index = HeadIndex.of(model)
    sets = torch.zeros(4, len(index), dtype=torch.bool)
    sets[1, index.position(0, 1)] = sets[2, index.position(0, 1)] = True
    sets[2, index.position(1, 0)] = sets[3, index.position(2, 2)] = True
    states = []
    hooks = [block.norm.register_forward_hook(lambda *args: states.append(len(args[-1]))) for block in model.blocks]
    with torch.no_grad():
        last_states_without(
            model, index, prompts.input_ids[:2], torch.tensor([0, 0, 0, 0, 1]), torch.cat([sets, sets[:1]])
        )
    for hook in hooks:
        hook.remove()
    assert states == [2, 3, 4], "two prompts; one more without L0H1; one more without L1H0"


def test_micro_batches_do_not_matter():
    model, prompts, sets = build("attention", "attention"), build_prompts(), random_sets(6)
    for replacement in (None, resampled_outputs(model, prompts, 0)):
        whole = ablate(model, prompts, torch.arange(PROMPTS), sets, replacement=replacement)
        parts = ablate(model, prompts, torch.arange(PROMPTS), sets, replacement=replacement, budget=1)
        torch.testing.assert_close(whole.surprisal, parts.surprisal)


def test_removal_effects_take_one_head_at_a_time():
    model, prompts = build("attention", "attention"), build_prompts()
    effects = removal_effects(model, prompts)
    nothing = torch.zeros(6, dtype=torch.bool)
    for i, head in [(0, 0), (3, 4), (5, 5)]:
        alone = nothing.clone()
        alone[head] = True
        without = hooked_surprisal(model, prompts.input_ids[i], prompts.targets[i], alone)
        original = hooked_surprisal(model, prompts.input_ids[i], prompts.targets[i], nothing)
        assert effects[i, head].item() == pytest.approx(without - original, abs=1e-12)


def test_sets_of_another_model_are_refused():
    with pytest.raises(AnalysisError, match="5 heads, the model has 6"):
        ablate(build("attention", "attention"), build_prompts(), torch.tensor([0]), torch.zeros(1, 5, dtype=torch.bool))


# controls


def hand_index():
    return HeadIndex(np.repeat([0, 1, 2], 4), np.tile(np.arange(4), 3))


def draw(found, *, same_layers, numbers=None, seed=0, eligible=None, draws=200):
    numbers = np.arange(len(found)) if numbers is None else numbers
    eligible = np.ones_like(found) if eligible is None else eligible
    return random_heads(
        found,
        eligible,
        hand_index(),
        numbers=numbers,
        draws=draws,
        seed=seed,
        purpose="test",
        same_layers=same_layers,
    )


def found_sets():
    found = np.zeros((3, 12), dtype=bool)
    found[0, [0, 5]] = True
    found[1, [4, 5, 6, 11]] = True
    return found


@pytest.mark.parametrize("same_layers", [False, True])
def test_controls_are_as_many_other_heads(same_layers):
    found = found_sets()
    drawn = draw(found, same_layers=same_layers)
    assert (drawn.sum(2) == found.sum(1)[:, None]).all()
    assert not (drawn & found[:, None]).any()


def test_controls_are_uniform_over_all_other_heads():
    drawn = draw(found_sets(), same_layers=False, draws=4000)[0]
    frequency = drawn.mean(0)[~found_sets()[0]]
    assert abs(frequency - 2 / 10).max() < 5 * np.sqrt(0.2 * 0.8 / 4000)


def test_matched_controls_lose_as_many_heads_per_layer():
    drawn = draw(found_sets(), same_layers=True, draws=4000)
    by_layer = drawn.reshape(3, 4000, 3, 4).sum(3)
    assert (by_layer[0] == [1, 1, 0]).all()
    # layer 1 has one other head for three: that one and two from elsewhere, beside the one of layer 2
    assert (by_layer[1, :, 1] == 1).all()
    assert (by_layer[1].sum(1) == 4).all()
    assert (by_layer[1, :, 2] >= 1).all()
    frequency = drawn[0, :, 1:4].mean(0)
    assert abs(frequency - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 4000)


def test_controls_respect_who_is_eligible_and_stop_when_heads_run_out():
    eligible = np.zeros((3, 12), dtype=bool)
    eligible[:, [1, 5, 8]] = True
    drawn = draw(found_sets(), same_layers=True, eligible=eligible)
    assert (drawn[1].sum(1) == 2).all()
    assert drawn[1][:, [1, 8]].all()


def test_controls_depend_on_seed_and_prompt_not_on_company():
    found = found_sets()
    whole = draw(found, same_layers=False, numbers=np.array([7, 8, 9]))
    alone = draw(found[1:2], same_layers=False, numbers=np.array([8]))
    assert (whole[1] == alone[0]).all()
    assert (draw(found, same_layers=False, numbers=np.array([7, 8, 9]), seed=1) != whole).any()


# the causal test


def naive_control_mean(model, prompts, runs, role, control):
    sets = runs.removed[:, runs.drawn(role, control)]
    return [
        np.mean([hooked_surprisal(model, prompts.input_ids[i], prompts.targets[i], heads) for heads in sets[i]])
        for i in range(PROMPTS)
    ]


@pytest.fixture(scope="module")
def tested():
    model, prompts = build("attention", "attention"), build_prompts()
    found = {Role.AGGREGATE: random_sets(6, share=0.25), Role.GATHER: random_sets(6, share=0.25, seed=8)}
    options = CausalOptions(draws=4, permutations=199, resamples=200)
    return model, prompts, found, options, causal_runs(model, prompts, found, options)


def test_the_causal_table_is_that_of_a_loop_over_prompts(tested):
    model, prompts, found, options, runs = tested
    table = causal_table(model, runs, options, IDENTITY)
    assert table.select("role", "control").rows() == [
        ("aggregate", "random"),
        ("aggregate", "layer-matched"),
        ("gather", "random"),
        ("gather", "layer-matched"),
    ]
    nothing = torch.zeros(6, dtype=torch.bool)
    for row in table.to_dicts():
        sets = found[Role(row["role"])]
        loop = [(prompts.input_ids[i], prompts.targets[i]) for i in range(PROMPTS)]
        original = [hooked_surprisal(model, *pair, nothing) for pair in loop]
        without = [hooked_surprisal(model, *pair, sets[i]) for i, pair in enumerate(loop)]
        control = naive_control_mean(model, prompts, runs, Role(row["role"]), row["control"])
        assert row["original_nats"] == pytest.approx(np.mean(original), abs=1e-10)
        assert row["intervention_nats"] == pytest.approx(np.mean(without), abs=1e-10)
        assert row["control_nats"] == pytest.approx(np.mean(control), abs=1e-10)
        assert row["mean_count"] == pytest.approx(sets.sum().item() / PROMPTS)
        assert row["mean_layer"] == pytest.approx((sets.nonzero()[:, 1] >= 3).double().mean().item())
        by_word = (np.array(without) - np.array(control)).reshape(3, 2).mean(1)
        assert row["n_units"] == 3
        assert row["difference_nats"] == pytest.approx(by_word.mean(), abs=1e-10)
        assert row["effect_size_dz"] == pytest.approx(by_word.mean() / by_word.std(ddof=1), rel=1e-8)
        mismatched = [
            np.mean([hooked_surprisal(model, ids, prompts.targets[i], sets[i]) for ids in prompts.mismatch[i]])
            for i in range(PROMPTS)
        ]
        assert row["gain_intervention_nats"] == pytest.approx(np.mean(mismatched) - np.mean(without), abs=1e-10)


def test_controls_hold_no_head_with_any_role_unless_asked_otherwise(tested):
    model, prompts, found, _, runs = tested
    either = (found[Role.AGGREGATE] | found[Role.GATHER]).numpy()
    for control in ("random", "layer-matched"):
        assert not (runs.removed[:, runs.drawn(Role.AGGREGATE, control)] & either[:, None]).any()
    only_role = causal_runs(model, prompts, found, CausalOptions(draws=20, exclude="role"))
    drawn = only_role.removed[:, only_role.drawn(Role.AGGREGATE, "random")]
    assert (drawn & found[Role.GATHER].numpy()[:, None]).any()
    assert not (drawn & found[Role.AGGREGATE].numpy()[:, None]).any()


def test_groups_of_prompts_join_to_the_same_runs(tested):
    model, prompts, found, options, runs = tested
    parts = [
        causal_runs(model, prompts[part], {role: sets[part] for role, sets in found.items()}, options)
        for part in (slice(0, 2), slice(2, 6))
    ]
    joined = CausalRuns.join(parts)
    assert (joined.removed == runs.removed).all()
    np.testing.assert_allclose(joined.match, runs.match, atol=1e-12)
    np.testing.assert_allclose(joined.mismatch, runs.mismatch, atol=1e-12)


def test_ordinary_text_is_read_with_the_prompts_heads_removed(tested):
    model, _, found, _, runs = tested
    text = torch.randint(VOCAB, (3, 9), generator=torch.Generator().manual_seed(6))
    losses = text_losses(model, runs, text)
    with torch.no_grad():
        assert losses[0] == pytest.approx(model(text, labels=text).loss.item(), abs=1e-6)
    expected = []
    for chunk, prompt in enumerate((0, 2, 4)):  # the prompts that stand at the same places among six
        for position in range(8):
            target = text[chunk, position + 1]
            heads = found[Role.AGGREGATE][prompt]
            expected.append(hooked_surprisal(model, text[chunk, : position + 1], target, heads))
    assert losses[runs.found(Role.AGGREGATE)] == pytest.approx(np.mean(expected), abs=1e-10)


@pytest.mark.parametrize("ablation", [Ablation.MEAN, Ablation.RESAMPLE])
def test_what_stands_in_for_heads_in_text_is_what_the_ablation_says(tested, ablation):
    model, _, found, _, runs = tested
    text = torch.randint(VOCAB, (3, 9), generator=torch.Generator().manual_seed(6))
    outputs = head_outputs(model, text if ablation is Ablation.MEAN else text.roll(1, 0))
    expected = []
    for chunk, prompt in enumerate((0, 2, 4)):
        for position in range(8):
            here = {
                layer: out.mean((0, 2)) if ablation is Ablation.MEAN else out[chunk, :, : position + 1]
                for layer, out in outputs.items()
            }
            heads, ids = found[Role.AGGREGATE][prompt], text[chunk, : position + 1]
            expected.append(hooked_surprisal(model, ids, text[chunk, position + 1], heads, here))
    losses = text_losses(model, runs, text, ablation, budget=1)
    assert losses[runs.found(Role.AGGREGATE)] == pytest.approx(np.mean(expected), abs=1e-10)


@pytest.mark.parametrize("ablation", list(Ablation))
def test_every_kind_of_ablation_gives_a_table(ablation):
    model, prompts = build("mamba2", "attention"), build_prompts()
    found = {Role.AGGREGATE: random_sets(7)}
    options = CausalOptions(ablation=ablation, draws=2)
    row = causal_table(model, causal_runs(model, prompts, found, options), options, IDENTITY).to_dicts()[0]
    assert row["ablation"] == ablation.value
    assert row["mixers"] == "mamba2 + attention"
    assert row["intervention_nats"] != row["original_nats"]


def test_no_effect_is_said_in_words():
    model, prompts = build("attention"), build_prompts()
    with torch.no_grad():
        model.blocks[0].mixer.out.weight.zero_()
    options = CausalOptions(draws=2)
    some = {Role.AGGREGATE: random_sets(3, share=1.0), Role.GATHER: random_sets(3, share=0.0)}
    table = causal_table(model, causal_runs(model, prompts, some, options), options, IDENTITY)
    aggregate, gather = table.filter(control="random").to_dicts()
    assert aggregate["effect"] == "no effect: the logits did not change in any of 6 prompts"
    assert aggregate["control_count"] == 0, "no head is left to draw from"
    assert gather["effect"] == "no heads found in any prompt, so nothing was removed"
    assert gather["p"] is None
    assert gather["mean_layer"] is None


def test_an_lstm_is_told_to_have_no_heads():
    model = GroundedLSTM(GroundedLSTMConfig(vocab_size=VOCAB, d_model=16, n_layers=1)).eval()
    prompts, none = build_prompts(), torch.zeros(PROMPTS, 0, dtype=torch.bool)
    for ablation in Ablation:
        options = CausalOptions(ablation=ablation, draws=2)
        runs = causal_runs(model, prompts, {Role.AGGREGATE: none}, options)
        row = causal_table(model, runs, options, IDENTITY, text_losses(model, runs, prompts.input_ids)).to_dicts()[0]
        assert row["effect"] == "no heads: a GroundedLSTM has no mixing matrices"
        assert row["mixers"] == "none"
        assert row["intervention_nats"] is None
        assert row["original_nats"] > 0
    assert len(keep_table(model, [prompts], [none], "aggregate", options, IDENTITY)) == 0


def test_keeping_is_removing_the_rest_of_the_layer(tested):
    model, prompts, found, options, _ = tested
    sets = found[Role.AGGREGATE]
    table = keep_table(model, [prompts[:2], prompts[2:]], [sets[:2], sets[2:]], "aggregate", options, IDENTITY)
    for row in table.to_dicts():
        layer = torch.arange(6) // 3 == row["layer"]
        some = [i for i in range(PROMPTS) if (sets[i] & layer).any()]
        pairs = [(i, prompts.input_ids[i], prompts.targets[i]) for i in some]
        kept = [hooked_surprisal(model, ids, target, layer & ~sets[i]) for i, ids, target in pairs]
        none = [hooked_surprisal(model, ids, target, layer) for _, ids, target in pairs]
        assert row["n_prompts"] == len(some)
        assert row["kept_count"] == pytest.approx((sets & layer).sum().item() / len(some))
        assert row["kept_nats"] == pytest.approx(np.mean(kept), abs=1e-10)
        assert row["none_kept_nats"] == pytest.approx(np.mean(none), abs=1e-10)


def test_what_stands_in_for_heads_that_are_not_kept_is_what_stands_in_elsewhere(tested):
    model, prompts, found, *_ = tested
    some, sets = prompts[:2], found[Role.AGGREGATE][:2]
    text = torch.randint(VOCAB, (4, 9), generator=torch.Generator().manual_seed(9))
    layer = torch.arange(6) >= 3
    for ablation, reference in ((Ablation.MEAN, text), (Ablation.MEAN, None), (Ablation.RESAMPLE, None)):
        options = CausalOptions(ablation=ablation, draws=2, permutations=99, resamples=100)
        everything = some.with_mismatches()
        replacement = replacement_for(model, everything, options, reference)
        none = ablate(model, everything, torch.tensor([0, 3]), layer.repeat(2, 1), replacement=replacement).surprisal
        table = keep_table(model, [some], [sets | layer], "aggregate", options, IDENTITY, reference=reference)
        assert table.filter(layer=1)["none_kept_nats"].item() == pytest.approx(none.mean().item(), abs=1e-10)
    alone = keep_table(model, [some[:1]], [sets[:1] | layer], "aggregate", options, IDENTITY)
    assert len(alone), "a prompt alone in its length resamples from its mismatches"


def test_p_is_adjusted_over_checkpoints_within_a_family(tested):
    model, _, _, options, runs = tested
    frames = [
        causal_table(model, runs, options, {**IDENTITY, "step": step}).with_columns(pl.lit(p).alias("p"))
        for step, p in [(0, 0.01), (150, 0.04), (300, 0.03)]
    ]
    adjusted = adjust_over_checkpoints(frames, CAUSAL_FAMILY).filter(role="gather", control="random").sort("step")
    assert adjusted["p_holm"].to_list() == pytest.approx([0.03, 0.06, 0.06])


def test_paired_test_sees_a_difference_and_its_absence():
    words = np.repeat(np.arange(20), 5)
    noise = np.random.default_rng(0).normal(size=100)
    clear = paired_test(1 + noise, words, CausalOptions(), "clear")
    assert clear["n_units"] == 20
    assert clear["p"] == pytest.approx(1 / (CausalOptions().permutations + 1), rel=0.5)
    assert clear["ci_low_nats"] > 0
    assert paired_test(noise - noise.mean(), words, CausalOptions(), "none")["p"] > 0.3
    assert paired_test(noise, words, CausalOptions(unit="prompt"), "prompts")["n_units"] == 100
    assert paired_test(noise[:1], words[:1], CausalOptions(), "one")["p"] is None
