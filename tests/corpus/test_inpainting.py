"""The real pipeline class of diffusers with tiny random parts: what it paints is noise, where it paints is exact."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from groundscope.corpus.boxes import Box
from groundscope.corpus.inpainting import Inpainter
from groundscope.errors import CorpusError


def test_a_device_that_is_not_there_is_named(monkeypatch):
    pipeline = torch.nn.Linear(1, 1)
    loads = type("Loads", (), {"from_pretrained": staticmethod(lambda name, torch_dtype: pipeline)})
    monkeypatch.setitem(sys.modules, "diffusers", SimpleNamespace(AutoPipelineForInpainting=loads))
    with pytest.raises(CorpusError, match=r"cannot be put on 'cuda:63' \(.+\); name another device"):
        Inpainter.from_pretrained("painter", device="cuda:63")
    assert Inpainter.from_pretrained("painter").pipeline is pipeline


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # third-party
def test_a_tiny_random_stable_diffusion_repaints_the_box_alone(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    blocks = {"block_out_channels": (32, 64), "layers_per_block": 1}
    unet = diffusers.UNet2DConditionModel(
        **blocks, sample_size=16, in_channels=9, out_channels=4, cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=[32, 64], in_channels=3, out_channels=3, latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=1, vocab_size=6)
    )
    vocabulary = {token: i for i, token in enumerate(["a", "a</w>", "c", "t</w>", "<|startoftext|>", "<|endoftext|>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=77)
    pipeline = diffusers.StableDiffusionInpaintPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=diffusers.DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 3)).astype(np.uint8)
    picture, box = Image.fromarray(noise), Box(20, 8, 16, 16)
    painted = [np.asarray(Inpainter(pipeline).repaint(picture, box, "cat", seed=seed, steps=2)) for seed in (1, 1, 2)]
    changed = (painted[0] != noise).any(axis=2)
    assert changed[8:24, 20:36].mean() > 0.9
    changed[8:24, 20:36] = False
    assert not changed.any()
    np.testing.assert_array_equal(painted[0], painted[1])
    assert (painted[0] != painted[2]).any()
