"""The causal table at one checkpoint: ours against a loop over prompts and control draws with plain hooks.

    python benchmarks/causal.py [--prompts 100] [--draws 20] [--found 3] [--layers 4] [--d-model 256] [--vocab 20000]

The loop runs Hugging Face's GPT-2 once per prompt and set of heads, with forward pre-hooks that zero the heads'
slices at the input of the output projection. Both use the same sets of heads (``--found`` random ones per prompt in
place of those of each role, and the controls drawn for them) and must give the same surprisals. Seconds are medians
of the repeats, and CPU seconds on a CPU; the loop's are extrapolated from ``--loop-prompts`` prompts, as its time is
proportional to them.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from saliency import Sizes, clock, gpt2, prompts_of
from torch import nn
from torch.nn import functional
from transformers import GPT2LMHeadModel

from groundscope.mechanism.causal import CausalOptions, CausalRuns, causal_runs
from groundscope.mechanism.causal_table import causal_table
from groundscope.mechanism.criteria import Role
from groundscope.mechanism.heads import HeadIndex
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models.convert import from_gpt2

IDENTITY = {"arch": "benchmark", "seed": 0, "step": 0, "tokens_seen": 0, "weight_hash": "none"}


@torch.no_grad()
def loop(model: GPT2LMHeadModel, prompts: PromptBatch, runs: CausalRuns) -> Float[np.ndarray, "prompt set"]:
    found = np.zeros(runs.match[: len(prompts)].shape)
    d_head = model.config.n_embd // model.config.n_head
    for i in range(len(prompts)):
        ids, target = prompts.input_ids[i : i + 1].to(model.device), prompts.targets[i : i + 1].to(model.device)
        for j, removed in enumerate(runs.removed[i]):
            hooks = []
            for layer in runs.index.chosen_layers:
                heads = np.flatnonzero(removed[runs.index.of_layer(layer)]).tolist()
                if heads:
                    projection: nn.Module = model.transformer.h[layer].attn.c_proj  # type: ignore[union-attr,assignment]
                    hooks.append(projection.register_forward_pre_hook(zeroing(heads, d_head)))
            logits = model(ids, use_cache=False).logits[:, -1]
            found[i, j] = functional.cross_entropy(logits, target).item()
            for hook in hooks:
                hook.remove()
    return found


def zeroing(heads: list[int], d_head: int) -> Callable:
    def hook(module: nn.Module, args: tuple) -> tuple:
        mixed = args[0].clone()
        for head in heads:
            mixed[..., head * d_head : (head + 1) * d_head] = 0
        return (mixed,)

    return hook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--loop-prompts", type=int, default=10)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--found", type=int, default=3, help="heads per role and prompt")
    parser.add_argument("--time", type=int, default=24, help="tokens per prompt")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--d-model", type=int, default=256, help="heads are 64 wide")
    parser.add_argument("--vocab", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    given = vars(parser.parse_args())
    loop_prompts, draws, number = given.pop("loop_prompts"), given.pop("draws"), given.pop("found")
    sizes = Sizes(**given)

    torch.set_num_threads(sizes.threads)
    hf_model, prompts, options = gpt2(sizes), prompts_of(sizes), CausalOptions(draws=draws)
    model = from_gpt2(hf_model).eval().to(hf_model.device)  # type: ignore[arg-type]
    shape = len(prompts), len(HeadIndex.of(model))
    rank = torch.rand(len(Role), *shape, generator=torch.Generator().manual_seed(2)).argsort(-1).argsort(-1)
    found = {role: rank[i] < number for i, role in enumerate(Role)}
    ours, theirs, runs, looped = [], [], None, None
    for _ in range(sizes.repeats):
        start = clock(sizes.device)
        runs = causal_runs(model, prompts, found, options)
        causal_table(model, runs, options, IDENTITY)
        ours.append(clock(sizes.device) - start)
        start = clock(sizes.device)
        looped = loop(hf_model, prompts[:loop_prompts], runs)
        theirs.append((clock(sizes.device) - start) * len(prompts) / loop_prompts)

    assert runs is not None
    assert looped is not None
    differs = np.abs(looped - runs.match[:loop_prompts]).max()
    table = Table(
        "variant", "seconds", "x", "largest difference, nats", title=f"{sizes}, {draws} draws, {number} heads"
    )
    fast, slow = statistics.median(ours), statistics.median(theirs)
    table.add_row("groundscope", f"{fast:.3g}", "1.0", "")
    table.add_row("loop with hooks", f"{slow:.3g}", f"{slow / fast:.1f}", f"{differs:.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
