"""Our lens against the tuned-lens library's, given the same model, weights and data."""

import warnings

import numpy as np
import pytest
import torch
import transformers as hf

from groundscope.errors import AnalysisError
from groundscope.mechanism.lens import LogitLens, TunedLens
from groundscope.mechanism.lens_files import library_hash, load_lens, save_lens
from groundscope.mechanism.lens_training import LensOptions, train_lens
from groundscope.models.pretrained import PretrainedLM
from groundscope.training.order import DataOrder

with warnings.catch_warnings():  # the library's own imports warn
    warnings.simplefilter("ignore")
    library = pytest.importorskip(
        "tuned_lens.nn.lenses",
        reason="tuned-lens is not installed (pip install tuned-lens --no-deps)",
        exc_type=ImportError,
    )
    from tuned_lens.nn.unembed import Unembed

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
SPECIALS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FAMILIES = {
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=256, bos_token_id=1, eos_token_id=2)
    ),
    "pythia": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES, **SPECIALS)),
    "llama-gqa": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, **SPECIALS, num_key_value_heads=1)),
}


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def model(request):
    torch.manual_seed(0)
    model = FAMILIES[request.param]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
    return model


@pytest.fixture
def lenses(model):
    """The library's lens with random weights, and ours with the same."""
    torch.manual_seed(1)
    theirs = library.TunedLens.from_model(model)
    ours = TunedLens.from_model(PretrainedLM(model))
    with torch.no_grad():
        for layer, translator in enumerate(theirs):
            translator.weight.normal_(0, 0.2)
            translator.bias.normal_(0, 0.2)
            ours.weight[layer], ours.bias[layer] = translator.weight, translator.bias
    return theirs, ours


def relative_error(found, expected):
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("length", [1, 7, 64, 200])
def test_logits_are_the_librarys(model, lenses, length):
    theirs, ours = lenses
    lm = PretrainedLM(model)
    ids = torch.randint(3, 50, (2, length), generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        reported = model(ids, output_hidden_states=True).hidden_states
        stream = lm.residual_stream(ids)
        logit_lens = library.LogitLens.from_model(model)
        for layer in range(3):
            assert relative_error(ours(lm, stream[layer], layer), theirs(reported[layer], layer)) < 1e-6
            plain = LogitLens.from_model(lm)(lm, stream[layer], layer)
            assert relative_error(plain, logit_lens(reported[layer], layer)) < 1e-6


def test_training_takes_the_librarys_steps(model):
    """Its loss, optimizer and schedule (its train_loop.py and ingredients.py), in float32 and without clipping."""
    steps, batch = 5, 4
    chunks = np.random.default_rng(0).integers(3, 50, (steps * batch, 10))
    options = LensOptions(
        steps=steps, tokens_per_step=batch * 10, optimizer="sgd", learning_rate=0.1, weight_decay=1e-3, clip=1e9
    )
    lm = PretrainedLM(model)
    ours, losses = train_lens(lm, chunks, options, seed=0)

    theirs = library.TunedLens.from_model(model)
    parameters = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    falling = hf.get_linear_schedule_with_warmup(sgd, 0, steps)
    order = DataOrder(len(chunks), batch, seed=0)
    for step in range(steps):
        with torch.no_grad():
            out = model(torch.from_numpy(chunks[order.chunks_at(step)]), output_hidden_states=True)
        labels = out.logits.float().log_softmax(dim=-1)
        for layer, state in enumerate(out.hidden_states[:-1]):
            logits = theirs(state, idx=layer)
            loss = torch.sum(labels.exp() * (labels - logits.log_softmax(-1)), dim=-1).mean()
            loss.backward()
            assert abs(loss.item() - losses[step, layer].item()) < 1e-5
        sgd.step()
        sgd.zero_grad()
        falling.step()
    for layer, translator in enumerate(theirs):
        assert relative_error(ours.weight[layer], translator.weight) < 1e-5
        assert relative_error(ours.bias[layer], translator.bias) < 1e-5


def test_the_hash_of_the_unembedding_is_the_librarys(model):
    assert library_hash(PretrainedLM(model).unembedding) == Unembed(model).unembedding_hash()


def test_the_librarys_lens_is_read(model, lenses, tmp_path):
    theirs, ours = lenses
    theirs.save(tmp_path / "lens")
    found = load_lens(tmp_path / "lens", PretrainedLM(model))
    assert torch.equal(found.weight, ours.weight)
    assert torch.equal(found.bias, ours.bias)


def test_a_library_lens_of_another_model_is_refused(model, lenses, tmp_path):
    lenses[0].save(tmp_path / "lens")
    with torch.no_grad():
        kept = model.get_output_embeddings().weight[0, 0].clone()
        model.get_output_embeddings().weight[0, 0] += 1  # a corner: all that the library's hash sees
    try:
        with pytest.raises(AnalysisError, match="another unembedding"):
            load_lens(tmp_path / "lens", PretrainedLM(model))
    finally:
        with torch.no_grad():
            model.get_output_embeddings().weight[0, 0] = kept


def test_the_library_reads_our_lens(model, lenses, tmp_path):
    theirs, ours = lenses
    save_lens(tmp_path / "lens", ours, PretrainedLM(model), base_model="tiny", library_pickle=True)
    found = library.TunedLens.from_unembed_and_pretrained(Unembed(model), str(tmp_path / "lens"))
    for mine, translator in zip(found, theirs, strict=True):
        assert torch.equal(mine.weight, translator.weight)
        assert torch.equal(mine.bias, translator.bias)
    assert found.config.base_model_name_or_path == "tiny"
