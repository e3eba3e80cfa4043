"""Time of lens training per token and layer against the tuned-lens library, in the same run.

    pip install tuned-lens --no-deps
    python benchmarks/lens.py                                        # about 5 minutes on 2 cores
    python benchmarks/lens.py --width 256 --vocabulary 32000
    python benchmarks/lens.py --model FOLDER --text FILE             # and what the time buys, on a real model

The library's side is the body of its training loop (``train_loop.py``, version 0.2.0) around its own ``TunedLens``: as
it is, which computes in bfloat16 under autocast, and in float32. Ours is one update of `train_lens`. Each update takes
the same tokens through the same model, its forward pass included; contenders take turns, and the median counts. Before
any time is taken, two updates from the same weights must agree to 1e-5. On a CPU, times are CPU times, which a busy
machine moves less.

With a real model the second table trains lenses on the same tokens and shows how far each is from the model on tokens
that none has seen: time per token is not time per lens.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel, get_linear_schedule_with_warmup

from groundscope.mechanism.heads import analysing
from groundscope.mechanism.lens import Lens, LogitLens, TunedLens
from groundscope.mechanism.lens_training import LensOptions, lens_fit, lens_update, train_lens
from groundscope.models.hub import from_pretrained, load_tokenizer
from groundscope.models.pretrained import PretrainedLM

with warnings.catch_warnings():  # the library's own imports warn
    warnings.simplefilter("ignore")
    try:
        from tuned_lens.nn.lenses import TunedLens as LibraryLens  # type: ignore[import-not-found]
    except ImportError:
        sys.exit("The tuned-lens library is not installed: pip install tuned-lens --no-deps")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", help="a Hugging Face folder, in place of a random model of the sizes above")
    parser.add_argument("--text", type=Path, help="what to train lenses on; wants --model")
    parser.add_argument("--updates", type=int, default=40, help="of each lens in the second table")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = (real_model(options.model) if options.model else random_model(options)).to(options.device)
    ids = torch.randint(model.config.vocab_size, (options.batch, options.length), device=options.device)

    agree(model, ids)
    contenders: dict[str, Callable[[], object]] = {
        "tuned-lens, as it is (bfloat16)": library_update(model, ids, autocast=True),
        "tuned-lens, float32": library_update(model, ids, autocast=False),
        "groundscope, bfloat16": our_update(model, ids, "bfloat16"),
        "groundscope, float32": our_update(model, ids, "float32"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(options.repeats + 1):
        for name, update in contenders.items():
            took = timed(update, options.device)
            if repeat:  # the first round warms up
                seconds[name].append(took)
    show(model, options, {name: statistics.median(times) for name, times in seconds.items()})
    if options.model and options.text:
        show_quality(model, tokens_of(options), options)


def random_model(options: argparse.Namespace) -> PreTrainedModel:
    config = GPTNeoXConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=4 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, options.width // 64),
        max_position_embeddings=options.length,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPTNeoXForCausalLM(config).eval().requires_grad_(False)


def real_model(folder: str) -> PreTrainedModel:
    loaded = from_pretrained(folder)
    assert isinstance(loaded, PretrainedLM)
    return loaded.model.requires_grad_(False)


def tokens_of(options: argparse.Namespace) -> np.ndarray:
    tokenizer = load_tokenizer(options.model)
    assert tokenizer is not None
    wanted = (options.updates + 4) * options.batch * options.length
    text = options.text.read_text(encoding="utf-8")[: 8 * wanted]  # a token is rarely more than 8 letters
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"][:wanted], dtype=np.int64)
    return ids[: len(ids) // options.length * options.length].reshape(-1, options.length)


def library_update(model: PreTrainedModel, ids: Tensor, *, autocast: bool) -> Callable[[], list[float]]:
    """Return one batch of the library's ``Train.execute`` with its default optimizer."""
    update, _ = library_lens(model, ids.device.type, autocast=autocast, steps=None)
    return lambda: update(ids)


