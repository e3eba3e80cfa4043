"""Checkpoints from disk: any stored precision, and one clear line for what cannot be loaded."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from groundscope.errors import ModelError
from groundscope.models import build, load_model, preset

IDS = torch.arange(8)[None]


@pytest.fixture(params=["transformer-4", "hybrid-even", "lstm-4"])
def model(request):
    return build(preset(request.param, 30, d_model=32, n_layers=2), 0).eval()


def test_what_was_saved_is_loaded(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.unembedding is loaded.embedding.weight
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_half_precision_on_disk_is_fp32_in_memory(model, tmp_path):
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded(IDS).logits.dtype == torch.float32


def test_what_is_missing_or_damaged_is_named(model, tmp_path):
    with pytest.raises(ModelError, match=r"no checkpoint at .*has no config\.json"):
        load_model(tmp_path)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(key for key in weights if key != "embedding.weight")

    save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=f"{name} should have shape .*found none"):
        load_model(tmp_path)
    save_file({**weights, "extra": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"extra should have shape none, found \(2,\)"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(ModelError, match="holds a 'gpt2' model"):
        load_model(tmp_path)
