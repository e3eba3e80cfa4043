"""Between `GroundedLM` and Hugging Face's GPT-2 and Mamba-2: the same function under other names.

Each way is one table of names. It holds for anything that is shaped like the weights, so gradients and optimizer
moments are renamed by the same tables (`gpt2_names`, `mamba2_names`, `rename`).
"""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Mamba2Config, Mamba2ForCausalLM, PreTrainedModel

from groundscope.errors import ModelError
from groundscope.models.grounded_vlm import GroundedVLM
from groundscope.models.language_model import GroundedLM, GroundedLMConfig

Model = TypeVar("Model", bound=PreTrainedModel)

# What the same function can be called; other values are another function.
_GPT2_MUST_BE = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
_MAMBA2_MUST_BE = {"hidden_act": ("silu", "swish"), "use_bias": (False,), "use_conv_bias": (True,)}


def to_gpt2(model: GroundedLM) -> GPT2LMHeadModel:
    """Return Hugging Face's GPT-2 with this model's weights (a copy); raises ModelError unless all layers attend.

    A model that is shown pictures is refused: GPT-2 has no place for its patches.
    """
    config = model.config
    _require_words_only(model, "GPT-2")
    if set(config.mixers) != {"attention"}:
        raise ModelError(f"GPT-2 has attention layers only, this model has {', '.join(config.mixers)}.")
    theirs = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.n_positions,
        n_embd=config.d_model,
        n_layer=config.n_layers,
        n_head=config.n_heads,
        n_inner=config.d_mlp,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.attention_dropout,
        layer_norm_epsilon=config.norm_eps,
        initializer_range=config.initializer_range,
        tie_word_embeddings=config.tie_word_embeddings,
        bos_token_id=None,
        eos_token_id=None,
    )
    return _filled(GPT2LMHeadModel(theirs), rename(model.state_dict(), gpt2_names(config)), model)


def from_gpt2(model: GPT2LMHeadModel) -> GroundedLM:
    """Return a `GroundedLM` with the weights of a GPT-2 (a copy); raises ModelError for variants that differ."""
    theirs = model.config
    _require("GPT-2", theirs, _GPT2_MUST_BE)
    if theirs.embd_pdrop != theirs.resid_pdrop:
        raise ModelError(
            f"This GPT-2 drops {theirs.embd_pdrop} of the embeddings and {theirs.resid_pdrop} of each branch; "
            "GroundedLM has one dropout for both. Set embd_pdrop and resid_pdrop to one value first."
        )
    config = GroundedLMConfig(
        vocab_size=theirs.vocab_size,
        mixers=("attention",) * theirs.n_layer,
        d_model=theirs.n_embd,
        n_heads=theirs.n_head,
        d_mlp=theirs.n_inner or 4 * theirs.n_embd,
        n_positions=theirs.n_positions,
        dropout=theirs.resid_pdrop,
        attention_dropout=theirs.attn_pdrop,
        norm_eps=theirs.layer_norm_epsilon,
        initializer_range=theirs.initializer_range,
        tie_word_embeddings=theirs.tie_word_embeddings,
    )
    names = {theirs: ours for ours, theirs in gpt2_names(config).items()}
    return _filled(GroundedLM(config), rename(model.state_dict(), names), model)


