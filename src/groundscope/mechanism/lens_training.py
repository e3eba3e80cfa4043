"""Training a lens: all layers in one pass over the data, towards the model's own predictions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from groundscope.errors import AnalysisError
from groundscope.mechanism.heads import analysing
from groundscope.mechanism.lens import LENSES, Lens, check_fit, predicting, stream_width
from groundscope.mechanism.lens_divergence import lens_divergence
from groundscope.mechanism.lens_regression import fit_by_regression
from groundscope.mechanism.memory import in_micro_batches, micro_batch
from groundscope.models.base import LanguageModel
from groundscope.progress import Progress
from groundscope.record import Record
from groundscope.training.order import DataOrder

Chunks = Int[np.ndarray, "chunk time"]


class LensOptions(Record):
    """How a lens is trained."""

    kind: Literal["tuned", "linear"] = Field(
        default="tuned",
        description="tuned: residual, through the model's final norm (Belrose et al. 2023); linear: a plain map and a "
        "norm of its own, as the paper's authors did",
    )
    bias: bool = Field(default=True, description="whether the affine maps have a bias")
    begin: Literal["zero", "regression"] = Field(
        default="zero",
        description="where a tuned lens begins: at the logit lens (zero), or at the affine map that comes nearest to "
        "the last state (regression), from where few updates are needed",
    )
    regression_tokens: int = Field(
        default=32768, ge=1, description="tokens of the regression; rounded down to whole chunks"
    )
    steps: int = Field(default=100, ge=0, description="updates; 0 leaves the lens where it begins")
    tokens_per_step: int = Field(default=8192, ge=1, description="tokens of one update; rounded down to whole chunks")
    optimizer: Literal["adam", "sgd"] = Field(
        default="adam",
        description="adam; sgd is the tuned-lens library's, with Nesterov momentum .9 and far more tokens",
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="at the first step, falling linearly to 0; None: 1e-3 (adam), 0.1 (sgd)"
    )
    weight_decay: float = Field(default=1e-3, ge=0, description="towards the logit lens; tuned only")
    clip: float = Field(default=1.0, gt=0, description="greatest norm of one layer's gradient")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the products with the unembedding, where nearly all time goes"
    )


def train_lens(
    model: LanguageModel,
    chunks: Chunks,
    options: LensOptions,
    *,
    seed: int = 0,
    start: Lens | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
) -> tuple[Lens, Float[Tensor, "step layer"]]:
    """Return a lens trained by mean ``KL(final || lens)`` over tokens, and that loss in nats at each step and layer.

    Tokens are those before which a word is predicted (`predicting`): all, in text.

    Each chunk is read at most once (and once by a regression), in an order that depends on ``seed`` alone. ``start``
    is a lens to go on from, such as the previous checkpoint's, and takes the place of ``options.begin``; it is not
    changed. Layers do not disturb each other: gradients are clipped per layer. The model's parameters get no gradients
    and its mode is put back.

    Raises AnalysisError, before anything is computed, when the chunks do not last, when ``start`` is a lens of another
    kind or model, and for a regression of a linear lens; RunError when a single chunk does not fit into memory.
    """
    if start is not None and not isinstance(start, LENSES[options.kind]):
        raise AnalysisError(f"A '{options.kind}' lens cannot start from a '{start.kind}' lens.")
    batch = _check_supply(chunks, options)
    lens = LENSES[options.kind].from_model(model, bias=options.bias)
    order = DataOrder(len(chunks), batch, seed)
    update = lens_update(model, lens, options, budget=budget)
    losses = []
    if start is not None:
        check_fit(start, model)
        lens.load_state_dict(start.state_dict())
    elif options.begin == "regression":
        _begin_by_regression(model, lens, chunks, order, options, budget)
    with analysing(model), (progress or Progress(quiet=True)).task("lens", options.steps) as task:
        for step in range(options.steps):
            loss = update(torch.from_numpy(np.ascontiguousarray(chunks[order.chunks_at(step)])).long())
            losses.append(loss)
            task.advance(note=f"KL {loss.mean():.3f} nats")
    history = torch.stack(losses).cpu() if losses else torch.zeros(0, lens.n_layers)
    return lens.requires_grad_(False), history


def lens_update(
    model: LanguageModel, lens: Lens, options: LensOptions, *, budget: int | None = None
) -> Callable[[Int[Tensor, "chunk time"]], Float[Tensor, " layer"]]:
    """Return the function that does one update of ``lens`` from a batch of chunks and returns its losses in nats.

    It holds the optimizer's state; the model must be in `analysing` when it is called.
    """
    optimizer, schedule = _optimizer(lens, options)
    unembedding = model.unembedding.detach().to(getattr(torch, options.precision))

    def update(ids: Int[Tensor, "chunk time"]) -> Float[Tensor, " layer"]:
        loss, gradients = _gradients(model, lens, ids, unembedding, budget)
        for parameter, gradient in zip(lens.parameters(), _clipped(gradients, options.clip), strict=True):
            parameter.grad = gradient
        optimizer.step()
        schedule.step()
        return loss

    return update


def lens_fit(model: LanguageModel, lens: Lens, chunks: Chunks, *, budget: int | None = None) -> Float[Tensor, " layer"]:
    """Return each layer's mean ``KL(final || lens)`` over the chunks' tokens, in nats: what the lens cannot say.

    Give it chunks that the lens was not trained on. Raises AnalysisError for a lens of another model.
    """
    check_fit(lens, model)
    unembedding = model.unembedding.detach().float()

    text = torch.from_numpy(np.ascontiguousarray(chunks)).long()

    def measure(part: slice) -> Tensor:
        return _divergence(model, lens, text[part], unembedding) * _share(text, part, unembedding)

    with analysing(model), torch.no_grad():
        shares = in_micro_batches(measure, len(text), _chunks_at_once(model, lens, text.shape[1], budget))
    return torch.stack(shares).sum(dim=0).cpu()


def _check_supply(chunks: Chunks, options: LensOptions) -> int:
    """Return the chunks of one update, if there are enough for all of them."""
    time, there = chunks.shape[1], len(chunks)
    if options.kind == "linear" and options.begin == "regression":
        raise AnalysisError("A regression gives a tuned lens; a linear lens, with its own norm, begins at 'zero'.")
    regressing = options.begin == "regression"
    named = {"tokens_per_step": options.tokens_per_step}
    if regressing:
        named["regression_tokens"] = options.regression_tokens
    for name, tokens in named.items():
        if tokens < time:
            raise AnalysisError(f"{name} is {tokens}, less than one chunk of {time} tokens.")
    batch = options.tokens_per_step // time
    if batch * options.steps > there:
        raise AnalysisError(
            f"A lens of {options.steps} steps of {batch} chunks reads {batch * options.steps} chunks; there are "
            f"{there}. Ask for at most {there // batch} steps, for fewer tokens per step, or give more data."
        )
    if regressing and options.regression_tokens // time > there:
        raise AnalysisError(
            f"A regression on {options.regression_tokens} tokens reads {options.regression_tokens // time} chunks; "
            f"there are {there}. Ask for at most {there * time} tokens."
        )
    return batch


def _begin_by_regression(
    model: LanguageModel, lens: Lens, chunks: Chunks, order: DataOrder, options: LensOptions, budget: int | None
) -> None:
    """Fit on the chunks that the first updates will read."""
    wanted = options.regression_tokens // chunks.shape[1]
    read = np.concatenate([order.chunks_at(step) for step in range(-(-wanted // order.batch_size))])[:wanted]
    parts = -(-wanted // _chunks_at_once(model, lens, chunks.shape[1], budget))
    batches = (torch.from_numpy(np.ascontiguousarray(chunks[part])).long() for part in np.array_split(read, parts))
    with analysing(model):
        fit_by_regression(model, lens, batches)  # type: ignore[arg-type]


def _gradients(
    model: LanguageModel, lens: Lens, ids: Int[Tensor, "chunk time"], unembedding: Tensor, budget: int | None
) -> tuple[Float[Tensor, " layer"], list[Tensor]]:
    """Return the layers' losses on one batch, and the gradients of their sum by the lens' parameters."""

    def part_of(part: slice) -> tuple[Tensor, ...]:
        loss = _divergence(model, lens, ids[part], unembedding) * _share(ids, part, unembedding)
        return loss.detach(), *torch.autograd.grad(loss.sum(), list(lens.parameters()))

    with torch.enable_grad():
        parts = in_micro_batches(part_of, len(ids), _chunks_at_once(model, lens, ids.shape[1], budget))
    loss, *gradients = (torch.stack(pieces).sum(dim=0) for pieces in zip(*parts, strict=True))
    return loss, gradients


def _divergence(
    model: LanguageModel, lens: Lens, ids: Int[Tensor, "chunk time"], unembedding: Tensor
) -> Float[Tensor, " layer"]:
    with torch.no_grad():
        ids = ids.to(unembedding.device)
        stream = torch.stack(model.residual_stream(ids))[:, predicting(ids, len(unembedding))]
        final = model.final_norm(stream[-1])
    softcap = getattr(model, "softcap", None)  # wrapped Hugging Face models may have one
    return lens_divergence(lens.readable(model, stream[:-1]), final, unembedding, model.output_bias, softcap)


def _share(ids: Int[Tensor, "chunk time"], part: slice, unembedding: Tensor) -> float:
    """Which share of the chunks' predictions a part of them makes."""
    counts = predicting(ids, len(unembedding)).sum(dim=1)
    return float(counts[part].sum() / counts.sum())


def _clipped(gradients: Sequence[Float[Tensor, "layer ..."]], clip: float) -> Iterator[Tensor]:
    norm = sum(gradient.flatten(1).square().sum(dim=1) for gradient in gradients).sqrt()  # type: ignore[union-attr]
    factor = clip / norm.clamp(min=clip)
    for gradient in gradients:
        yield gradient * factor.reshape(-1, *[1] * (gradient.ndim - 1))


def _optimizer(lens: Lens, options: LensOptions) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    decay = options.weight_decay if options.kind == "tuned" else 0.0  # a linear lens would decay towards nothing
    if options.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            lens.parameters(), lr=options.learning_rate or 1e-3, weight_decay=decay
        )
    else:
        optimizer = torch.optim.SGD(
            lens.parameters(), lr=options.learning_rate or 0.1, momentum=0.9, nesterov=True, weight_decay=decay
        )
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, options.steps))
    return optimizer, falling


def _chunks_at_once(model: LanguageModel, lens: Lens, time: int, budget: int | None) -> int:
    """How many chunks' streams, readable states and gradients fit into ``budget`` bytes."""
    return micro_batch(time * (lens.n_layers + 1) * stream_width(model) * 8 * 4, model.unembedding.device, budget)
