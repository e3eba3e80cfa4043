"""A frozen ViT: its own features, in the places that the geometry says, cached, and with a random control."""

import shutil
from functools import partial
from threading import Barrier
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from groundscope.corpus.boxes import Box, Size
from groundscope.errors import ModelError
from groundscope.models import vision
from groundscope.models.vision import EncoderOptions, VisionEncoder

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 7, "image_size": 28}
KINDS = {
    "dinov2": (hf.Dinov2Config, hf.Dinov2Model, {}),
    "registers": (hf.Dinov2WithRegistersConfig, hf.Dinov2WithRegistersModel, {"num_register_tokens": 3}),
    "vit": (hf.ViTConfig, hf.ViTModel, {"intermediate_size": 32}),
    "clip": (hf.CLIPVisionConfig, hf.CLIPVisionModel, {"intermediate_size": 32}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tiny random encoders, saved as a release would be."""
    root = tmp_path_factory.mktemp("encoders")
    for name, (config, model, more) in KINDS.items():
        torch.manual_seed(0)
        model(config(**TINY, **more)).save_pretrained(root / name)
    return root


def picture(seed, size=(40, 40)):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3))
    return Image.fromarray(noise.astype(np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_the_models_own_without_its_other_tokens(folder, kind):
    encoder = VisionEncoder(EncoderOptions(name=str(folder / kind)))
    pictures = [picture(seed) for seed in range(3)]
    found = np.stack(list(encoder.encode(pictures, batch_size=2)))
    assert found.shape == (3, 16, 16) == (3, encoder.positions, encoder.d_patch)
    pixels = torch.stack([encoder.pixels(p) for p in pictures])
    with torch.no_grad():
        whole = encoder.model(pixel_values=pixels).last_hidden_state
    np.testing.assert_allclose(found, whole[:, -16:].half().numpy(), rtol=1e-2, atol=2e-3)


def test_pictures_are_prepared_on_all_cores_in_their_order(folder, tmp_path, monkeypatch):
    encoder = VisionEncoder(EncoderOptions(name=str(folder / "vit")))
    pictures = [picture(seed) for seed in range(4)]
    before = list(encoder.encode(pictures))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for step in ("pixels", "_cached"):
        together, alone = Barrier(2), getattr(encoder, step)
        monkeypatch.setattr(
            encoder, step, lambda *given, met=together, do=alone: met.wait(10) is not None and do(*given)
        )
    np.testing.assert_array_equal(list(encoder.encode(pictures, tmp_path)), before)


def test_a_patch_that_changes_changes_its_feature_most(folder):
    """The geometry is what happens: paint a box, and the patches that `inside` names are those that move."""
    for fit in ("stretch", "crop", "pad"):
        encoder = VisionEncoder(EncoderOptions(name=str(folder / "vit"), canvas=56, fit=fit, layer=0))
        before, after = picture(0, (120, 90)), picture(0, (120, 90))
        box = Box(40, 30, 25, 20)
        after.paste((255, 0, 0), (40, 30, 65, 50))
        one, two = encoder.encode([before, after])
        moved = np.abs(one.astype(float) - two).sum(axis=1)
        inside = encoder.patches(Size(120, 90)).share_in(box)
        assert (moved[inside == 0] < 0.3 * moved.max()).all()
        assert inside[moved.argmax()] > 0.2


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(120, 90), (90, 121), (333, 57), (20, 31)])
def test_each_patch_is_shown_as_much_of_a_box_as_the_geometry_says(folder, fit, size):
    """A white box on black: how bright a patch is, is which share of it lies in the box (but for resampling)."""
    encoder = VisionEncoder(EncoderOptions.model_validate({"name": str(folder / "vit"), "canvas": 60, "fit": fit}))
    draw = np.random.default_rng(0)
    for _ in range(6):
        width, height = (int(draw.integers(side // 4, side // 2)) for side in size)
        left, top = int(draw.integers(0, size[0] - width + 1)), int(draw.integers(0, size[1] - height + 1))
        black, white = Image.new("RGB", size), Image.new("RGB", size)
        white.paste((255, 255, 255), (left, top, left + width, top + height))
        bright = ((encoder.pixels(white) - encoder.pixels(black)) * torch.tensor(encoder.std)[:, None, None]).mean(0)
        shown = bright.unfold(0, 7, 7).unfold(1, 7, 7).mean((2, 3)).flatten().numpy()
        said = encoder.patches(Size(*size)).share_in(Box(left, top, width, height))
        np.testing.assert_allclose(shown, said, atol=0.15)


def test_named_tokens_stand_before_the_patches(folder):
    options = EncoderOptions(name=str(folder / "registers"), keep=("cls", "registers"))
    encoder = VisionEncoder(options)
    assert encoder.positions == 4 + 16
    assert encoder.patches(Size(40, 40)).looks_somewhere.tolist() == [False] * 4 + [True] * 16
    with pytest.raises(ModelError, match="no register tokens"):
        VisionEncoder(EncoderOptions(name=str(folder / "vit"), keep=("registers",)))


def test_the_control_is_random_by_its_seed_alone(folder):
    options = EncoderOptions(name=str(folder / "dinov2"), random_weights=True, seed=3)
    before = torch.random.get_rng_state()
    first, again = (next(VisionEncoder(options).encode([picture(0)])) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, again)
    other = next(VisionEncoder(options.model_copy(update={"seed": 4})).encode([picture(0)]))
    assert not np.array_equal(first, other)
    assert VisionEncoder(options).name == "dinov2 (random weights)"


def test_the_cache_answers_for_the_same_picture_and_encoder_only(folder, tmp_path):
    encoder = VisionEncoder(EncoderOptions(name=str(folder / "dinov2")))
    first = list(encoder.encode([picture(0), picture(1)], tmp_path))
    files = sorted(tmp_path.rglob("*.npy"))
    assert len(files) == 2
    np.save(files[0], np.full_like(first[0], 7))  # what is read back is what is there
    assert sum((known == 7).all() for known in encoder.encode([picture(0), picture(1)], tmp_path)) == 1
    larger = VisionEncoder(EncoderOptions(name=str(folder / "dinov2"), canvas=42))
    list(larger.encode([picture(0)], tmp_path))
    assert len(list(tmp_path.rglob("*.npy"))) == 3


@pytest.mark.parametrize("damage", [b"", b"garbage", b"PK\x03\x04 is no zip", "cut", "shape", "kind"])
def test_what_is_damaged_in_the_cache_is_computed_anew(folder, tmp_path, damage):
    encoder = VisionEncoder(EncoderOptions(name=str(folder / "dinov2")))
    (first,) = encoder.encode([picture(0)], tmp_path)
    (file,) = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    if damage == "shape":
        np.save(file, first[:2])
    elif damage == "kind":
        np.save(file, first.astype(np.float32) + 1)
    else:
        file.write_bytes(whole[:200] if damage == "cut" else damage)
    (again,) = encoder.encode([picture(0)], tmp_path)
    np.testing.assert_array_equal(first, again)
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_told(folder, tmp_path):
    (tmp_path / "file").touch()
    encoder = VisionEncoder(EncoderOptions(name=str(folder / "dinov2")))
    with pytest.raises(ModelError, match="Name another folder as `cache`"):
        list(encoder.encode([picture(0)], tmp_path / "file"))


def test_a_random_encoder_with_other_colours_is_another_in_the_cache(folder, tmp_path):
    shutil.copytree(folder / "dinov2", tmp_path / "vit")
    options = EncoderOptions(name=str(tmp_path / "vit"), random_weights=True)
    (first,) = VisionEncoder(options).encode([picture(0)], tmp_path / "cache")
    (tmp_path / "vit" / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.1, 0.1]}')
    (other,) = VisionEncoder(options).encode([picture(0)], tmp_path / "cache")
    assert not np.array_equal(first, other)


def test_colours_are_normalised_as_the_encoders_own_processor_does(folder, tmp_path, monkeypatch):
    """From a folder, and from a repository: CLIP and SigLIP have other means than ImageNet's."""
    assert VisionEncoder(EncoderOptions(name=str(folder / "vit"))).mean == vision.IMAGENET[0]
    file = folder / "clip" / "preprocessor_config.json"
    file.write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}')
    encoder = VisionEncoder(EncoderOptions(name=str(folder / "clip")))
    assert (encoder.mean, encoder.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    # a repository, as it lies in the cache
    commit = "0" * 40
    place = tmp_path / "models--owner--name"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(folder / "clip", place / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with monkeypatch.context() as patch:
        for module, names in ((vision, ("cached_file",)), (vision.AutoModel, ("from_pretrained",))):
            for name in names:
                patch.setattr(module, name, partial(getattr(module, name), cache_dir=tmp_path))
        far = VisionEncoder(EncoderOptions(name="owner/name"))
        assert far.mean == (0.5, 0.5, 0.5)
        (place / "snapshots" / commit).rename(place / "snapshots" / ("1" * 40))
        (place / "refs" / "main").write_text("1" * 40)
        moved = VisionEncoder(EncoderOptions(name="owner/name"))
    assert moved.identity != far.identity


def test_features_that_fp16_does_not_hold_are_refused(folder):
    encoder = VisionEncoder(EncoderOptions(name=str(folder / "dinov2")))
    with torch.no_grad():
        encoder.model.layernorm.weight.fill_(1e6)
    with pytest.raises(ModelError, match="does not hold: take its last"):
        list(encoder.encode([picture(0)]))


def test_what_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="could not be loaded"):
        VisionEncoder(EncoderOptions(name=str(tmp_path / "nowhere")))
    hf.GPT2Model(hf.GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="which has no patches"):
        VisionEncoder(EncoderOptions(name=str(tmp_path)))


def test_what_does_not_take_pictures_as_a_vit_does_is_refused(folder, tmp_path):
    small: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    hf.Siglip2VisionModel(hf.Siglip2VisionConfig(**small, patch_size=7)).save_pretrained(tmp_path / "flexible")
    hf.ViTModel(hf.ViTConfig(**{**TINY, **small, "num_channels": 1})).save_pretrained(tmp_path / "grey")
    for name, options, told in (
        (tmp_path / "flexible", {}, "set `canvas`"),
        (tmp_path / "flexible", {"canvas": 28}, "does not take a colour picture of 28 x 28"),
        (tmp_path / "grey", {}, "does not take a colour picture of 28 x 28"),
        (folder / "vit", {"layer": 5}, "has 2 layers, but `layer` is 5"),
    ):
        with pytest.raises(ModelError, match=told):
            VisionEncoder(EncoderOptions.model_validate({"name": str(name), **options}))


@pytest.mark.real
def test_a_pretrained_encoder_tells_pictures_of_different_things_apart(real_data):
    encoder = VisionEncoder(EncoderOptions(name=str(real_data / "weights/dinov2-small"), canvas=56))
    assert (encoder.patch, encoder.d_patch, encoder.positions) == (14, 384, 16)
    grey = Image.new("RGB", (64, 64), (200, 200, 200))
    red, moved = grey.copy(), grey.copy()
    red.paste((220, 30, 30), (0, 0, 32, 32))
    moved.paste((220, 30, 30), (32, 32, 64, 64))
    plain, one, two = (features.astype(float) for features in encoder.encode([grey, red, moved]))
    changed = np.linalg.norm(one - plain, axis=1).reshape(4, 4), np.linalg.norm(two - plain, axis=1).reshape(4, 4)
    assert changed[0][:2, :2].mean() > changed[0][2:, 2:].mean()
    assert changed[1][2:, 2:].mean() > changed[1][:2, :2].mean()
