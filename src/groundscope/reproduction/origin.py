"""Where a run's numbers come from: command, models, corpus, versions and hashes, as far as its folder says."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundscope.errors import GroundscopeError
from groundscope.files import sha256_file, sha256_json
from groundscope.models.presets import preset
from groundscope.reproduction.run_files import card_of, provenance_of, resolved_of
from groundscope.study.provenance import in_a_line

FACTS = {"files", "utterances", "chunks", "chunk_length", "vocabulary_size", "share_env", "share_cooccurring"}
"""What is told of a corpus, as its card calls it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of one run; empty where its folder does not say."""

    command: str
    models: str
    """Each model's depth and width, and how long it was trained: not those of the paper at a reduced size."""
    corpus: str
    made_by: str
    hashes: str


def origin(run: Path) -> Origin | None:
    """Return where the numbers of ``run`` come from; None where it has no tables."""
    tables = sorted((run / "tables").glob("*.parquet"))
    if not tables:
        return None
    provenance = _said(provenance_of, run)
    resolved, card = _said(resolved_of, run), _said(card_of, run)
    hashes = {
        "corpus": card.get("content_hash"),
        "settings": sha256_json(resolved) if resolved else None,
        "tables": _contents(tables),
    }
    return Origin(
        command=str(provenance.get("command", "")),
        models="; ".join(_models(resolved)),
        corpus=_corpus(card),
        made_by=_made_by(provenance),
        hashes=", ".join(f"{what} {digest[:16]}" for what, digest in hashes.items() if isinstance(digest, str)),
    )


def _contents(tables: Sequence[Path]) -> str | None:
    """Hash what the tables hold; None where one cannot be read, which the numbers that need it say."""
    try:
        told = "".join(f"{table.name} {sha256_file(table)}\n" for table in tables)
    except OSError:  # a folder of that name, a link to nowhere, no permission
        return None
    return hashlib.sha256(told.encode()).hexdigest()


def _models(resolved: Mapping[str, Any]) -> Iterator[str]:
    for name, settings in resolved.get("models", {}).items():
        own = {key: value for key, value in settings.items() if key not in ("preset", "training")}
        training = {**resolved.get("training", {}), **settings.get("training", {})}
        with suppress(GroundscopeError, KeyError, TypeError, ValueError):  # settings of another version
            config = preset(str(settings.get("preset")), 1, **own)
            size = f"{name}, {config.n_layers} layers of width {config.d_model}"
            yield f"{size}, {training['steps']:,} steps of {training['batch_size']}" if training else size


def _corpus(card: Mapping[str, Any]) -> str:
    if not FACTS.issubset(card):
        return ""
    with suppress(TypeError, ValueError):  # a card of another version
        return (
            f"{card['files']:,} files, {card['utterances']:,} utterances, {card['chunks']:,} chunks of "
            f"{card['chunk_length']} tokens, vocabulary of {card['vocabulary_size']:,}; {card['share_env'] or 0:.0%} "
            f"of the chunks hold a scene word, {card['share_cooccurring'] or 0:.0%} some form in both"
        )
    return ""


def _made_by(provenance: Mapping[str, Any]) -> str:
    written = str(provenance.get("written", provenance.get("started", "")))[:10]
    return ", ".join(part for part in (in_a_line(provenance), written) if part)


def _said(read: Callable[[Path], Mapping[str, Any]], run: Path) -> Mapping[str, Any]:
    """What a run says of itself; nothing where that cannot be read, since its numbers can be."""
    try:
        return read(run)
    except GroundscopeError:
        return {}
