"""Training throughput and memory against a plain Hugging Face loop with the same configuration, in the same run.

    python benchmarks/training.py                    # everything; about 20 minutes on 2 cores
    python benchmarks/training.py --only 4x256       # the cases whose name holds this

Each contender runs in a process of its own, so that its peak memory is its own. A row's time is the median step;
contenders of a case take turns, so that a busy machine slows all of them. The share of peak is useful floating-point
operations per second (6 per parameter in a matrix product and token, and 12 n_layers d_model length for attention, as
in Chowdhery et al. 2022, arXiv 2204.02311, appendix B) over the best matrix product measured on this machine, which
takes its turn among the contenders. Peak memory is the process's, with Python and torch in it (some .5 GiB).
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration and who trains it."""

    preset: str
    n_layers: int
    d_model: int
    vocab: int
    batch: int
    length: int
    dropout: float
    contenders: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.preset} {self.n_layers}x{self.d_model} V={self.vocab // 1000}k dropout={self.dropout}"

    @property
    def tokens(self) -> int:
        return self.batch * self.length


TRANSFORMER = ("groundscope", "hf fp32", "hf bf16")
CASES = (
    Case("transformer-4", 4, 256, 20_000, 8, 512, 0.0, (*TRANSFORMER, "groundscope compiled")),
    Case("transformer-4", 4, 256, 20_000, 8, 512, 0.1, TRANSFORMER),
    Case("transformer-4", 4, 256, 89_057, 8, 512, 0.1, TRANSFORMER),
    Case("transformer-12", 12, 768, 20_000, 4, 512, 0.0, TRANSFORMER),
    Case("transformer-12", 12, 768, 20_000, 4, 512, 0.1, TRANSFORMER),
    Case("transformer-12", 12, 768, 89_057, 4, 512, 0.1, TRANSFORMER),
    Case("mamba2-4", 4, 256, 20_000, 4, 512, 0.0, TRANSFORMER),
    Case("lstm-4", 4, 256, 20_000, 8, 512, 0.1, ("groundscope", "torch fp32", "torch bf16")),
)


class TorchLSTM(nn.Module):
    """What a user of torch writes: an embedding, `nn.LSTM`, a tied projection, cross-entropy over all logits."""

    def __init__(self, case: Case):
        super().__init__()
        self.embedding = nn.Embedding(case.vocab, case.d_model)
        self.lstm = nn.LSTM(case.d_model, case.d_model, case.n_layers, batch_first=True, dropout=case.dropout)
        self.head = nn.Linear(case.d_model, case.vocab)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = self.head(self.lstm(self.embedding(tokens))[0])
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())


def hugging_face(case: Case) -> nn.Module:
    """The Hugging Face model whose configuration equals ours, chunk length included, so that both do the same work.

    Two differences stay: Hugging Face's Mamba-2 has no dropout (the case here has none either), and its kernels are its
    own choice, with `mamba_ssm` on CUDA where that is installed.
    """
    from groundscope.models.convert import to_gpt2, to_mamba2
    from groundscope.models.presets import build

    ours: Any = build(ours_config(case), seed=0)
    return to_mamba2(ours).train() if case.preset.startswith("mamba2") else to_gpt2(ours).train()


def ours_config(case: Case):
    """The preset of a case at its size."""
    from groundscope.models.presets import preset

    positions = {"n_positions": case.length} if case.preset.startswith("transformer") else {}
    return preset(
        case.preset, case.vocab, n_layers=case.n_layers, d_model=case.d_model, dropout=case.dropout, **positions
    )


