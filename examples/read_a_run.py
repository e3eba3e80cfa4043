"""Read a finished run: what it found, its tables, and a figure for a paper.

python examples/read_a_run.py [runs/toyworld] [--out figures]
"""

import argparse
from pathlib import Path

import polars as pl

import groundscope as gs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", nargs="?", default="runs/toyworld", type=Path)
parser.add_argument("--out", default=Path("figures"), type=Path)
arguments = parser.parse_args()

run = gs.open(arguments.run)
print(run)

# The paper's claims, judged from the tables.
for claim in run.claims:
    for statement in claim.statements:
        print(f"{statement.verdict:14} {claim.title}: {statement.arch} {statement.sentence}")

# Which words gained most from their scene at the end of training, over seeds?
gain = run.table("gain").filter(pl.col("direction") == "env2lan")
last = gain.filter(pl.col("step") == pl.col("step").max().over("arch"))
words = last.group_by("arch", "word").agg(pl.col("gain_nats").mean(), pl.col("cooccurring_chunks").mean())
print(words.sort("gain_nats", descending=True).head(10))

arguments.out.mkdir(parents=True, exist_ok=True)
figure = run.plot.gain()
figure.axes[0].set_title("Grounding emerges in training")  # a matplotlib Figure: change what you like
figure.savefig(arguments.out / "gain.pdf")
print(f"wrote {arguments.out / 'gain.pdf'}")