def library_lens(
    model: PreTrainedModel, device: str, *, autocast: bool, steps: int | None
) -> tuple[Callable[[Tensor], list[float]], LibraryLens]:
    """Return the body of the library's loop and its lens; ``steps`` is over how many the learning rate falls to 0."""
    lens = LibraryLens.from_model(model).to(device)
    parameters = [parameter for parameter in lens.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    falling = get_linear_schedule_with_warmup(optimizer, 0, steps or LensOptions().steps)

    def update(ids: Tensor) -> list[float]:
        losses = []
        with torch.no_grad():
            out = model(ids, output_hidden_states=True)
        labels = out.logits.float().log_softmax(dim=-1)
        for layer, state in enumerate(out.hidden_states[:-1]):
            with torch.autocast(device, dtype=torch.bfloat16) if autocast else nullcontext():
                logits = lens(state, idx=layer)
                loss = torch.sum(labels.exp() * (labels - logits.log_softmax(-1)), dim=-1).mean()
                losses.append(loss.detach().item())
            loss.backward()
        torch.nn.utils.clip_grad_norm_(lens.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        falling.step()
        return losses

    return update, lens


def our_update(model: PreTrainedModel, ids: Tensor, precision: str) -> Callable[[], list[float]]:
    """Return one update of `train_lens`."""
    lm = PretrainedLM(model)
    settings = LensOptions(optimizer="sgd", precision=precision)  # type: ignore[arg-type]
    lens = TunedLens.from_model(lm)
    step = lens_update(lm, lens, settings)

    def update() -> list[float]:
        with analysing(lm):
            return step(ids).tolist()

    return update


def agree(model: PreTrainedModel, ids: Tensor) -> None:
    """Both sides' first and second losses must be the same numbers."""
    theirs, ours = library_update(model, ids, autocast=False), our_update(model, ids, "float32")
    for _ in range(2):
        difference = max(abs(a - b) for a, b in zip(theirs(), ours(), strict=True))
        if difference > 1e-5:
            sys.exit(f"The two sides do not compute the same: losses differ by {difference:.1e} nats.")


def timed(update: Callable[[], object], device: str) -> float:
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    start = clock()
    update()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock() - start


def show(model: PreTrainedModel, options: argparse.Namespace, seconds: dict[str, float]) -> None:
    layers = model.config.num_hidden_layers
    per = options.batch * options.length * layers
    table = Table(
        title=f"{layers} layers of {model.config.hidden_size}, vocabulary {model.config.vocab_size:,}, "
        f"{options.batch} x {options.length} tokens, {options.device}, {torch.get_num_threads()} threads"
    )
    for heading in ("", "us per token and layer", "x tuned-lens as it is", "x tuned-lens float32"):
        table.add_column(heading, justify="left" if not heading else "right")
    as_it_is, float32 = list(seconds.values())[:2]
    for name, took in seconds.items():
        table.add_row(name, f"{took / per * 1e6:.1f}", f"{as_it_is / took:.2f}", f"{float32 / took:.2f}")
    Console(width=110).print(table)


def show_quality(model: PreTrainedModel, chunks: np.ndarray, options: argparse.Namespace) -> None:
    """Train lenses on the same chunks and print what is left of KL(model || lens) on the last four batches."""
    lm = PretrainedLM(model)
    held_out, chunks = chunks[-4 * options.batch :], chunks[: -4 * options.batch]
    steps = len(chunks) // options.batch
    size = options.batch * options.length
    table = Table(title=f"{steps * size:,} tokens of text; KL on {held_out.size:,} others, mean over layers")
    for heading in ("", "KL nats", "seconds"):
        table.add_column(heading, justify="left" if not heading else "right")

    def row(name: str, train: Callable[[], Lens]) -> None:
        kept: list[Lens] = []
        took = timed(lambda: kept.append(train()), options.device)
        table.add_row(name, f"{lens_fit(lm, kept[0], held_out).mean():.3f}", f"{took:.1f}")

    def library() -> Lens:
        update, theirs = library_lens(model, options.device, autocast=False, steps=steps)
        for batch in np.array_split(chunks[: steps * options.batch], steps):
            update(torch.from_numpy(batch).to(options.device))
        lens = TunedLens.from_model(lm)
        lens.load_state_dict(
            {name: torch.stack([getattr(part, name) for part in theirs]) for name in ("weight", "bias")}
        )
        return lens

    def ours(**changes) -> Lens:
        settings = LensOptions(**{"steps": steps, "tokens_per_step": size, "regression_tokens": chunks.size, **changes})
        return train_lens(lm, chunks, settings, seed=0)[0]

    row("logit lens", lambda: LogitLens.from_model(lm))
    row("tuned-lens, float32", library)
    row("groundscope, from zero", lambda: ours())
    row("groundscope, regression alone", lambda: ours(begin="regression", steps=0))
    row("groundscope, from the regression", lambda: ours(begin="regression"))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
