"""Vision-language models of Hugging Face's, read as language models whose stream holds a picture.

The picture goes through the vision tower once (`see`); what the language model is then handed, its input embeddings and
positions, is kept, and every analysis runs the language model alone on them. So the gate, saliency and interventions
are those of text, nothing of the vision tower is ever in a graph, and no family of models needs code of its own but for
where its picture tokens look (`models.vlm_geometry`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from groundscope.corpus.boxes import Patches, Size
from groundscope.errors import ModelError, did_you_mean
from groundscope.models.hub import DTYPES, no_progress_bar
from groundscope.models.pretrained import PretrainedLM
from groundscope.models.vlm_geometry import picture_patches

_NOT_FORWARDED = ("attention_mask", "rows", "cols")
"""What processors return and models do not read, or need not: nothing is padded."""


@dataclass(frozen=True)
class Seen:
    """A prompt with its picture, as the language model is handed it.

    ``extras`` are the further arguments of `PretrainedVLM.hidden`, first axis prompt: what `PromptBatch.extras` takes.
    """

    input_ids: Int[Tensor, "prompt time"]
    picture: Bool[Tensor, "prompt time"]  # positions that hold the picture
    extras: Mapping[str, Tensor]


class PretrainedVLM(PretrainedLM):
    """A vision-language model, wrapped and never changed; see the module's text.

    Raises ModelError for models without a causal language model of their own (PaliGemma's sees its whole prompt at
    once) and for those whose parts cannot be found.
    """

    def __init__(self, model: PreTrainedModel, processor: Any = None):
        super().__init__(model, getattr(processor, "tokenizer", None))
        self.processor = processor
        self.language_model: nn.Module = _language_model(model)
        self.image_token: int = _image_token(model)

    def hidden(
        self,
        input_ids: Int[Tensor, "batch time"],
        inputs_embeds: Float[Tensor, "batch time d_model"] | None = None,
        position_ids: Int[Tensor, "batch *axes time"] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Return the states after the final norm; with ``inputs_embeds`` (from `see`) those under the picture."""
        if inputs_embeds is None:
            return super().hidden(input_ids)
        with self._asking():
            return self._run(inputs_embeds, position_ids)

    def residual_stream(
        self,
        input_ids: Int[Tensor, "batch time"],
        inputs_embeds: Float[Tensor, "batch time d_model"] | None = None,
        position_ids: Int[Tensor, "batch *axes time"] | None = None,
    ) -> list[Float[Tensor, "batch time d_model"]]:
        """Return n_layers + 1 states of the language model, under the picture where it is given."""
        if inputs_embeds is None:
            return super().residual_stream(input_ids)
        with self._asking(), self.anatomy.recorded() as stream:
            self._run(inputs_embeds, position_ids)
        return stream

    @torch.no_grad()
    def see(self, inputs: Mapping[str, Tensor]) -> Seen:
        """Send pictures through the vision tower; ``inputs`` are what the model's own processor returns.

        Raises ModelError where the prompt holds no picture tokens, or is padded.
        """
        ids = inputs["input_ids"]
        picture = ids == self.image_token
        if not bool(picture.any(dim=1).all()):
            raise ModelError("A prompt holds no picture tokens; give it through the model's own processor.")
        mask = inputs.get("attention_mask")
        if mask is not None and not bool(mask.all()):
            raise ModelError("Prompts are padded; give those of one length together, or one at a time.")
        handed: dict[str, Any] = {}
        hook = self.language_model.register_forward_pre_hook(
            lambda _, args, kwargs: handed.update(kwargs), with_kwargs=True
        )
        try:
            wanted = {name: value for name, value in inputs.items() if name not in _NOT_FORWARDED}
            whole = self.model.base_model(**wanted, use_cache=False).last_hidden_state
        finally:
            hook.remove()
        extras = {"inputs_embeds": handed["inputs_embeds"].detach()}
        positions = handed.get("position_ids")
        if positions is not None:  # Qwen2-VL's are [axis, prompt, time]
            extras["position_ids"] = positions.expand(len(ids), -1) if positions.ndim == 2 else positions.movedim(1, 0)
        again = self.hidden(ids, **extras)
        if not torch.allclose(again.double(), whole.double(), rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
            raise ModelError(
                f"The language model of this {type(self.model).__name__} is handed more than embeddings and positions: "
                "it sees what comes after (PaliGemma's prompt), or the picture enters later layers too."
            )
        return Seen(ids.cpu(), picture.cpu(), extras)

    def ask(self, pictures: list[Image.Image], prompts: list[str]) -> tuple[Seen, list[Patches]]:
        """Return prompts with their pictures, and where each picture's tokens look.

        A prompt that has no picture token gets one in front. Raises ModelError without a processor, and where the
        geometry of the model's kind is not known.
        """
        if self.processor is None:
            raise ModelError("This model came without a processor, so pictures cannot be prepared for it.")
        token = getattr(self.processor, "image_token", None) or "<image>"
        texts = [prompt if token in prompt else f"{token}\n{prompt}" for prompt in prompts]
        inputs = self.processor(images=pictures, text=texts, return_tensors="pt")
        inputs = {name: value.to(self.unembedding.device) for name, value in inputs.items()}
        seen = self.see(inputs)
        sizes = [Size(*picture.size) for picture in pictures]
        counts = seen.picture.sum(dim=1).tolist()
        patches = [
            picture_patches(self.model.config, self.processor, size, count, inputs, row)
            for row, (size, count) in enumerate(zip(sizes, counts, strict=True))
        ]
        return seen, patches

    def _run(self, inputs_embeds: Tensor, position_ids: Tensor | None) -> Tensor:
        if position_ids is not None and position_ids.ndim == 3:
            position_ids = position_ids.movedim(0, 1)
        return self.language_model(
            inputs_embeds=inputs_embeds, position_ids=position_ids, use_cache=False
        ).last_hidden_state


def vlm_from_pretrained(
    name_or_path: str, revision: str | None = None, *, device: str = "cpu", dtype: str = "float32"
) -> PretrainedVLM:
    """Load a vision-language model and its processor in eval mode.

    Raises ModelError when there is no such model, when it is none, or when it lacks weights.
    """
    if dtype not in DTYPES:
        raise ModelError(f"Unknown dtype '{dtype}'; choose from {list(DTYPES)}.{did_you_mean(dtype, DTYPES)}")
    try:
        config = AutoConfig.from_pretrained(name_or_path, revision=revision)
        with no_progress_bar():
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                name_or_path, revision=revision, dtype=DTYPES[dtype], output_loading_info=True
            )
        model, report = loaded
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ModelError(f"'{name_or_path}' is no vision-language model that can be loaded: {reason}") from None
    if report["missing_keys"]:
        lacking = sorted(map(str, report["missing_keys"]))
        raise ModelError(
            f"'{name_or_path}' lacks weights of a {config.model_type} ({', '.join(lacking[:3])}; {len(lacking)} in "
            "all): random ones in their place would make any result worthless."
        )
    try:
        processor = AutoProcessor.from_pretrained(name_or_path, revision=revision)
    except (OSError, ValueError, KeyError, ImportError, TypeError):
        processor = None
    place = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu" if device == "auto" else device
    return PretrainedVLM(model.to(place).eval(), processor)


def _language_model(model: PreTrainedModel) -> nn.Module:
    for name in ("language_model", "text_model"):
        part = getattr(model.base_model, name, None)
        if isinstance(part, nn.Module):
            return part
    raise ModelError(f"{type(model).__name__} has no language model of its own (language_model or text_model).")


def _image_token(model: PreTrainedModel) -> int:
    for name in ("image_token_id", "image_token_index"):
        token = getattr(model.config, name, None)
        if isinstance(token, int):
            return token
    raise ModelError(f"{type(model).__name__} does not say which token stands for a picture (config.image_token_id).")
