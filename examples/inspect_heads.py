"""Look into one prompt of a trained model: its surprisal by layer, and which heads carry the scene's word.

python examples/inspect_heads.py [runs/toyworld] [--model transformer-4] [--seed 42] [--word NOUN]
"""

import argparse
from pathlib import Path

import torch

import groundscope as gs
from groundscope.behaviour.contexts import load_contexts, usable_contexts
from groundscope.behaviour.prompts import render, targets
from groundscope.behaviour.words import Kind
from groundscope.corpus.chunks import Corpus
from groundscope.mechanism.lens import LogitLens, lens_surprisal
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", nargs="?", default="runs/toyworld", type=Path)
parser.add_argument("--model", default="transformer-4")
parser.add_argument("--seed", default=42, type=int)
parser.add_argument("--word", help="default: the word that gained most")
arguments = parser.parse_args()

run = gs.open(arguments.run)
vocabulary = Corpus.open(arguments.run / "corpus").vocabulary
word = arguments.word or run.table("gain").sort("gain_nats", descending=True)["word"][0]

# One context, with the word in its slot.
context = usable_contexts(load_contexts(Kind.NOUN, None), vocabulary).all()[0]
rendered = render(context, [word], vocabulary)
print(" ".join(vocabulary.tokens[token] for token in rendered.ids[0].tolist()), "->", word)

model = run.trajectory(arguments.model, arguments.seed).checkpoints[-1].load()
target = targets([word], vocabulary)
readings = lens_surprisal(model, LogitLens.from_model(model), rendered.ids, target)[0]
for layer, nats in enumerate(readings.tolist()):
    print(f"layer {layer}: surprisal {nats:.2f} nats")

batch = PromptBatch.with_ground_at(rendered.ids, target, torch.tensor([rendered.slot]))
found = saliency(model, batch)
for head in found.flow[0].argsort(descending=True)[:5].tolist():
    flow, total = float(found.flow[0, head]), float(found.total[0, head])
    print(f"{found.index.names[head]}: {flow:.4f} nats flow from the scene's word, {flow / total:.0%} of the head's")
