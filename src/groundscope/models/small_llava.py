"""A small LLaVA put together from an encoder and a language model that are at hand, for machines without a large one.

`assemble` gives transformers' own `LlavaForConditionalGeneration`, so that everything which reads a LLaVA reads it.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from groundscope.models.hub import no_progress_bar

IMAGE = "<image>"


def assemble(encoder: str | Path, language_model: str | Path, *, canvas: int, seed: int = 0) -> tuple:
    """Return (model, processor): a frozen ViT and a causal language model, joined by a projector drawn from ``seed``.

    Pictures are resized to ``canvas`` x ``canvas`` pixels. The tokenizer gains the token `IMAGE`. Only the projector
    and the language model want training: the encoder's weights take no gradients.
    """
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    with no_progress_bar():
        eye: Any = AutoModel.from_pretrained(encoder, dtype=torch.float32)
        speaker: Any = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float32)
    vision = AutoConfig.from_pretrained(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the new token's row is drawn, too
        speaker.resize_token_embeddings(max(len(tokenizer), speaker.config.vocab_size), mean_resizing=False)
    config = LlavaConfig(
        vision_config={**vision.to_dict(), "image_size": canvas},
        text_config=speaker.config.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        image_seq_length=(canvas // vision.patch_size) ** 2,
        tie_word_embeddings=bool(speaker.config.tie_word_embeddings),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    weights = {
        name: value for name, value in eye.state_dict().items() if not name.endswith("position_embeddings")
    }  # fmt: skip
    positions = _resized_positions(eye, canvas // vision.patch_size)
    model.model.vision_tower.load_state_dict({**weights, "embeddings.position_embeddings": positions})
    model.model.language_model.load_state_dict(speaker.base_model.state_dict())
    model.lm_head.load_state_dict(speaker.get_output_embeddings().state_dict())
    model.model.vision_tower.requires_grad_(False)
    images = BitImageProcessorPil(
        size={"height": canvas, "width": canvas},
        do_center_crop=False,
        crop_size={"height": canvas, "width": canvas},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
    )
    return model, processor


def _resized_positions(eye: Any, side: int) -> torch.Tensor:
    """The encoder's position embeddings for ``side`` x ``side`` patches, interpolated as it does itself."""
    embeddings = eye.embeddings
    patch = eye.config.patch_size
    count = embeddings.position_embeddings.shape[1]
    if count == side * side + 1:
        return embeddings.position_embeddings.detach()
    dummy = torch.zeros(1, side * side + 1, eye.config.hidden_size)
    return embeddings.interpolate_pos_encoding(dummy, side * patch, side * patch).detach()
