"""Vision-language models through transformers' own processors: what people give, where each token's pixels are from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from groundscope.corpus.boxes import Box
from groundscope.errors import ModelError
from groundscope.mechanism.picture_questions import PictureQuestion, ready
from groundscope.models.pretrained_vlm import PretrainedVLM, vlm_from_pretrained

WORDS = ("<unk>", "<s>", "this", "is", "a", "dog", "cat")
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "vocab_size": 64, "pad_token_id": 0,
}  # fmt: skip
CLIP = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
    "patch_size": 14, "projection_dim": 16,
}  # fmt: skip
SIZES = [(120, 90), (90, 121), (33, 71), (200, 40), (57, 57)]


def tokenizer(*marks):
    cut = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    cut.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=cut, unk_token="<unk>", bos_token="<s>")
    fast.add_special_tokens({"additional_special_tokens": list(marks)})
    return fast


def llava(pad):
    words = tokenizer("<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**CLIP), text_config=hf.LlamaConfig(**TEXT),
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    square = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    images = hf.LlavaImageProcessorPil(**square, do_pad=True) if pad else hf.CLIPImageProcessorPil(**square)
    rest = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return hf.LlavaForConditionalGeneration(config), hf.LlavaProcessor(images, words, **rest)


def llava_next():
    words, pins = tokenizer("<image>"), [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**CLIP), text_config=hf.LlamaConfig(**TEXT), image_grid_pinpoints=pins,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    square = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    images = LlavaNextImageProcessorPil(**square, image_grid_pinpoints=pins)
    rest = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return hf.LlavaNextForConditionalGeneration(config), hf.LlavaNextProcessor(images, words, **rest)


def qwen2_vl():
    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    words = tokenizer(*marks)
    image, video, start, end = words.convert_tokens_to_ids(list(marks))
    rope = {"type": "mrope", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 14, "mlp_ratio": 2}
    config = hf.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": rope}, vision_config=vision, image_token_id=image,
        video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    # its constructor wants a video processor, and that wants torchvision
    processor = hf.Qwen2VLProcessor.__new__(hf.Qwen2VLProcessor)
    vars(processor).update(
        image_processor=Qwen2VLImageProcessorPil(), tokenizer=words, video_processor=None, chat_template=None,
        image_token=marks[0], video_token=marks[1], image_token_id=image, video_token_id=video,
    )  # fmt: skip
    return hf.Qwen2VLForConditionalGeneration(config), processor


TILES = {
    "vision_config": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 8,
    },
    "text_config": {**TEXT, "model_type": "llama"}, "scale_factor": 2, "pad_token_id": 0,
}  # fmt: skip
TILED = {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 32}}


def tile_words():
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    words = tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles)
    return words, words.convert_tokens_to_ids("<image>")


def idefics3():
    words, image = tile_words()
    config = hf.Idefics3Config(**TILES, image_token_id=image)
    processor = hf.Idefics3Processor(Idefics3ImageProcessorPil(**TILED), words, image_seq_len=4)
    return hf.Idefics3ForConditionalGeneration(config), processor


def smolvlm():
    words, image = tile_words()
    config = hf.SmolVLMConfig(**TILES, image_token_id=image)
    # its constructor wants a video processor and num2words
    processor = hf.SmolVLMProcessor.__new__(hf.SmolVLMProcessor)
    vars(processor).update(
        image_processor=SmolVLMImageProcessorPil(**TILED), tokenizer=words, chat_template=None,
        video_processor=SimpleNamespace(num_frames=1, fps=1),
        image_token="<image>", image_token_id=image, video_token="<video>", image_seq_len=4,
        fake_image_token="<fake_token_around_image>", global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    )  # fmt: skip
    return hf.SmolVLMForConditionalGeneration(config), processor


FAMILIES = {
    "llava": lambda: llava(pad=False),
    "llava padded": lambda: llava(pad=True),
    "llava_next": llava_next,
    "qwen2_vl": qwen2_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    torch.manual_seed(0)
    raw, processor = FAMILIES[request.param]()
    return request.param, PretrainedVLM(raw.eval(), processor)


def gradient(width, height):
    """A picture that says in red and green how far right and down each pixel is."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray((255 * np.stack([x, y, np.ones_like(x)], axis=-1)).round().astype(np.uint8))


