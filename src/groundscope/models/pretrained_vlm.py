"""Vision-language models of Hugging Face's, read as language models whose stream holds a picture.

The picture goes through the vision tower once (`see`); what the language model is then handed, its input embeddings and
positions, is kept, and every analysis runs the language model alone on them. So the gate, saliency and interventions
are those of text, nothing of the vision tower is ever in a graph, and no family of models needs code of its own but for
where its picture tokens look (`models.vlm_geometry`).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from transformers.utils.import_utils import is_torchvision_available

from groundscope.corpus.boxes import Patches, Size
from groundscope.errors import ModelError
from groundscope.models.gate import Gate
from groundscope.models.hf_attention import ask_gates
from groundscope.models.hub import device_named, dtype_named, load_weights, put_on, refuse_no_checkpoint
from groundscope.models.pretrained import PretrainedLM
from groundscope.models.recompute import recomputing
from groundscope.models.vlm_geometry import picture_patches

_NOT_FORWARDED = ("attention_mask",)
"""What processors return and models need not: nothing is padded."""


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

    def __init__(self, model: PreTrainedModel, processor: Any = None, why_no_processor: str = "it has no processor."):
        super().__init__(model, getattr(processor, "tokenizer", None))
        self.processor = processor
        self.why_no_processor = why_no_processor
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
        gates = self._gates()
        if not gates:
            return self._run(inputs_embeds, position_ids)
        with ask_gates(self.model, gates), self._thriftily(gates):
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

        Raises ModelError where the prompt holds no picture tokens, is padded, or longer than the model can read.
        """
        ids = inputs["input_ids"]
        most = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        if most is not None and ids.shape[1] > most:
            raise ModelError(
                f"The prompt and its picture are {ids.shape[1]} tokens; this {type(self.model).__name__} was made for "
                f"{most}. Shorten the prompt."
            )
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
        if not _close(again, whole):
            raise ModelError(
                f"The language model of this {type(self.model).__name__} is handed more than embeddings and positions: "
                "it sees what comes after (PaliGemma's prompt), or the picture enters later layers too."
            )
        return Seen(ids.cpu(), picture.cpu(), extras)

    @property
    def picture_mark(self) -> str:
        """What stands for a picture in a prompt."""
        return getattr(self.processor, "image_token", None) or "<image>"

    def dressed(self, prompt: str) -> str:
        """Return a prompt with its picture's mark: where it has none, in front, as the model's family writes it."""
        token = self.picture_mark
        if token in prompt:
            return prompt
        start, end = (getattr(self.config, f"vision_{side}_token_id", None) for side in ("start", "end"))
        if self.tokenizer is not None and start is not None and end is not None:  # Qwen2-VL
            token = token.join(map(str, self.tokenizer.convert_ids_to_tokens([start, end])))
        return f"{token}\n{prompt}"

    def answering(self, question: str, start: str) -> str:
        """Return ``start`` as the beginning of the answer to a question about a picture, in the model's form of a chat.

        Raises ModelError where the model's processor has no chat template, or one without pictures.
        """
        if getattr(self.processor, "chat_template", None) is None:
            raise ModelError("This model has no chat template: write its form of a question into the prompt yourself.")
        said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        try:
            chat: str = self.processor.apply_chat_template(said, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError) as error:
            raise ModelError(f"This model's chat template does not take a picture and a question: {error}") from None
        tokenizer: Any = self.tokenizer
        first = tokenizer.bos_token
        if first and chat.startswith(first) and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id:
            chat = chat.removeprefix(first)  # the tokenizer puts it there itself
        return chat + ("" if not start or chat[-1:].isspace() else " ") + start

    def ask(self, pictures: list[Image.Image], prompts: list[str]) -> tuple[Seen, list[Patches]]:
        """Return prompts with their pictures, and where each picture's tokens look.

        A prompt that has no picture token gets one in front (`dressed`). Raises ModelError without a processor, for
        prompts with more than one picture, and where the geometry of the model's kind is not known.
        """
        if self.processor is None:
            raise ModelError(f"No picture can be prepared for this model: {self.why_no_processor}")
        texts = [self.dressed(prompt) for prompt in prompts]
        try:
            inputs = self.processor(images=pictures, text=texts, return_tensors="pt")
        except ValueError as error:
            raise ModelError(f"The model's processor does not take this prompt and picture: {error}") from None
        inputs = {name: value.to(self.unembedding.device) for name, value in inputs.items()}
        seen = self.see(inputs)
        sizes = [Size(*picture.size) for picture in pictures]
        counts = seen.picture.sum(dim=1).tolist()
        patches = [
            picture_patches(self.model.config, self.processor, size, count, inputs, row)
            for row, (size, count) in enumerate(zip(sizes, counts, strict=True))
        ]
        return seen, patches

    def _thriftily(self, gates: Mapping[nn.Module, Gate | None]) -> AbstractContextManager[None]:
        """A picture is thousands of positions: a graph of all layers' states would be as large as the model."""
        if not torch.is_grad_enabled():
            return nullcontext()
        return recomputing(self.anatomy.blocks, lambda: ask_gates(self.model, gates))

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
    number, place = dtype_named(dtype), device_named(device)
    refuse_no_checkpoint(Path(name_or_path), revision)
    kind = "vision-language model"
    model = load_weights(AutoModelForImageTextToText, kind, name_or_path, revision, number)
    processor, why = None, ""
    try:
        processor = AutoProcessor.from_pretrained(name_or_path, revision=revision)
    # by family and by what is not installed: without torchvision some fail in their own ways
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        why = f"its processor cannot be had ({type(error).__name__}: {' '.join(str(error).split())[:300]})."
        if not is_torchvision_available():
            why += " Some families' processors want torchvision: pip install torchvision."
    put_on(place, model)
    return PretrainedVLM(model.eval(), processor, why)


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


def _close(here: Tensor, there: Tensor) -> bool:
    """Whether two tensors are equal but for rounding in their dtype."""
    tolerance = 1e-3 if here.dtype.itemsize >= 4 else 5e-2
    return torch.allclose(here.double(), there.double(), rtol=tolerance, atol=tolerance * float(there.abs().max()))
