"""A run directory as the study engine leaves it, with made-up but lifelike numbers; its evidence is really computed."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from groundscope.behaviour.evidence import EVIDENCE, evidence
from groundscope.behaviour.measure import GAIN
from groundscope.corpus.card import CorpusCard
from groundscope.files import write_json
from groundscope.tables import TableSchema, write_table
from groundscope.training.metrics import LOSS

NASTY = "<script>alert(1)</script>"
NOUNS = ("horse", "dog", "cat", "book", "ball", "cup", "shoe", "bird", "car", "tree", "spoon", "hat", "bear", "fish")
STEPS = (0, 50, 100, 200, 300, 500, 800, 1200, 1500)
TOKENS_PER_STEP = 2048
PRESETS = {"transformer-4": "transformer-4", "lstm-4": "lstm-4", "mamba2-4": "mamba2-4"}

MakeRun = Callable[..., Path]


def gains(arch: str, seed: int, direction: str, words: Sequence[str], steps: Sequence[int]) -> list[dict]:
    """Rows of table ``gain``: attention first follows the counts and then leaves them behind; the LSTM only follows."""
    draw = np.random.default_rng([seed, sum(map(ord, arch + direction))])
    frequency = 0.9 / np.arange(1, len(words) + 1) ** 0.8
    talent = draw.normal(1, 0.25, len(words))
    rows = []
    for step in steps:
        count = np.round(frequency * step * 8).astype(int)
        follows = 0.13 * np.log1p(count) * min(1, step / 200)
        beyond = 0.0 if arch.startswith("lstm") else 2.1 / (1 + np.exp(-(step - 620) / 130)) * (step > 0)
        gain = follows * (0.6 if arch.startswith("lstm") else 1) + beyond * talent
        gain = (gain * (0.7 if direction == "lan2env" else 1)) + draw.normal(0, 0.04, len(words))
        match = 7.2 - 2.2 * min(1, step / 700) - 0.7 * gain + draw.normal(0, 0.1, len(words))
        for at, word in enumerate(words):
            rows.append(
                {
                    "arch": arch,
                    "seed": seed,
                    "step": step,
                    "tokens_seen": step * TOKENS_PER_STEP,
                    "weight_hash": hashlib.sha256(f"{arch}{seed}{step}".encode()).hexdigest(),
                    "direction": direction,
                    "word": word,
                    "kind": "noun",
                    "category": ("animals", "things", "clothing & shoes")[at % 3],
                    "n_contexts": 10,
                    "n_mismatches": len(words) - 1,
                    "match_nats": match[at],
                    "mismatch_nats": match[at] + gain[at],
                    "gain_nats": gain[at],
                    "cooccurring_chunks": count[at],
                    "counted_gain_nats": 0.2 * np.log1p(count[at]),
                    "seen_env": count[at] * 2,
                    "seen_lan": count[at] * 3,
                }
            )
    return rows


def complete(schema: TableSchema, rows: list[dict]) -> pl.DataFrame:
    """A frame of this schema, in which columns that the page does not read may be left out of ``rows``."""
    frame = pl.DataFrame(rows)
    return schema.conform(frame.with_columns(pl.lit(None).alias(name) for name in schema.dtypes if name not in rows[0]))


def losses(arch: str, seed: int, steps: int) -> pl.DataFrame:
    """Table ``loss``."""
    at = np.arange(steps)
    noise = np.random.default_rng([seed, len(arch)]).normal(0, 0.06, steps)
    return LOSS.frame(
        {
            "arch": [arch] * steps,
            "seed": [seed] * steps,
            "step": at.tolist(),
            "tokens_seen": (at * TOKENS_PER_STEP).tolist(),
            "loss_nats": (3.1 + 4.0 * np.exp(-at / 250) + noise).tolist(),
            "learning_rate": [0.002] * steps,
            "gradient_norm": [1.0] * steps,
        }
    )


def card() -> CorpusCard:
    """A corpus card with text that must be escaped."""
    return CorpusCard.model_validate(
        {
            "files": 2,
            "utterances": 1200,
            "collections": [
                {"collection": f"Brown {NASTY}", "files": 1, "utterances": 700, "env_words": 900, "lan_words": 3000},
                {"collection": "Sachs", "files": 1, "utterances": 500, "env_words": 600, "lan_words": 2000},
            ],
            "tiers": [
                {"channel": "LAN", "tier": "main", "utterances": 1200, "words": 5000, "unknown": 31},
                {"channel": "ENV", "tier": "act", "utterances": 400, "words": 1500, "unknown": 2},
            ],
            "problems": 3,
            "tokens_read": 8000,
            "tokens_without_env": 500,
            "tokens_at_end": 12,
            "tokens": 7488,
            "chunks": 117,
            "chunk_length": 64,
            "vocabulary_size": 1204,
            "speakers": 3,
            "share_env": 0.912,
            "share_cooccurring": 0.41,
            "share_cooccurring_words": 0.273,
            "unknown_share": {"ENV": 0.01, "LAN": 0.02},
            "options": {"length": 64, "keep": "env"},
            "provenance": {"reader": "chat", "options": {"tiers": ["act", "sit"]}},
            "content_hash": "ab" * 32,
        }
    )


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Write a run directory: ``make_run(folder, archs=, seeds=, words=, steps=, directions=, without=())``."""

    def make(
        folder: Path,
        *,
        archs: Sequence[str] = ("transformer-4", "lstm-4"),
        seeds: Sequence[int] = (42, 142),
        words: Sequence[str] = (*NOUNS, NASTY),
        steps: Sequence[int] = STEPS,
        directions: Sequence[str] = ("env2lan", "lan2env"),
        without: Sequence[str] = (),
        description: str = "",
        steps_of: Mapping[tuple[str, int], Sequence[int]] | None = None,
    ) -> Path:
        gain = complete(
            GAIN,
            [
                row
                for arch in archs
                for seed in seeds
                for direction in directions
                for row in gains(arch, seed, direction, words, (steps_of or {}).get((arch, seed), steps))
            ],
        )
        study = {
            "name": folder.name,
            "description": description,
            "corpus": {"source": "toyworld"},
            "models": {arch: {"preset": PRESETS.get(arch, "transformer-4")} for arch in archs},
            "seeds": list(seeds),
            "statistics": {"confidence": 0.95},
        }
        write_table(folder / "tables" / "gain.parquet", gain, GAIN)
        write_table(folder / "tables" / "evidence.parquet", evidence(gain, resamples=400), EVIDENCE)
        loss = pl.concat(losses(arch, seed, max(steps[-1], 1)) for arch in archs for seed in seeds)
        write_table(folder / "tables" / "loss.parquet", loss, LOSS)
        write_json(folder / "corpus" / "card.json", card().model_dump(mode="json"))
        write_json(folder / "resolved.json", study)
        (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
        provenance = {
            "command": f"groundscope run '{NASTY}.yaml'",
            "started": "2026-11-20T16:00:00+00:00",
            "python": "3.11.7",
            "versions": {"groundscope": "0.1.0", "torch": "2.13.0"},
            "machine": {"system": "Linux", "processor": "a processor", "cores": 2, "accelerator": "none"},
            "seconds": {"corpus": 3.2, **{f"train/{arch}/seed-{seed}": 125.0 for arch in archs for seed in seeds}},
        }
        write_json(folder / "provenance.json", provenance)
        for part in without:
            (folder / part).unlink()
        return folder

    return make


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Path:
    """Two models, two seeds, two directions; only to be read."""
    return make_run(tmp_path_factory.mktemp("runs") / "toyworld", description=f"A study of {NASTY} & others")


@pytest.fixture(scope="session")
def nasty() -> str:
    """A word that must never reach a page as it is."""
    return NASTY