def shown(name, model, picture):
    """What each token is shown: the mean colour of its pixels, as the processor hands them to the vision tower."""
    images = model.processor.image_processor
    out = images(picture, return_tensors="pt")
    mean, std = (torch.tensor(value)[:, None, None] for value in (images.image_mean, images.image_std))

    def cells(canvas, side):
        return torch.nn.functional.avg_pool2d(canvas * std + mean, side).flatten(1).T

    pixels = out["pixel_values"]
    match name:
        case "llava" | "llava padded":
            return cells(pixels[0], 14)
        case "llava_next":
            tiles = torch.stack([cells(tile, 14) for tile in pixels[0]])
            newline = torch.full((3,), torch.nan)
            return model.model.model.pack_image_features([tiles], out["image_sizes"], "default", newline)[0][0]
        case "qwen2_vl":
            patches = pixels.reshape(-1, 4, 3, 2, 14, 14)[:, :, :, 0].mean(dim=1)  # four are merged to a token
            return (patches * std + mean).mean(dim=(2, 3))
        case _:
            return torch.cat([cells(tile, 16) for tile in pixels[0]])


@pytest.mark.parametrize("size", SIZES)
def test_each_token_looks_where_its_pixels_are_from(family, size):
    name, model = family
    picture = gradient(*size)
    seen, (patches,) = model.ask([picture], ["this is a"])
    assert int(seen.picture.sum()) == len(patches)
    expected = shown(name, model, picture)[:, :2].double().numpy()
    assert np.array_equal(np.isnan(expected[:, 0]), ~patches.looks_somewhere)
    corners = patches.corners / np.tile(size, 2)
    whole = ((corners > -1e-6) & (corners < 1 + 1e-6)).all(axis=1)  # no padding among its pixels
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    np.testing.assert_allclose(middle[whole], expected[whole], atol=0.015)
    if name != "llava padded":  # a narrow picture leaves padding in every one of its patches
        assert whole.sum() >= 4


def test_a_question_is_read_to_its_end_and_its_word_follows(family):
    name, model = family
    question = PictureQuestion(gradient(60, 40), "this is a", "dog", Box(0, 0, 20, 20))
    _, (asked,) = ready(model, [question])
    ids = asked.prompt.input_ids[0].tolist()
    assert model.tokenizer.convert_ids_to_tokens(ids[-3:]) == ["this", "is", "a"]
    assert asked.prompt.targets.tolist() == [WORDS.index("dog")]
    first, last = asked.prompt.scene[0].nonzero()[[0, -1], 0].tolist()
    if name == "qwen2_vl":  # its pictures stand between marks of their own
        around = model.tokenizer.convert_ids_to_tokens([ids[first - 1], ids[last + 1]])
        assert around == ["<|vision_start|>", "<|vision_end|>"]


CHAT = (
    "{{ bos_token }}{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}MARK {% else %}{{ part.text }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}answer:{% endif %}"
)


def test_a_question_goes_through_the_chat_template_and_the_prompt_begins_the_answer(family):
    _, model = family
    question = PictureQuestion(gradient(60, 40), "a", "dog", Box(0, 0, 20, 20), "this is")
    model.processor.chat_template = CHAT.replace("MARK", model.picture_mark)
    try:
        _, (asked,) = ready(model, [question])
    finally:
        model.processor.chat_template = None
    ids = asked.prompt.input_ids[0]
    last = int(asked.prompt.scene[0].nonzero()[-1, 0])
    behind = model.tokenizer.convert_ids_to_tokens(ids[last + 1 :].tolist())
    assert behind[-4:] == ["this", "is", "<unk>", "a"]
    assert int((ids == model.tokenizer.bos_token_id).sum()) == 1
    with pytest.raises(ModelError, match="no chat template"):
        ready(model, [question])


