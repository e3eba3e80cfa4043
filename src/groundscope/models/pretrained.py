"""Any causal language model of Hugging Face's, keeping the promises of `LanguageModel`: the same gate, lens and loss.

Nothing here knows families of models. A model is *asked*: two short forward calls show which modules are its blocks,
its final norm and its attention, how its logits come from its last state, that it does not look ahead, and that its
mixing matrices under a gate of ones give the numbers that it gives by itself. Whatever cannot be shown is refused.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput

from groundscope.errors import ModelError
from groundscope.models.base import LanguageModel
from groundscope.models.gate import Gate, Mixer
from groundscope.models.hf_attention import ask_gates
from groundscope.models.hf_probe import Anatomy, probe


class AttentionMixer(Mixer):
    """One layer of a Hugging Face model as a mixer; ``attention`` is None in a layer that has no mixing matrix."""

    def __init__(self, attention: nn.Module | None, n_heads: int):
        super().__init__()
        self.attention = attention
        self.n_heads = n_heads


class PretrainedLM(LanguageModel):
    """A Hugging Face causal language model, wrapped and never changed.

    Call the wrapper, not the model in it: only calls through the wrapper see gates. ``softcap`` and ``logit_scale``
    say how logits come from the last state: ``softcap * tanh(logit_scale * (hidden @ W.T + b) / softcap)``;
    ``unembedding`` and ``output_bias`` already hold the scale. Raises ModelError for models that see what comes
    after, encoder-decoders, and models whose last state, norm or logits cannot be made out.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None):
        # PreTrainedModel.__init__ would choose an attention function and write it into the model's own config
        nn.Module.__init__(self)
        self.config = model.config
        self.model = model
        self.tokenizer = tokenizer
        self.anatomy: Anatomy = probe(model)
        self._mixers = [AttentionMixer(module, heads) for module, heads in self.anatomy.attention]
        self._scaled: tuple[tuple, Tensor] | None = None  # what it was made of, and the scaled unembedding
        self.train(model.training)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.anatomy.blocks)

    @property
    def mixers(self) -> Sequence[Mixer]:
        """One mixer per layer; empty for a model without attention. Raises ModelError where gates cannot reach it."""
        if self.anatomy.ungateable:
            raise ModelError(self.anatomy.ungateable)
        return self._mixers

    def heads(self, layer: int) -> int:
        """Return the number of heads of a layer; 0 where there is no mixing matrix that a gate reaches."""
        return self._mixers[layer].n_heads if self._mixers else 0

    @property
    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        """The matrix that turns final states into logits (before the soft cap, where there is one).

        Where logits are scaled it is a copy that holds the scale: no gradient reaches the model's own weights then.
        """
        weight = self._readout.weight
        if self.anatomy.logit_scale == 1:
            return weight
        made_of = (weight.data_ptr(), weight._version, weight.dtype, weight.device)
        if self._scaled is None or self._scaled[0] != made_of:
            with torch.inference_mode(False), torch.no_grad():  # an inference tensor could serve no gradient later
                self._scaled = made_of, weight * self.anatomy.logit_scale
        return self._scaled[1]

    @property
    def output_bias(self) -> Tensor | None:
        """The logits' bias [vocab], where there is one."""
        bias = getattr(self._readout, "bias", None)
        return bias if bias is None or self.anatomy.logit_scale == 1 else bias * self.anatomy.logit_scale

    @property
    def softcap(self) -> float | None:
        """The bound of the logits (Gemma), where there is one."""
        return self.anatomy.softcap

    def final_norm(self, state: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Normalise a state of the residual stream as the model does before its unembedding."""
        return state if self.anatomy.final_norm is None else self.anatomy.final_norm(state)

    def residual_stream(self, input_ids: Int[Tensor, "batch time"]) -> list[Float[Tensor, "batch time d_model"]]:
        """Return n_layers + 1 states: what enters block 0, then what leaves each block (before the final norm)."""
        with self._asking(), self.anatomy.recorded() as stream:
            self._decode(input_ids)
        return stream

    def hidden(self, input_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        """Return the states after the final norm."""
        with self._asking():
            return self._decode(input_ids)

    def forward(
        self,
        input_ids: Int[Tensor, "batch time"],
        labels: Int[Tensor, "batch time"] | None = None,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        logits_to_keep: int | Int[Tensor, " kept"] = 0,
        **kwargs,
    ) -> CausalLMOutput:
        """Return the wrapped model's logits (and, given ``labels``, its loss) through the gates, without a cache.

        ``hidden_states`` are ours: the stream as it is, the last after the final norm. Raises ModelError for
        ``output_attentions``, which only a gate's ``watch`` can answer.
        """
        if output_attentions:
            raise ModelError("For attention weights use gated(model, {layer: Gate(..., watch=...)}).")
        recording = self.anatomy.recorded() if output_hidden_states else nullcontext()
        with self._asking(), recording as stream:
            out = self.model(
                input_ids=input_ids,
                labels=labels,
                attention_mask=attention_mask,
                logits_to_keep=logits_to_keep,
                use_cache=False,
                **kwargs,
            )
        states = None if stream is None else (*stream[:-1], self.final_norm(stream[-1]))
        return CausalLMOutput(loss=out.loss, logits=out.logits, hidden_states=states)

    def generate(self, *args, **kwargs):
        """Generate as the wrapped model does."""
        return self.model.generate(*args, **kwargs)  # type: ignore[operator]

    def save_pretrained(self, *args, **kwargs) -> None:
        """Save the wrapped model."""
        self.model.save_pretrained(*args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """Return the wrapped model's embedding."""
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """Return the wrapped model's unembedding."""
        return self._readout

    @property
    def _readout(self) -> nn.Linear:
        return self.model.get_output_embeddings()  # type: ignore[return-value]

    def _decode(self, input_ids: Tensor) -> Tensor:
        try:
            return self.anatomy.decoder(input_ids=input_ids, use_cache=False).last_hidden_state
        except IndexError:  # on the CPU only, as in our own models
            config = self.config.get_text_config()
            most = getattr(config, "max_position_embeddings", "an unknown number of")
            raise ModelError(
                f"This {type(self.model).__name__} cannot read {input_ids.shape[1]} tokens with ids up to "
                f"{int(input_ids.max())}: it has {most} positions and {config.vocab_size} tokens. Shorten the prompt."
            ) from None

    def _asking(self) -> AbstractContextManager[None]:
        gates = self._gates()
        return ask_gates(self.model, gates) if gates else nullcontext()

    def _gates(self) -> dict[nn.Module, Gate | None]:
        gates = {mixer.attention: mixer.gate for mixer in self._mixers if mixer.gate is not None}
        if None in gates:
            bare = next(i for i, mixer in enumerate(self._mixers) if mixer.gate is not None and mixer.attention is None)
            raise ModelError(f"Layer {bare} of this {type(self.model).__name__} has no attention to gate.")
        return gates  # type: ignore[return-value]