def make_step(case: Case, contender: str, device: str) -> Callable[[], None]:
    """Return one optimizer step of a contender, as its loop takes it."""
    from groundscope.models.presets import build
    from groundscope.training.config import TrainConfig
    from groundscope.training.objective import NextTokenLoss, clip_gradients, make_optimizer

    torch.manual_seed(0)
    tokens = torch.randint(0, case.vocab, (case.batch, case.length), device=device)
    half = torch.bfloat16
    if contender.startswith("groundscope"):
        model: Any = build(ours_config(case), seed=0)
        model.to(device)
        objective: nn.Module = NextTokenLoss(model)
        if contender.endswith("compiled"):
            objective = torch.compile(objective)  # type: ignore[assignment]
        config = TrainConfig()
        optimizer = make_optimizer(model, config)

        def ours() -> None:
            with torch.autocast(device, half):
                loss = objective(tokens)
            loss.backward()
            clip_gradients(model, config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return ours

    theirs = (TorchLSTM(case) if contender.startswith("torch") else hugging_face(case)).to(device)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=5e-5)
    is_hf = contender.startswith("hf")

    def plain() -> None:
        with torch.autocast(device, half) if contender.endswith("bf16") else contextlib.nullcontext():
            loss = theirs(tokens, labels=tokens).loss if is_hf else theirs(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()

    return plain


def serve(case: Case, contender: str, device: str) -> None:
    """Be one contender: build, warm up, then take a step for each line on stdin and answer with its seconds."""
    from groundscope.training.allocator import freed_memory_kept

    step = make_step(case, contender, device)
    with freed_memory_kept() if contender.startswith("groundscope") else contextlib.nullcontext():  # as `train` does
        step()
        step()
        print("ready", flush=True)
        for _ in sys.stdin:
            begin = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            print(time.perf_counter() - begin, flush=True)
    cuda = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    print(cuda or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


def race(case: Case, index: int, steps: int, device: str) -> tuple[list[dict], float]:
    """Let the contenders of a case and the bare matrix product take turns; return a row for each, and its rate."""
    processes = {}
    for contender in case.contenders:  # started one after another: building and compiling must not overlap
        processes[contender] = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(index), contender, "--device", device],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if _answer(processes[contender]) != "ready":
            raise SystemExit(f"{case.name}: {contender} did not start.")
    seconds: dict[str, list[float]] = {contender: [] for contender in case.contenders}
    peak = 0.0
    for _ in range(steps):
        peak = max(peak, peak_rate(device))
        for contender, process in processes.items():
            assert process.stdin is not None
            process.stdin.write("step\n")
            process.stdin.flush()
            seconds[contender].append(float(_answer(process)))
    rows = []
    for contender, process in processes.items():
        assert process.stdin is not None
        process.stdin.close()
        memory = int(_answer(process))
        process.wait()
        ordered = sorted(seconds[contender])
        rows.append({
            "case": case.name, "contender": contender, "median_s": ordered[len(ordered) // 2], "best_s": ordered[0],
            "tokens_per_s": case.tokens / ordered[len(ordered) // 2], "peak_bytes": memory,
        })  # fmt: skip
    return rows, peak


def _answer(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def useful_operations(case: Case) -> float:
    """Floating-point operations that one training step cannot do without."""
    from groundscope.models.presets import build

    model = build(ours_config(case), seed=0)
    matrices = sum(weight.numel() for weight in model.parameters() if weight.ndim == 2)
    embeddings = case.length * case.d_model if case.preset.startswith("transformer") else 0  # looked up, not multiplied
    attention = 12 * case.n_layers * case.d_model * case.length if case.preset.startswith("transformer") else 0
    return case.tokens * (6 * (matrices - embeddings) + attention)


def peak_rate(device: str, repeats: int = 5) -> float:
    """Best bf16 matrix-product rate on this machine, in operations per second, over shapes that training uses."""
    best = 0.0
    for m, k, n in ((4096, 256, 1024), (4096, 768, 3072), (2048, 2048, 2048), (4096, 256, 20_000)):
        left = torch.randn(m, k, device=device, dtype=torch.bfloat16)
        right = torch.randn(k, n, device=device, dtype=torch.bfloat16)
        out = left @ right
        for _ in range(repeats):
            begin = time.perf_counter()
            torch.mm(left, right, out=out)
            if device == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * m * k * n / (time.perf_counter() - begin))
    return best


def processor() -> str:
    """Name this machine's processor and count its cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.processor() or platform.machine())}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each contender")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(CASES[int(arguments.serve[0])], arguments.serve[1], arguments.device)
        return

    races = {
        case: race(case, index, arguments.steps, arguments.device)
        for index, case in enumerate(CASES)
        if arguments.only in case.name
    }
    if not races:
        raise SystemExit(
            f"No case's name holds '{arguments.only}'; there are {', '.join(case.name for case in CASES)}."
        )
    peak = max(rate for _, rate in races.values())
    table = Table("case", "contender", "s/step", "best s", "tokens/s", "x rival's bf16", "share of peak", "peak memory")
    for case, (rows, _) in races.items():
        reference = next(row["median_s"] for row in rows if row["contender"].endswith("bf16"))
        for row in rows:
            row["ratio"] = reference / row["median_s"]
            row["share"] = useful_operations(case) / row["median_s"] / peak
            table.add_row(
                row["case"], row["contender"], f"{row['median_s']:.3f}", f"{row['best_s']:.3f}",
                f"{row['tokens_per_s']:,.0f}", f"{row['ratio']:.2f}", f"{row['share']:.0%}",
                f"{row['peak_bytes'] / 2**30:.2f} GiB",
            )  # fmt: skip
        table.add_section()
    console = Console(width=140)
    console.print(table)
    console.print(
        f"Best bf16 matrix product: {peak / 1e9:,.0f} GFLOP/s on {torch.get_num_threads()} threads; torch "
        f"{torch.__version__}, {processor()}."
    )
    if arguments.out:
        found = {"peak": peak, "processor": processor(), "rows": [row for rows, _ in races.values() for row in rows]}
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
