"""One checkpoint's full evaluation: surprisal of every word in every context with every scene, ours against minicons.

    pip install minicons
    python benchmarks/surprisal.py [--words 100] [--contexts 10] [--layers 4] [--d-model 256] [--vocab 20000]

The same weights are a GroundedLM here and a Hugging Face GPT-2 there; every (context, scene, word) is one prompt to
minicons, scored in batches of ``--batch``. Its time is proportional to prompts, so that ``--sample`` of them are timed
and its rate is compared with ours over all. Where minicons is not installed, the plain loop alone is compared: one
forward per batch of prompts, logits at the last position only, which is the least that a loop over prompts can do.
"""

import argparse
import itertools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from groundscope.behaviour.contexts import SLOT, Context, load_contexts
from groundscope.behaviour.prompts import Prompts, render, targets
from groundscope.behaviour.surprisal import surprisal_cube
from groundscope.behaviour.words import Kind, candidates
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.models import GroundedLM, build, preset
from groundscope.models.convert import to_gpt2

Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """Prompts per second, and surprisals [prompt] in nats of those that were scored."""

    rate: float
    scores: Float[Tensor, " prompt"]


@dataclass(frozen=True)
class Evaluation:
    """All prompts of one checkpoint: contexts x scenes x words."""

    vocabulary: Vocabulary
    forms: tuple[str, ...]
    prompts: list[Prompts]

    def sampled(self, size: int) -> list[tuple[int, int, int]]:
        """(context, scene, word) of a random sample of all prompts."""
        sizes = (len(self.prompts), len(self.forms), len(self.forms))
        cells = list(itertools.product(*map(range, sizes)))
        chosen = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))[:size]
        return [cells[index] for index in chosen.tolist()]


def evaluation(n_words: int, n_contexts: int, size: int) -> Evaluation:
    forms = tuple(word.form for word in candidates(Kind.NOUN)[:n_words])
    contexts = load_contexts().shared[:n_contexts]
    vocabulary = vocabulary_of(forms, contexts, size)
    return Evaluation(vocabulary, forms, [render(context, forms, vocabulary) for context in contexts])


def vocabulary_of(forms: Sequence[str], contexts: Sequence[Context], size: int) -> Vocabulary:
    words = {(form, channel): 100 for form in forms for channel in Channel}
    for context in contexts:
        words |= {(word, Channel.ENV): 100 for word in context.env if word != SLOT}
        words |= {(word, Channel.LAN): 100 for word in context.lan}
    words |= {(f"word{number}", Channel.LAN): 1 for number in range(size - len(words) - 5)}
    return Vocabulary.from_counts(documents=1, speakers={"CHI": 2, "MOT": 1}, words=words)


def model_of(layers: int, d_model: int, vocabulary: Vocabulary) -> GroundedLM:
    sizes = {"n_layers": layers, "d_model": d_model, "n_heads": max(1, d_model // 64), "n_positions": 64}
    model = build(preset("transformer-4", len(vocabulary), **sizes), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.1, generator=generator)  # far from uniform, as it is after training
    assert isinstance(model, GroundedLM)
    return model


def ours(model: GroundedLM, work: Evaluation, cells: list[tuple[int, int, int]], repeats: int) -> Measured:
    wanted = targets(work.forms, work.vocabulary)
    surprisal_cube(model, work.prompts[:1], wanted)
    cube, seconds = timed(lambda: surprisal_cube(model, work.prompts, wanted), repeats)
    return Measured(cube.numel() / seconds, torch.stack([cube[cell] for cell in cells]))


@torch.inference_mode()
def plain_loop(model: GPT2LMHeadModel, work: Evaluation, cells: list[tuple[int, int, int]], batch: int) -> Measured:
    wanted = targets(work.forms, work.vocabulary)
    ordered = sorted(range(len(cells)), key=lambda at: work.prompts[cells[at][0]].ids.shape[1])

    def score() -> Tensor:
        scores = torch.empty(len(cells))
        for _, group in itertools.groupby(ordered, key=lambda at: work.prompts[cells[at][0]].ids.shape[1]):
            for places in batches(list(group), batch):
                ids = torch.stack([work.prompts[cells[at][0]].ids[cells[at][1]] for at in places])
                logits = model(ids, use_cache=False, logits_to_keep=1).logits[:, 0].float()
                spoken = wanted[[cells[at][2] for at in places]]
                scores[places] = -logits.log_softmax(-1).gather(1, spoken[:, None])[:, 0]
        return scores

    scores, seconds = timed(score, 1)
    return Measured(len(cells) / seconds, scores)


def with_minicons(model: GPT2LMHeadModel, work: Evaluation, cells: list[tuple[int, int, int]], batch: int) -> Measured:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from minicons.scorer import IncrementalLMScorer  # type: ignore[import-not-found]

        scorer = IncrementalLMScorer(model, "cpu", tokenizer=tokenizer_of(work.vocabulary))
    tokens = work.vocabulary.tokens
    prefixes = [" ".join(tokens[i] for i in work.prompts[c].ids[s].tolist()) for c, s, _ in cells]
    spoken = [f"{work.forms[word]}<{Channel.LAN}>" for *_, word in cells]

    def score() -> list[float]:
        return [
            value
            for places in batches(list(range(len(cells))), batch)
            for value in scorer.conditional_score([prefixes[at] for at in places], [spoken[at] for at in places])
        ]

    scores, seconds = timed(score, 1)
    return Measured(len(cells) / seconds, -torch.tensor(scores))


def tokenizer_of(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        vocabulary.save_tokenizer(file)
        return PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="<doc>")


def batches(places: list[int], size: int) -> list[list[int]]:
    return [places[at : at + size] for at in range(0, len(places), size)]


def timed(work: Callable[[], Result], repeats: int) -> tuple[Result, float]:
    """Result and median seconds."""

    def once() -> tuple[Result, float]:
        start = time.perf_counter()
        result = work()
        return result, time.perf_counter() - start

    runs = [once() for _ in range(repeats)]
    return runs[-1][0], statistics.median(seconds for _, seconds in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--contexts", type=int, default=10)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--d-model", type=int, default=256, help="heads are 64 wide")
    parser.add_argument("--vocab", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=64, help="prompts per batch of the others")
    parser.add_argument("--sample", type=int, default=2000, help="prompts that the others score")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    work = evaluation(options.words, options.contexts, options.vocab)
    model = model_of(options.layers, options.d_model, work.vocabulary)
    theirs = to_gpt2(model).eval()
    cells = work.sampled(options.sample)
    measured = {"groundscope": ours(model, work, cells, options.repeats)}
    measured["plain loop"] = plain_loop(theirs, work, cells, options.batch)
    if find_spec("minicons"):
        measured["minicons"] = with_minicons(theirs, work, cells, options.batch)

    n_prompts = len(work.prompts) * len(work.forms) ** 2
    title = f"{n_prompts:,} prompts: {len(work.prompts)} contexts x {len(work.forms)} scenes x {len(work.forms)} words"
    table = Table(
        "variant", "prompts/s", "seconds for all", "slower than ours", "largest difference, nats", title=title
    )
    best = measured["groundscope"]
    for name, it in measured.items():
        differs = (it.scores - best.scores).abs().max().item()
        table.add_row(
            name, f"{it.rate:,.0f}", f"{n_prompts / it.rate:.3g}", f"{best.rate / it.rate:.1f}x", f"{differs:.1e}"
        )
    Console().print(table)
    if "minicons" not in measured:
        Console().print("minicons is not installed; the plain loop stands in for it.")


if __name__ == "__main__":
    main()