@pytest.mark.parametrize("text_only", ["{{ messages[0].content + 'x' }}", "{{ raise_exception('no pictures') }}"])
def test_a_chat_template_without_pictures_is_refused(text_only):
    raw, processor = llava(pad=False)
    processor.chat_template = text_only
    with pytest.raises(ModelError, match="does not take a picture and a question"):
        PretrainedVLM(raw.eval(), processor).answering("what is this", "a")


def test_a_start_token_that_the_tokenizer_adds_is_not_given_twice():
    raw, processor = llava(pad=False)
    processor.tokenizer.backend_tokenizer.post_processor = starting(processor.tokenizer)
    processor.chat_template = CHAT.replace("MARK", "<image>")
    model = PretrainedVLM(raw.eval(), processor)
    _, (asked,) = ready(model, [PictureQuestion(gradient(60, 40), "a", "dog", Box(0, 0, 20, 20), "this is")])
    assert (asked.prompt.input_ids[0] == processor.tokenizer.bos_token_id).nonzero().flatten().tolist() == [0]


def starting(words):
    return TemplateProcessing(single="<s> $A", special_tokens=[("<s>", words.bos_token_id)])


def test_prompts_that_a_processor_or_model_does_not_take_are_refused(family):
    _, model = family
    token = model.processor.image_token
    with pytest.raises(ModelError, match="does not take this prompt and picture"):
        model.ask([gradient(60, 40)], [f"{token} {token} this is a"])
    with pytest.raises(ModelError, match="was made for 512"):
        model.ask([gradient(60, 40)], ["this " * 600])


def test_a_tokenizer_that_ends_its_texts_is_refused():
    raw, processor = llava(pad=False)
    processor.tokenizer.backend_tokenizer.post_processor = hf_ending(processor.tokenizer)
    model = PretrainedVLM(raw.eval(), processor)
    question = PictureQuestion(gradient(60, 40), "this is a", "dog", Box(0, 0, 20, 20))
    with pytest.raises(ModelError, match="does not end with the prompt"):
        ready(model, [question])


def hf_ending(words):
    return TemplateProcessing(single="$A <s>", special_tokens=[("<s>", words.bos_token_id)])


@pytest.fixture
def saved(tmp_path):
    raw, processor = llava(pad=False)
    raw.save_pretrained(tmp_path / "llava")
    processor.save_pretrained(tmp_path / "llava")
    return tmp_path / "llava"


def test_a_saved_model_comes_with_its_processor_in_any_dtype(saved):
    question = PictureQuestion(gradient(60, 40), "this is a", "dog", Box(0, 0, 20, 20))
    for dtype in ("float32", "bfloat16"):
        model = vlm_from_pretrained(str(saved), dtype=dtype)
        _, (asked,) = ready(model, [question])
        assert str(asked.prompt.extras["inputs_embeds"].dtype) == f"torch.{dtype}"


def test_what_cannot_be_loaded_is_explained(saved, tmp_path):
    def refused(says, path=saved, **options):
        with pytest.raises(ModelError, match=says):
            vlm_from_pretrained(str(path), **options)

    refused("it has no revision 'step1'", revision="step1")
    refused("There is no device 'foo'", device="foo")
    refused("Did you mean 'bfloat16'", dtype="bfloat")
    refused("has no config.json", path=tmp_path)
    hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT)).save_pretrained(tmp_path / "llama")
    refused("is not a vision-language model", path=tmp_path / "llama")
    weights = saved / "model.safetensors"
    kept = load_file(weights)
    kept[next(name for name in kept if "lm_head" in name)] = torch.zeros(3, 32)
    save_file(kept, weights, {"format": "pt"})
    refused("are of other sizes than its config.json says")
    del kept[next(name for name in kept if "lm_head" in name)]
    save_file(kept, weights, {"format": "pt"})
    refused("lacks weights of a LlavaForConditionalGeneration")
    weights.write_bytes(weights.read_bytes()[:100])
    refused("are damaged")


def test_a_processor_that_cannot_be_had_says_why(saved):
    (saved / "processor_config.json").write_text('{"processor_class": "Qwen2VLProcessor"}', encoding="utf-8")
    model = vlm_from_pretrained(str(saved))
    with pytest.raises(ModelError, match="its processor cannot be had"):
        model.ask([gradient(60, 40)], ["this is a"])
