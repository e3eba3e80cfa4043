"""GroundedLM: attention and Mamba-2 layers in any order, in one language model."""

import math
from collections.abc import Sequence
from typing import no_type_check

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig

from groundscope.errors import ModelError, did_you_mean
from groundscope.models.attention import Attention
from groundscope.models.base import LanguageModel
from groundscope.models.bounds import check_settings, refuse_misspelt
from groundscope.models.dropout import dropout
from groundscope.models.gate import Mixer
from groundscope.models.mamba2 import Mamba2
from groundscope.models.ops import RMSNorm

MIXERS = ("attention", "mamba2")


@no_type_check  # its constructor takes more than its fields: whatever Hugging Face keeps in config.json
class GroundedLMConfig(PretrainedConfig):
    """Sizes of a `GroundedLM`; ``mixers`` names each layer's mixer and so fixes the depth.

    Raises ModelError for misspelt settings, values that a setting cannot have, unknown mixers and widths that do not
    divide into heads.
    """

    model_type = "groundscope"
    attribute_map = {  # noqa: RUF012 (the base class declares it)
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "n_positions",
    }

    vocab_size: int = 50257
    mixers: Sequence[str] = ("attention",) * 12
    d_model: int = 768
    n_heads: int = None  # type: ignore[assignment]  # of attention; None becomes as many heads of 64 as fit
    d_mlp: int = None  # type: ignore[assignment]  # None becomes 4 * d_model
    n_positions: int = 1024  # learned positions; without an attention layer there are none, and no limit
    dropout: float = 0.1  # on embeddings and on what each branch adds to the residual stream
    attention_dropout: float = None  # type: ignore[assignment]  # on attention's matrix; None becomes dropout
    norm_eps: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    ssm_expand: int = 2  # width inside a Mamba-2 mixer over d_model
    ssm_d_head: int = 64
    ssm_d_state: int = 128
    ssm_n_groups: int = 1  # heads of a group share B and C
    ssm_d_conv: int = 4
    ssm_chunk: int = 64  # positions that the training path mixes at once; speed only, not results
    # How far a Mamba-2 head sees when training begins: about 1 / (dt * A) tokens, drawn per head. Wider steps let
    # a narrow model's state speak up sooner, which the authors' begin at a hundredth of what the skip D x says.
    ssm_dt_min: float = 1e-3
    ssm_dt_max: float = 1e-1
    ssm_a_min: float = 1.0
    ssm_a_max: float = 16.0
    ssm_mlp: bool = False  # whether Mamba-2 layers too are followed by an MLP

    def __post_init__(self, **kwargs):
        refuse_misspelt(self, kwargs)
        given = {name: getattr(self, name) for name in GroundedLMConfig.__annotations__}
        follow = ("n_heads", "d_mlp", "attention_dropout")  # None: from other settings, below
        check_settings({name: value for name, value in given.items() if name not in follow or value is not None})
        self.mixers = tuple(self.mixers)
        if self.n_heads is None:
            self.n_heads = max(1, self.d_model // 64)
        if self.d_mlp is None:
            self.d_mlp = 4 * self.d_model
        if self.attention_dropout is None:
            self.attention_dropout = self.dropout
        self._check()
        super().__post_init__(**kwargs)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.mixers)

    @property
    def has_attention(self) -> bool:
        """Whether any layer is attention: then there are learned positions and the final norm is a LayerNorm."""
        return "attention" in self.mixers

    def _check(self) -> None:
        for layer, name in enumerate(self.mixers):
            if name not in MIXERS:
                raise ModelError(
                    f"Layer {layer} wants mixer '{name}'; there are {', '.join(MIXERS)}.{did_you_mean(name, MIXERS)}"
                )
        if not self.mixers:
            raise ModelError("A model needs at least one layer: mixers is empty.")
        if self.has_attention and self.d_model % self.n_heads:
            raise ModelError(f"d_model={self.d_model} does not divide into n_heads={self.n_heads}; choose a multiple.")
        inner = self.ssm_expand * self.d_model
        if "mamba2" not in self.mixers:
            return
        for name in ("ssm_dt", "ssm_a"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise ModelError(f"{name}_min={low} is above {name}_max={high}; heads are drawn between the two.")
        if inner % self.ssm_d_head:
            raise ModelError(
                f"A Mamba-2 layer is ssm_expand * d_model = {inner} wide, which does not divide into heads of "
                f"ssm_d_head={self.ssm_d_head}; set ssm_d_head to a divisor."
            )
        if (inner // self.ssm_d_head) % self.ssm_n_groups:
            raise ModelError(
                f"{inner // self.ssm_d_head} Mamba-2 heads do not divide into ssm_n_groups={self.ssm_n_groups}."
            )


class GroundedLM(LanguageModel):
    """A causal language model whose layers are attention (GPT-2's block) or Mamba-2, in any order.

    GPT-2's layout: learned positions, pre-norm blocks, final norm, tied unembedding. A Mamba-2 layer is
    ``x + mixer(RMSNorm(x))`` without an MLP (``ssm_mlp`` adds one); a model of Mamba-2 layers alone has no positions
    and a final RMSNorm, and is then Hugging Face's Mamba2ForCausalLM (see `convert`).
    """

    config_class = GroundedLMConfig
    config: GroundedLMConfig
    _no_split_modules = ["Block"]  # noqa: RUF012 (the base class declares it)
    _supports_sdpa = True

    def __init__(self, config: GroundedLMConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.n_positions, config.d_model) if config.has_attention else None
        self.blocks = nn.ModuleList(Block(config, mixer) for mixer in config.mixers)
        norm = nn.LayerNorm if config.has_attention else RMSNorm
        self.norm = norm(config.d_model, eps=config.norm_eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.config.n_layers

    @property
    def mixers(self) -> Sequence[Mixer]:
        """The layers' mixers in order."""
        return [block.mixer for block in self.blocks]  # type: ignore[misc]

    def embed(self, input_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        """Return what enters layer 0; raises ModelError for longer inputs than there are positions."""
        x = self._embed(input_ids)
        if self.positions is not None:
            time = input_ids.shape[1]
            if time > self.config.n_positions:
                raise ModelError(
                    f"The input is {time} tokens long, the model has n_positions={self.config.n_positions}; "
                    "shorten the input or build the model with more positions."
                )
            x = x + self.positions.weight[:time]
        return dropout(x, self.config.dropout, self.training)

    def residual_stream(self, input_ids: Int[Tensor, "batch time"]) -> list[Float[Tensor, "batch time d_model"]]:
        """Return n_layers + 1 states: embeddings with positions, then what leaves each block."""
        stream = [self.embed(input_ids)]
        for block in self.blocks:
            stream.append(block(stream[-1]))
        return stream

    def hidden(self, input_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        """Return the states after the final norm, holding no layer's state longer than needed."""
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def final_norm(self, state: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Apply the final LayerNorm (RMSNorm where all layers are Mamba-2)."""
        return self.norm(state)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module, generator: torch.Generator | None = None) -> None:
        """GPT-2's initialisation, and Mamba-2's own for its mixers; called for children before their parents."""
        std = self.config.initializer_range
        residual_std = std / math.sqrt(2 * self.n_layers)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, std, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, std, generator)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, Attention | MLP):
            nn.init.normal_(module.out.weight, 0.0, residual_std, generator)
        elif isinstance(module, Mamba2):
            settings = self.config
            module.initialise(
                self.n_layers * (2 if settings.ssm_mlp else 1),
                generator,
                dt=(settings.ssm_dt_min, settings.ssm_dt_max),
                a=(settings.ssm_a_min, settings.ssm_a_max),
            )


class Block(nn.Module):
    """One pre-norm layer: a mixer, then (always after attention) an MLP, each added to the residual stream."""

    def __init__(self, config: GroundedLMConfig, mixer: str):
        super().__init__()
        self.dropout = config.dropout
        attention = mixer == "attention"
        norm = nn.LayerNorm if attention else RMSNorm
        self.norm = norm(config.d_model, eps=config.norm_eps)
        if attention:
            self.mixer: Mixer = Attention(config.d_model, config.n_heads, config.attention_dropout)
        else:
            self.mixer = Mamba2(
                config.d_model,
                expand=config.ssm_expand,
                d_head=config.ssm_d_head,
                d_state=config.ssm_d_state,
                n_groups=config.ssm_n_groups,
                d_conv=config.ssm_d_conv,
                chunk=config.ssm_chunk,
                norm_eps=config.norm_eps,
            )
        has_mlp = attention or config.ssm_mlp
        self.mlp_norm = norm(config.d_model, eps=config.norm_eps) if has_mlp else None
        self.mlp = MLP(config.d_model, config.d_mlp) if has_mlp else None

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Add the mixer's and the MLP's output to the stream."""
        x = x + dropout(self.mixer(self.norm(x)), self.dropout, self.training)
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + dropout(self.mlp(self.mlp_norm(x)), self.dropout, self.training)
        return x


class MLP(nn.Module):
    """GPT-2's two-layer perceptron with the tanh form of GELU ("gelu_new")."""

    def __init__(self, d_model: int, d_mlp: int):
        super().__init__()
        self.up = nn.Linear(d_model, d_mlp)
        self.out = nn.Linear(d_mlp, d_model)

    def forward(self, x: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Act on each position by itself."""
        return self.out(functional.gelu(self.up(x), approximate="tanh"))
