"""Lenses: what each layer's state already says about the next word, in the model's own vocabulary.

A lens turns the residual stream between layers into logits. Its ``layer`` counts the layers that a state has passed:
0 is the embedding, k has passed k layers (the paper's L1 to L12), and n_layers is the model's own output, which needs
no lens.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from groundscope.errors import AnalysisError
from groundscope.mechanism.heads import analysing
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.mechanism.readout import read_logits, target_surprisal
from groundscope.models.base import LanguageModel

ALL = slice(None)


class Lens(nn.Module):
    """What all lenses share: states of all layers in, states as the unembedding reads them out.

    The unembedding and the final norm are always the model's own, frozen, and never copied into a lens.
    """

    kind: ClassVar[str]

    def __init__(self, n_layers: int, d_model: int):
        super().__init__()
        self.n_layers, self.d_model = n_layers, d_model

    @classmethod
    def from_model(cls, model: LanguageModel, **options) -> "Lens":
        """Return an untrained lens of the model's depth and width, where the model is."""
        return cls(model.n_layers, stream_width(model), **options).to(model.unembedding.device)

    @abstractmethod
    def readable(
        self, model: LanguageModel, states: Float[Tensor, "layer token d_model"], layers: slice = ALL
    ) -> Float[Tensor, "layer token d_read"]:
        """Turn the states of ``layers`` (of 0 to n_layers - 1) into what the unembedding reads, all at once."""

    def forward(self, model: LanguageModel, state: Float[Tensor, "*shape d_model"], layer: int) -> Tensor:
        """Return the logits [*shape, vocab] of one layer's state. Raises AnalysisError for a layer without a lens."""
        if not 0 <= layer < self.n_layers:
            raise AnalysisError(
                f"There is no lens for layer {layer}: lenses read layers 0 (embedding) to {self.n_layers - 1}; "
                f"{self.n_layers} is the model's own output."
            )
        states = state.reshape(1, -1, self.d_model)
        readable = self.readable(model, states, slice(layer, layer + 1))
        return read_logits(model, readable[0]).unflatten(0, state.shape[:-1])


class LogitLens(Lens):
    """The model's final norm and unembedding on any state (nostalgebraist 2020); nothing is trained."""

    kind = "logit"

    def readable(
        self, model: LanguageModel, states: Float[Tensor, "layer token d_model"], layers: slice = ALL
    ) -> Float[Tensor, "layer token d_read"]:
        """Return ``norm(h)``."""
        return _norm(model, states)


class TunedLens(Lens):
    """``norm(h + W h + b)`` per layer, zero-initialised (Belrose et al. 2023, arXiv 2303.08112).

    Residual, so that an untrained lens is the logit lens and weight decay pulls towards it.
    """

    kind = "tuned"

    def __init__(self, n_layers: int, d_model: int, bias: bool = True):
        super().__init__(n_layers, d_model)
        self.weight = nn.Parameter(torch.zeros(n_layers, d_model, d_model))
        self.bias = nn.Parameter(torch.zeros(n_layers, d_model)) if bias else None

    def readable(
        self, model: LanguageModel, states: Float[Tensor, "layer token d_model"], layers: slice = ALL
    ) -> Float[Tensor, "layer token d_read"]:
        """Return ``norm(h + W h + b)``."""
        return _norm(
            model, states + _affine(states, self.weight[layers], None if self.bias is None else self.bias[layers])
        )


