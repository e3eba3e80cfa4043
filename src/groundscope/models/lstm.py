"""The LSTM language model: the architecture that does not ground, and has no heads to look at."""

from collections.abc import Sequence
from typing import no_type_check

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PretrainedConfig

from groundscope.models.base import LanguageModel
from groundscope.models.bounds import check_settings, refuse_misspelt
from groundscope.models.dropout import dropout
from groundscope.models.gate import Mixer


@no_type_check  # its constructor takes more than its fields: whatever Hugging Face keeps in config.json
class GroundedLSTMConfig(PretrainedConfig):
    """Sizes of a `GroundedLSTM`; raises ModelError for misspelt settings and values that they cannot have."""

    model_type = "groundscope-lstm"
    attribute_map = {"hidden_size": "d_model", "num_hidden_layers": "n_layers"}  # noqa: RUF012

    vocab_size: int = 50257
    n_layers: int = 4
    d_model: int = 768
    dropout: float = 0.1  # on embeddings and on each layer's output
    tie_word_embeddings: bool = True
    output_bias: bool = True

    def __post_init__(self, **kwargs):
        refuse_misspelt(self, kwargs)
        check_settings({name: getattr(self, name) for name in GroundedLSTMConfig.__annotations__})
        super().__post_init__(**kwargs)


class GroundedLSTM(LanguageModel):
    """A unidirectional multi-layer LSTM language model (no residual connections, no final norm).

    It keeps the promises of `LanguageModel`; ``mixers`` is empty because it mixes through a recurrent state and no
    matrix says from where to where.
    """

    config_class = GroundedLSTMConfig
    config: GroundedLSTMConfig

    def __init__(self, config: GroundedLSTMConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(
            nn.LSTM(config.d_model, config.d_model, batch_first=True) for _ in range(config.n_layers)
        )
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=config.output_bias)
        self.post_init()

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.config.n_layers

    @property
    def mixers(self) -> Sequence[Mixer]:
        """Nothing: an LSTM has no mixing matrix."""
        return ()

    def residual_stream(self, input_ids: Int[Tensor, "batch time"]) -> list[Float[Tensor, "batch time d_model"]]:
        """Return n_layers + 1 states: embeddings, then each layer's output (what a lens can read here)."""
        # a tied embedding is small, for the logits' sake; without residual connections so small an input would be lost
        stream = [self._drop(self._embed(input_ids) * self.config.d_model**0.5)]
        # On a CPU torch's LSTM does not gain from bf16 where it is wide: bf16 has 1.2 times the speed at a
        # width of 256, but .7 at 512 and .4 at 768. On a GPU autocast takes it to fp16 whatever it was asked for
        # (torch's AutocastRNN.cpp), whose range its gradients leave where no loss is scaled.
        with torch.autocast(input_ids.device.type, enabled=False):
            for layer in self.layers:
                output, _ = layer(stream[-1])
                stream.append(self._drop(output))
        return stream

    def final_norm(self, state: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Return the state as it is: an LSTM's output needs no norm."""
        return state

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, self.training)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module, generator: torch.Generator | None = None) -> None:
        """Xavier's uniform initialisation per gate, a forget gate that is open at first, embeddings of norm 1."""
        if isinstance(module, nn.LSTM):
            for parameter in module.parameters():
                if parameter.ndim == 2:
                    for gate in parameter.chunk(4):
                        nn.init.xavier_uniform_(gate, generator=generator)
                else:  # torch adds two biases, so each gives half of the forget gate's 1
                    nn.init.zeros_(parameter)
                    nn.init.constant_(parameter[module.hidden_size : 2 * module.hidden_size], 0.5)
        elif isinstance(module, nn.Embedding | nn.Linear):
            nn.init.normal_(module.weight, 0.0, self.config.d_model**-0.5, generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
