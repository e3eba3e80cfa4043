"""Full vision-language models: the same logits as theirs, the gate on their text alone, and where their tokens look."""

import numpy as np
import pytest
import torch
import transformers as hf
from torch.testing import assert_close

from groundscope.corpus.boxes import Box, Size
from groundscope.errors import ModelError
from groundscope.mechanism.inspect_picture import inspect_picture, picture_prompt
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.models.pretrained_vlm import PretrainedVLM, vlm_from_pretrained
from groundscope.models.vlm_geometry import (
    best_resolution,
    llava_next_patches,
    llava_patches,
    picture_patches,
    qwen2_vl_patches,
    tiled_patches,
)

IMAGE = 90
TEXT = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CLIP = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 7, "projection_dim": 16,
}  # fmt: skip
GENERATOR = torch.Generator().manual_seed(0)


def ids(count):
    return torch.tensor([[1, 5, *[IMAGE] * count, 7, 8, 9]])


def llava():
    vision, text = hf.CLIPVisionConfig(**CLIP), hf.LlamaConfig(**TEXT)  # as many layers of vision as of text
    config = hf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    inputs = {"input_ids": ids(16), "pixel_values": torch.randn(1, 3, 28, 28, generator=GENERATOR)}
    return hf.LlavaForConditionalGeneration(config), inputs


def llava_next():
    vision, text = hf.CLIPVisionConfig(**CLIP), hf.LlamaConfig(**TEXT)
    pins = [[28, 56], [56, 28], [56, 56]]
    config = hf.LlavaNextConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, image_grid_pinpoints=pins
    )
    count = len(llava_next_patches(config, Size(60, 40)))
    pixels = torch.randn(1, 5, 3, 28, 28, generator=GENERATOR)
    inputs = {"input_ids": ids(count), "pixel_values": pixels, "image_sizes": torch.tensor([[40, 60]])}
    return hf.LlavaNextForConditionalGeneration(config), inputs


def qwen2_vl():
    rope = {"type": "mrope", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    vision = {
        "depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "mlp_ratio": 2,
    }  # fmt: skip
    config = hf.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": rope}, vision_config=vision, image_token_id=IMAGE,
        video_token_id=91, vision_start_token_id=92, vision_end_token_id=93,
    )  # fmt: skip
    grid = torch.tensor([[1, 4, 8]])
    pixels = torch.randn(32, 3 * 2 * 4 * 4, generator=GENERATOR)
    whole = ids(8)
    types = (whole == IMAGE).long()
    return hf.Qwen2VLForConditionalGeneration(config), {
        "input_ids": whole, "pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": types,
    }  # fmt: skip


def smolvlm():
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 8,
    }  # fmt: skip
    config = hf.SmolVLMConfig(
        vision_config=vision, text_config={**TEXT, "model_type": "llama"}, image_token_id=IMAGE, scale_factor=2,
        pad_token_id=0,
    )  # fmt: skip
    pixels = torch.randn(1, 3, 3, 32, 32, generator=GENERATOR)
    return hf.SmolVLMForConditionalGeneration(config), {"input_ids": ids(12), "pixel_values": pixels}


MODELS = {"llava": llava, "llava_next": llava_next, "qwen2_vl": qwen2_vl, "smolvlm": smolvlm}


@pytest.fixture(scope="module", params=MODELS)
def seen(request):
    torch.manual_seed(0)
    raw, inputs = MODELS[request.param]()
    model = PretrainedVLM(raw.eval())
    return request.param, model, model.see(inputs), inputs


def batch(seen, box=slice(2, 6)):
    ground = torch.zeros_like(seen.picture)
    ground[0, box] = True
    return PromptBatch(
        seen.input_ids, torch.tensor([11]), ground & seen.picture, scene=seen.picture, extras=dict(seen.extras)
    )


def test_the_language_model_alone_gives_the_whole_models_logits(seen):
    _, model, prompt, inputs = seen
    with torch.no_grad():
        whole = model.model(**inputs, use_cache=False).logits
        states = model.hidden(prompt.input_ids, **prompt.extras)
    assert_close(states @ model.unembedding.T, whole, rtol=1e-4, atol=1e-5)
    assert int(prompt.picture.sum()) == int((inputs["input_ids"] == IMAGE).sum())


def test_saliency_is_that_of_autograd(seen):
    _, model, prompt, inputs = seen
    found = saliency(model, batch(prompt), rows="last", keep_maps=[0])
    raw = model.model
    key = next(name for name in raw.config.sub_configs if "text" in name)
    raw.set_attn_implementation({key: "eager"})
    try:
        out = raw(**inputs, output_attentions=True, use_cache=False)
        loss = -out.logits[0, -1].log_softmax(-1)[11]
        gradients = torch.autograd.grad(loss, out.attentions)
    finally:
        raw.set_attn_implementation({key: "sdpa"})
    expected = torch.cat([(a * g)[0, :, -1:] for a, g in zip(out.attentions, gradients, strict=True)]).detach()
    assert float(expected.abs().max()) > 1e-5
    assert_close(found.maps[0], expected, atol=1e-7, rtol=1e-3)
    assert float(found.surprisal[0]) == pytest.approx(float(loss.detach()), rel=1e-5)