class LinearLens(Lens):
    """``LayerNorm(W h + b)`` per layer with a norm of its own, begun at the identity: the paper's authors' variant."""

    kind = "linear"

    def __init__(self, n_layers: int, d_model: int, bias: bool = True):
        super().__init__(n_layers, d_model)
        self.weight = nn.Parameter(torch.eye(d_model).repeat(n_layers, 1, 1))
        self.bias = nn.Parameter(torch.zeros(n_layers, d_model)) if bias else None
        self.norm_weight = nn.Parameter(torch.ones(n_layers, d_model))
        self.norm_bias = nn.Parameter(torch.zeros(n_layers, d_model))

    def readable(
        self, model: LanguageModel, states: Float[Tensor, "layer token d_model"], layers: slice = ALL
    ) -> Float[Tensor, "layer token d_read"]:
        """Return ``LayerNorm(W h + b)``; the model's final norm takes no part."""
        mapped = _affine(states, self.weight[layers], None if self.bias is None else self.bias[layers])
        normed = nn.functional.layer_norm(mapped, (self.d_model,))
        read = normed * self.norm_weight[layers, None] + self.norm_bias[layers, None]
        return read.to(model.unembedding.dtype)


LENSES: dict[str, type[Lens]] = {lens.kind: lens for lens in (LogitLens, TunedLens, LinearLens)}


def lens_surprisal(
    model: LanguageModel,
    lens: Lens,
    input_ids: Int[Tensor, "prompt time"],
    targets: Int[Tensor, " prompt"],
    *,
    extras: Mapping[str, Tensor] | None = None,
    batch_size: int | None = None,
    budget: int | None = None,
) -> Float[Tensor, "prompt state"]:
    """Return ``-ln P(target)`` in nats as read at each layer, and, last, as the model itself predicts it.

    Prompts end right before their target; ``extras`` are further arguments of ``residual_stream`` with a first axis of
    prompts. Columns are layers 0 (embedding) to n_layers (the model's output). Raises AnalysisError for a lens of
    another model's depth or width, RunError when one prompt alone does not fit into memory.
    """
    check_fit(lens, model)
    width = (lens.n_layers + 1) * (6 * input_ids.shape[1] * lens.d_model + 3 * len(model.unembedding)) * 4
    size = batch_size or micro_batch(width, model.unembedding.device, budget)

    def read(part: slice) -> Tensor:
        device = model.unembedding.device
        further = {name: values[part].to(device) for name, values in (extras or {}).items()}
        stream = model.residual_stream(input_ids[part].to(device), **further)  # type: ignore[call-arg]
        last = torch.stack([state[:, -1] for state in stream])
        states = [*lens.readable(model, last[:-1]), model.final_norm(last[-1])]
        some = targets[part].to(device)
        return torch.stack([target_surprisal(model, state, some) for state in states], dim=1).cpu()

    with analysing(model), torch.no_grad():
        return torch.cat(in_micro_batches(read, len(input_ids), size))


def check_fit(lens: Lens, model: LanguageModel) -> None:
    """Raise AnalysisError unless the lens has the model's depth and width."""
    want, found = (model.n_layers, stream_width(model)), (lens.n_layers, lens.d_model)
    if want != found:
        raise AnalysisError(
            f"This lens reads {found[0]} layers of width {found[1]}, the model has {want[0]} of width {want[1]}: "
            "it was made for another model."
        )


def predicting(ids: Int[Tensor, "chunk time"], vocabulary: int) -> Bool[Tensor, "chunk time"]:
    """Return where a word is predicted: everywhere but before an id beyond the vocabulary, a patch of a picture.

    A model never learns what to expect there (`training.objective`), so a lens has nothing to agree with.
    """
    return torch.nn.functional.pad(ids[:, 1:] < vocabulary, (0, 1), value=True)


def stream_width(model: LanguageModel) -> int:
    """Return the width of the residual stream."""
    return model.config.get_text_config().hidden_size


def _affine(
    states: Float[Tensor, "layer token d_model"],
    weight: Float[Tensor, "layer d_model d_model"],
    bias: Float[Tensor, "layer d_model"] | None,
) -> Float[Tensor, "layer token d_model"]:
    """``W h + b`` of every layer in one product, in the lens' precision."""
    states = states.to(weight.dtype)
    return torch.bmm(states, weight.mT) if bias is None else torch.baddbmm(bias[:, None], states, weight.mT)


def _norm(model: LanguageModel, states: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_read"]:
    return model.final_norm(states.to(model.unembedding.dtype))
