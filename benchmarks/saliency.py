"""Saliency of many prompts: ours in batches against the usual loop, one prompt at a time, on the same weights.

    python benchmarks/saliency.py [--prompts 1000] [--time 24] [--layers 4] [--d-model 256] [--vocab 20000]

The loop is what one writes with Hugging Face: eager attention, ``output_attentions``, ``retain_grad`` on every
attention matrix, ``loss.backward()``. "loop, frozen" is the same with the weights' gradients switched off; "wrapped"
is Hugging Face's own model under our gate. All reduce to the same scores (flow, total, largest strip), which must
agree. Each variant runs in a process of its own; memory is the growth of its peak over the loaded model. Seconds are
medians of the repeats; on a CPU they are CPU seconds, which a busy machine moves less.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.models.base import LanguageModel
from groundscope.models.convert import from_gpt2
from groundscope.models.pretrained import PretrainedLM


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    prompts: int
    time: int
    layers: int
    d_model: int
    vocab: int
    repeats: int
    threads: int
    device: str


@dataclass(frozen=True)
class Measured:
    """One variant's outcome."""

    seconds: float
    megabytes: float
    scores: Tensor  # [prompt, layer * head, (flow, total, strip)]


def gpt2(sizes: Sizes) -> transformers.GPT2LMHeadModel:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=sizes.vocab,
        n_embd=sizes.d_model,
        n_layer=sizes.layers,
        n_head=max(1, sizes.d_model // 64),
        n_positions=sizes.time,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.1)  # attention is far from uniform, as it is after training
    return model.to(torch.device(sizes.device))  # type: ignore[arg-type]


def prompts_of(sizes: Sizes) -> PromptBatch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(sizes.vocab, (sizes.prompts, sizes.time), generator=generator)
    targets = torch.randint(sizes.vocab, (sizes.prompts,), generator=generator)
    places = torch.randint(1, sizes.time - 1, (sizes.prompts,), generator=generator)
    return PromptBatch.with_ground_at(ids, targets, places)


def batched(model: LanguageModel, prompts: PromptBatch) -> Tensor:
    found = saliency(model, prompts)
    return torch.stack([found.flow, found.total, found.strip], dim=-1)


def loop(model: transformers.GPT2LMHeadModel, prompts: PromptBatch, *, frozen: bool) -> Tensor:
    model.set_attn_implementation("eager")
    model.requires_grad_(not frozen)
    device = model.device
    rows = []
    for ids, target, ground in zip(prompts.input_ids, prompts.targets, prompts.ground, strict=True):
        ids = ids[None].to(device)
        if frozen:  # something must ask for gradients
            embedded = model.transformer.wte(ids).detach().requires_grad_(True)
            output = model(inputs_embeds=embedded, output_attentions=True, use_cache=False)
        else:
            output = model(ids, output_attentions=True, use_cache=False)
        for attention in output.attentions:
            attention.retain_grad()
        functional.cross_entropy(output.logits[:, -1], target[None].to(device)).backward()
        maps = torch.cat([attention * attention.grad for attention in output.attentions], dim=1)[0].detach().abs()
        flow = maps[:, -1][:, ground.to(device)].sum(-1)
        rows.append(torch.stack([flow, maps.sum((1, 2)), maps.sum(2)[:, 1:-1].amax(1)], dim=-1).cpu())
        model.zero_grad()
    return torch.stack(rows)


VARIANTS = {
    "groundscope": batched,
    "groundscope, wrapped": batched,
    "loop": lambda model, prompts: loop(model, prompts, frozen=False),
    "loop, frozen": lambda model, prompts: loop(model, prompts, frozen=True),
}


def measure(name: str, sizes: Sizes) -> Measured:
    torch.set_num_threads(sizes.threads)
    model, prompts, seconds = gpt2(sizes), prompts_of(sizes), []
    if name == "groundscope":
        model = from_gpt2(model).eval().to(model.device)  # type: ignore[arg-type]
    elif name == "groundscope, wrapped":
        model = PretrainedLM(model)
    on_gpu = sizes.device != "cpu"
    if on_gpu:
        VARIANTS[name](model, prompts[:2])
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else _peak()
    scores = torch.empty(0)
    for _ in range(sizes.repeats):
        start = clock(sizes.device)
        scores = VARIANTS[name](model, prompts)
        seconds.append(clock(sizes.device) - start)
    after = torch.cuda.max_memory_allocated() if on_gpu else _peak()
    return Measured(statistics.median(seconds), (after - before) / 1e6, scores)


def clock(device: str) -> float:
    return time.process_time() if device == "cpu" else time.perf_counter()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--time", type=int, default=24, help="tokens per prompt")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--d-model", type=int, default=256, help="heads are 64 wide")
    parser.add_argument("--vocab", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    sizes = Sizes(**vars(parser.parse_args()))

    measured = {}
    for name in VARIANTS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            measured[name] = pool.submit(measure, name, sizes).result()
    ours = measured["groundscope"]
    table = Table("variant", "seconds", "x", "peak MB", "x", "largest difference of a score", title=str(sizes))
    for name, it in measured.items():
        differs = ((it.scores - ours.scores).abs().amax() / ours.scores.abs().amax()).item()
        table.add_row(
            name,
            f"{it.seconds:.3g}",
            f"{it.seconds / ours.seconds:.1f}",
            f"{it.megabytes:.0f}",
            f"{it.megabytes / ours.megabytes:.2f}",
            f"{differs:.1e}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