def test_the_backward_pass_keeps_one_state_per_layer_and_leaves_no_trace():
    torch.manual_seed(0)
    kept = {}
    for depth in (2, 6):
        vision, text = hf.CLIPVisionConfig(**CLIP), hf.LlamaConfig(**{**TEXT, "num_hidden_layers": depth})
        raw = hf.LlavaForConditionalGeneration(
            hf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
        )
        model = PretrainedVLM(raw.eval())
        prompt = model.see({"input_ids": ids(16), "pixel_values": torch.randn(1, 3, 28, 28, generator=GENERATOR)})
        weights = {parameter.untyped_storage().data_ptr() for parameter in raw.parameters()}
        seen_there, alive = {}, []

        def note(tensor, weights=weights, seen_there=seen_there, alive=alive):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                seen_there[storage.data_ptr()] = storage.nbytes()
                alive.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            saliency(model, batch(prompt), rows="last")
        kept[depth] = sum(seen_there.values())
        assert not any("forward" in vars(block) for block in model.anatomy.blocks)
    state = ids(16).numel() * 32 * 4
    assert (kept[6] - kept[2]) / 4 <= 1.5 * state


def test_an_inspection_shows_every_head_and_tests_what_it_found(seen):
    _, model, prompt, _ = seen
    found = inspect_picture(model, batch(prompt))
    assert len(found.heads) == len(found.names) == 8
    assert found.maps.shape == (8, int(prompt.picture.sum()))
    assert {head.name for head in found.heads if head.share >= 0.7} == {*found.found}
    assert (found.without is None) == (not found.found)


def test_a_prefix_that_sees_itself_whole_is_refused():
    text = {**TEXT, "model_type": "gemma", "head_dim": 8}
    vision = {**CLIP, "model_type": "siglip_vision_model"}
    vision["vision_use_head"] = False
    config = hf.PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, projection_dim=32, hidden_size=32
    )
    torch.manual_seed(0)
    raw = hf.PaliGemmaForConditionalGeneration(config).eval()
    whole = ids(16)
    inputs = {"input_ids": whole, "pixel_values": torch.randn(1, 3, 28, 28), "token_type_ids": torch.zeros_like(whole)}
    with pytest.raises(ModelError, match=r"sees what comes after|not causal"):
        PretrainedVLM(raw).see(inputs)


def test_tokens_look_where_the_families_say():
    class Images:
        do_center_crop, do_pad, size = True, False, {"shortest_edge": 28}

    vision = hf.CLIPVisionConfig(**CLIP)
    cropped = llava_patches(vision, Images(), Size(56, 28))
    assert len(cropped) == 16
    assert cropped.corners[0].tolist() == [14, 0, 21, 7]  # the middle of the picture
    qwen = qwen2_vl_patches(hf.Qwen2VLConfig().vision_config, Size(112, 56), 4, 8)
    assert len(qwen) == 8
    assert qwen.corners[0].tolist() == [0, 0, 28, 28]
    tiles = tiled_patches(smolvlm()[0].config, Size(64, 32), 1, 2)
    assert len(tiles) == 12
    np.testing.assert_allclose(tiles.corners[:4, 2].max(), 32)  # the first tile is the left half
    np.testing.assert_allclose(tiles.corners[8:, 2].max(), 64)  # the last one the whole
    with pytest.raises(ModelError, match="12 tokens, and its settings say 16"):
        picture_patches(llava()[0].config, Images(), Size(56, 28), 12, {})


@pytest.mark.parametrize("size", [Size(60, 40), Size(40, 60), Size(100, 30), Size(50, 50), Size(33, 71)])
def test_llava_next_counts_as_transformers_does_and_ends_its_rows_nowhere(size):
    model = llava_next()[0]
    patches = llava_next_patches(model.config, size)
    height, width = best_resolution(size, model.config.image_grid_pinpoints)
    tiles = 1 + height * width // 28**2
    features = [torch.zeros(tiles, 16, 4)]
    packed, counts = model.model.pack_image_features(
        features, torch.tensor([[size.height, size.width]]), "default", image_newline=torch.ones(4)
    )
    assert len(patches) == int(counts[0])
    newlines = packed[0].bool().all(dim=1).numpy()
    np.testing.assert_array_equal(newlines, ~patches.looks_somewhere)
    rest = patches.corners[16:][~newlines[16:]]
    # what the tiles see is the picture, but for a patch's width of padding that cannot be cut off
    patch = rest[0, 2] - rest[0, 0]
    assert abs(rest[:, 0].min()) <= patch
    assert abs(rest[:, 3].max() - size.height) <= patch
    assert patches.inside(Box(0, 0, size.width / 2, size.height / 2)).any()


def test_a_saved_model_is_loaded_and_what_is_none_is_refused(tmp_path):
    raw, inputs = llava()
    raw.save_pretrained(tmp_path / "llava")
    model = vlm_from_pretrained(str(tmp_path / "llava"))
    prompt = model.see(inputs)
    patches = llava_patches(raw.config.vision_config, None, Size(28, 28))
    ready = picture_prompt(prompt.input_ids, 11, prompt.picture, patches, Box(0, 0, 7, 7), extras=dict(prompt.extras))
    assert int(ready.ground.sum()) == 1
    with pytest.raises(ModelError, match="No picture can be prepared"):
        model.ask([], [])
    with pytest.raises(ModelError, match="no picture tokens"):
        model.see({"input_ids": torch.tensor([[1, 2, 3]])})
    with pytest.raises(ModelError, match="there is no such folder"):
        vlm_from_pretrained(str(tmp_path / "nothing"))
