"""What every language model promises to training, behaviour and mechanism."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from groundscope.errors import ModelError
from groundscope.models.gate import Mixer


class LanguageModel(PreTrainedModel, GenerationMixin):
    """A causal language model over whole-word tokens, in Hugging Face's conventions.

    Subclasses have ``embedding`` and ``lm_head`` and define `residual_stream`, `final_norm`, `n_layers` and `mixers`.
    Training wants `hidden` and `unembedding` (the logits of a large vocabulary need not exist at once, see
    `linear_cross_entropy`), the lens wants `residual_stream` and `final_norm`, the gate wants `mixers`.
    """

    main_input_name = "input_ids"
    accepts_loss_kwargs = False  # the loss is a mean over the batch given: Hugging Face's Trainer is to scale it
    _tied_weights_keys = {"lm_head.weight": "embedding.weight"}  # noqa: RUF012 (the base class declares it)

    embedding: nn.Embedding
    lm_head: nn.Linear

    @property
    @abstractmethod
    def n_layers(self) -> int:
        """Number of layers."""

    @property
    @abstractmethod
    def mixers(self) -> Sequence[Mixer]:
        """The layers' mixers in order; empty where no mixing matrix exists."""

    @abstractmethod
    def residual_stream(self, input_ids: Int[Tensor, "batch time"]) -> list[Float[Tensor, "batch time d_model"]]:
        """Return n_layers + 1 states: what enters layer 0, then what leaves each layer."""

    @abstractmethod
    def final_norm(self, state: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Normalise a state of the residual stream as the model does before its unembedding."""

    def hidden(self, input_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        """Return the states after the final norm: ``hidden @ unembedding.T + output_bias`` are the logits."""
        return self.final_norm(self.residual_stream(input_ids)[-1])

    def heads(self, layer: int) -> int:
        """Return the number of heads of a layer; 0 where there is no mixing matrix."""
        return self.mixers[layer].n_heads if self.mixers else 0

    @property
    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        """The matrix that turns final states into logits."""
        return self.lm_head.weight

    @property
    def output_bias(self) -> Tensor | None:
        """The logits' bias [vocab], where there is one."""
        return self.lm_head.bias

    @property
    def softcap(self) -> float | None:
        """The bound c of logits ``c * tanh(. / c)``; None: they are not bounded."""
        return None

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding (Hugging Face's name for it)."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding (Hugging Face resizes vocabularies through this)."""
        self.embedding = value  # type: ignore[assignment]

    def get_output_embeddings(self) -> nn.Module:
        """Return the unembedding (Hugging Face's name for it)."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the unembedding."""
        self.lm_head = new_embeddings  # type: ignore[assignment]

    def forward(
        self,
        input_ids: Int[Tensor, "batch time"],
        labels: Int[Tensor, "batch time"] | None = None,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        logits_to_keep: int | Int[Tensor, " kept"] = 0,
        *,
        position_ids: Int[Tensor, "#batch time"] | None = None,
        **unused,
    ) -> CausalLMOutput:
        """Return logits [batch, time, vocab] and, given ``labels``, the mean loss in nats per token.

        Hugging Face's conventions: ``labels`` are the ``input_ids`` (the shift happens here), -100 is not counted,
        ``hidden_states`` ends with the state after the final norm, ``logits_to_keep`` is how many of the last positions
        (0: all), or which positions, get logits. Raises ModelError for padding on the left, which a causal model would
        see, for ``position_ids`` that do not count from 0, for ``labels`` beside ``logits_to_keep``, and for
        ``output_attentions``, which only a gate's ``watch`` can answer.
        """
        if attention_mask is not None and not _pads_right(attention_mask):
            raise ModelError("Pad on the right: a causal model sees everything that stands to the left.")
        if position_ids is not None and not _counts_from_zero(position_ids):
            raise ModelError(
                "position_ids do not count 0, 1, 2, ...: texts packed into one row would see each other here; give "
                "each text a row of its own, padded on the right, without position_ids."
            )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        if labels is not None and not (isinstance(logits_to_keep, int) and logits_to_keep == 0):
            raise ModelError("The loss of labels wants the logits of all positions: leave logits_to_keep out.")
        if output_attentions:
            raise ModelError("For attention weights use gated(model, {layer: Gate(..., watch=...)}).")
        stream = self.residual_stream(input_ids) if output_hidden_states else None
        hidden = self.hidden(input_ids) if stream is None else self.final_norm(stream[-1])
        logits = self.lm_head(hidden[:, keep])
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        states = None if stream is None else (*stream[:-1], hidden)
        return CausalLMOutput(loss=loss, logits=logits, hidden_states=states)  # type: ignore[arg-type]

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Int[Tensor, "batch time"], attention_mask: Tensor | None = None, **unused
    ) -> dict:
        """Give `generate` the whole text at each step: there is no cache, texts are short here."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def _embed(self, input_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        try:
            return self.embedding(input_ids)
        except IndexError:  # raised on the CPU only; elsewhere looking would cost a synchronisation
            low, high = int(input_ids.min()), int(input_ids.max())
            raise ModelError(
                f"Token ids must lie in 0 to {self.embedding.num_embeddings - 1}, got {low} to {high}: "
                "was the input encoded with another vocabulary than the model's?"
            ) from None


def _pads_right(attention_mask: Tensor) -> bool:
    """Whether no real token (1) stands after padding (0)."""
    return bool((attention_mask[:, 1:] <= attention_mask[:, :-1]).all())


def _counts_from_zero(position_ids: Tensor) -> bool:
    """Whether every row is 0, 1, 2, ..."""
    return bool((position_ids == torch.arange(position_ids.shape[-1], device=position_ids.device)).all())