def to_mamba2(model: GroundedLM) -> Mamba2ForCausalLM:
    """Return Hugging Face's Mamba-2 with this model's weights (a copy); raises ModelError unless all layers are that.

    Hugging Face's has no dropout: what this model drops in training, the copy does not. A model that is shown pictures
    is refused: Mamba-2 has no place for its patches.
    """
    config = model.config
    _require_words_only(model, "Mamba-2")
    if set(config.mixers) != {"mamba2"} or config.ssm_mlp:
        raise ModelError(f"Mamba-2 has Mamba-2 layers only and no MLP, this model has {', '.join(config.mixers)}.")
    inner = config.ssm_expand * config.d_model
    theirs = Mamba2Config(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        num_heads=inner // config.ssm_d_head,
        head_dim=config.ssm_d_head,
        state_size=config.ssm_d_state,
        expand=config.ssm_expand,
        n_groups=config.ssm_n_groups,
        conv_kernel=config.ssm_d_conv,
        chunk_size=config.ssm_chunk,
        layer_norm_epsilon=config.norm_eps,
        tie_word_embeddings=config.tie_word_embeddings,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return _filled(Mamba2ForCausalLM(theirs), rename(model.state_dict(), mamba2_names(config)), model)


def from_mamba2(model: Mamba2ForCausalLM) -> GroundedLM:
    """Return a `GroundedLM` with the weights of a Mamba-2 (a copy); raises ModelError for variants that differ."""
    theirs = model.config
    _require("Mamba-2", theirs, _MAMBA2_MUST_BE)
    if tuple(theirs.time_step_limit) != (0.0, float("inf")):
        raise ModelError(f"This Mamba-2 bounds its steps to {theirs.time_step_limit}; GroundedLM does not bound them.")
    config = GroundedLMConfig(
        vocab_size=theirs.vocab_size,
        mixers=("mamba2",) * theirs.num_hidden_layers,
        d_model=theirs.hidden_size,
        dropout=0.0,
        norm_eps=theirs.layer_norm_epsilon,
        tie_word_embeddings=theirs.tie_word_embeddings,
        ssm_expand=theirs.expand,
        ssm_d_head=theirs.head_dim,
        ssm_d_state=theirs.state_size,
        ssm_n_groups=theirs.n_groups,
        ssm_d_conv=theirs.conv_kernel,
        ssm_chunk=theirs.chunk_size,
    )
    names = {theirs: ours for ours, theirs in mamba2_names(config).items()}
    return _filled(GroundedLM(config), rename(model.state_dict(), names), model)


def gpt2_names(config: GroundedLMConfig) -> dict[str, str]:
    """Return our name -> GPT2LMHeadModel's name, for each parameter."""
    names = {
        "embedding.weight": "transformer.wte.weight",
        "positions.weight": "transformer.wpe.weight",
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
        "lm_head.weight": "lm_head.weight",
    }
    modules = {
        "norm": "ln_1",
        "mixer.qkv": "attn.c_attn",
        "mixer.out": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.out": "mlp.c_proj",
    }
    for layer in range(config.n_layers):
        for ours, theirs in modules.items():
            for part in ("weight", "bias"):
                names[f"blocks.{layer}.{ours}.{part}"] = f"transformer.h.{layer}.{theirs}.{part}"
    return names


def mamba2_names(config: GroundedLMConfig) -> dict[str, str]:
    """Return our name -> Mamba2ForCausalLM's name, for each parameter."""
    names = {
        "embedding.weight": "backbone.embeddings.weight",
        "norm.weight": "backbone.norm_f.weight",
        "lm_head.weight": "lm_head.weight",
    }
    parts = {
        "norm.weight": "norm.weight",
        "mixer.project.weight": "mixer.in_proj.weight",
        "mixer.conv_weight": "mixer.conv1d.weight",
        "mixer.conv_bias": "mixer.conv1d.bias",
        "mixer.dt_bias": "mixer.dt_bias",
        "mixer.A_log": "mixer.A_log",
        "mixer.D": "mixer.D",
        "mixer.norm_weight": "mixer.norm.weight",
        "mixer.out.weight": "mixer.out_proj.weight",
    }
    for layer in range(config.n_layers):
        for ours, theirs in parts.items():
            names[f"blocks.{layer}.{ours}"] = f"backbone.layers.{layer}.{theirs}"
    return names


def rename(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Give weights (or their gradients) their names on the other side, and the shapes that they have there.

    GPT-2 stores its products as [in, out], all others as [out, in]; Mamba-2's convolution has a dimension of 1 more.
    """
    renamed = {}
    for name, new_name in names.items():
        tensor = tensors[name]
        product = (".c_attn.", ".c_proj.", ".c_fc.")
        if tensor.ndim == 2 and any(part in name or part in new_name for part in product):
            tensor = tensor.T
        elif name.endswith("conv_weight"):
            tensor = tensor[:, None]
        elif new_name.endswith("conv_weight"):
            tensor = tensor[:, 0]
        renamed[new_name] = tensor.contiguous()
    return renamed


def _require_words_only(model: GroundedLM, kind: str) -> None:
    if isinstance(model, GroundedVLM):
        raise ModelError(
            f"{kind} reads words only, this model is shown pictures; keep it a GroundedVLM (save_pretrained)."
        )


def _require(kind: str, config: GPT2Config | Mamba2Config, must_be: Mapping[str, tuple]) -> None:
    for name, values in must_be.items():
        if getattr(config, name) not in values:
            raise ModelError(
                f"This {kind} has {name}={getattr(config, name)}; only {name}={values[0]} can become a GroundedLM."
            )


@torch.no_grad()
def _filled(model: Model, weights: dict[str, Tensor], like: PreTrainedModel) -> Model:
    model.to(like.dtype)  # type: ignore[arg-type]
    model.load_state_dict(weights)
    return model.to(like.device).train(like.training)  # type: ignore[arg-type]
