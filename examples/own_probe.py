"""A measurement of one's own at every checkpoint: how near are the scene's word and the spoken word in embedding space?

    python examples/own_probe.py [runs/toyworld] [--model transformer-4] [--seed 42]

If the two forms of a word came to share a direction, the cosine of their embeddings would grow above that of other
pairs.
"""

import argparse
from pathlib import Path

import polars as pl
import torch

import groundscope as gs
from groundscope.corpus.chunks import Corpus
from groundscope.corpus.utterance import Channel

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", nargs="?", default="runs/toyworld", type=Path)
parser.add_argument("--model", default="transformer-4")
parser.add_argument("--seed", default=42, type=int)
arguments = parser.parse_args()

run = gs.open(arguments.run)
vocabulary = Corpus.open(arguments.run / "corpus").vocabulary
words = run.table("gain")["word"].unique().sort().to_list()
scene = torch.tensor([vocabulary.id(word, Channel.ENV) for word in words])
spoken = torch.tensor([vocabulary.id(word, Channel.LAN) for word in words])

rows = []
for checkpoint in run.trajectory(arguments.model, arguments.seed).checkpoints:
    vectors = torch.nn.functional.normalize(checkpoint.load().unembedding.detach(), dim=1)
    cosines = vectors[scene] @ vectors[spoken].T  # [scene word, spoken word]
    others = cosines[~torch.eye(len(words), dtype=torch.bool)]
    own = float(cosines.diagonal().mean())
    rows.append({"step": checkpoint.step, "own_pair": own, "other_pairs": float(others.mean())})

print(pl.DataFrame(rows))
