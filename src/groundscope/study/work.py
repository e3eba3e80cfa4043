"""The work of each kind of cell: read what is upstream, call the rooms below, write into the cell's folder."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import polars as pl
import yaml

from groundscope.behaviour.conclusions import CONCLUSIONS, conclusions
from groundscope.behaviour.contexts import ContextSet, load_contexts, usable_contexts
from groundscope.behaviour.cooccurrence import Exposure
from groundscope.behaviour.evidence import EVIDENCE, evidence
from groundscope.behaviour.measure import GAIN, SURPRISAL, measure
from groundscope.behaviour.options import BehaviourOptions
from groundscope.behaviour.words import WORDS, Word, candidates, select_words, words_table
from groundscope.corpus.chat import read_chat
from groundscope.corpus.chunks import Corpus, build_corpus
from groundscope.corpus.jsonl import read_jsonl
from groundscope.corpus.toyworld import ToyWorld
from groundscope.corpus.utterance import Document
from groundscope.errors import CorpusError
from groundscope.files import atomic_file, sha256_file, sha256_json, write_json
from groundscope.models.presets import Config, own_fields, preset
from groundscope.progress import Progress
from groundscope.study.cell import Digests, catalogue
from groundscope.study.config import BuiltSource, ChatSource, JsonlSource, ModelSettings, Study, ToyWorldSource
from groundscope.study.paths import located
from groundscope.study.provenance import provenance
from groundscope.tables import TableSchema, read_table, write_table
from groundscope.training.loop import train
from groundscope.training.metrics import LOSS
from groundscope.trajectory.checkpoints import Trajectory

WritePage = Callable[[Path, Path], Path]
"""Writes the page of a run (first path) to a file (second path); comes from the floor above."""

Upstream = Mapping[str, Digests]


def sources(study: Study) -> list[Path]:
    """The files and folders that a study's corpus is read from."""
    match study.corpus:
        case ChatSource() | JsonlSource():
            return [located(path) for path in study.corpus.paths]
        case BuiltSource():
            return [located(study.corpus.path)]
        case ToyWorldSource():
            return []


def hash_paths(paths: Sequence[Path]) -> Mapping[str, str]:
    """Content hash of each path; a folder's covers the names and contents of all files below it.

    Raises CorpusError for a path that does not exist.
    """
    found = {}
    for number, path in enumerate(paths):
        if not path.exists():
            raise CorpusError(f"There is no file or folder {path}.")
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.relative_to(path).as_posix()} {sha256_file(file)}\n".encode())
        found[f"source {number}"] = digest.hexdigest()
    return found


def context_file(options: BehaviourOptions) -> Path | None:
    """The study's own contexts, where it has some."""
    return located(options.contexts) if options.contexts else None


def build(study: Study, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    """Build the corpus, or copy one that was built before."""
    source = study.corpus
    if isinstance(source, BuiltSource):
        (path,) = sources(study)
        Corpus.open(path)
        shutil.copytree(path, folder, dirs_exist_ok=True)
        corpus = Corpus.open(folder)
        corpus.verify()
    else:
        provenance = {"reader": source.source, "options": source.model_dump(mode="json", exclude={"paths", "chunks"})}
        corpus = build_corpus(_documents(study, progress), folder, source.chunks, provenance=provenance)
    for line in corpus.card.lines():
        progress.say(f"  {line}")
    return {"": corpus.card.content_hash, "chunks": corpus.card.content_hash}


def choose_words(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    """Choose words and contexts, so that a study that cannot be measured fails before it is trained."""
    vocabulary = Corpus.open(run / "corpus").vocabulary
    options = study.behaviour
    words, contexts = _chosen(study, Corpus.open(run / "corpus"))
    asked = candidates(options.kind, options.words)
    write_table(folder / "words.parquet", words_table(vocabulary, asked, words), WORDS)
    loaded = load_contexts(options.kind, context_file(options)).all()
    kept = {"words": [asdict(word) for word in words], "contexts": [asdict(context) for context in contexts.all()]}
    write_json(folder / "chosen.json", kept)
    progress.say(f"{len(words)} of {len(asked)} words, {len(contexts.all())} of {len(loaded)} contexts.")
    return {"": sha256_json(kept)}


def train_model(
    study: Study, run: Path, model: str, seed: int, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    """Train one architecture with one seed; goes on where an interrupted attempt stopped."""
    corpus = Corpus.open(run / "corpus")
    config = _model_config(study.models[model], corpus)
    provenance = {"study": study.name, "corpus": corpus.card.content_hash}
    train(
        corpus.chunks,
        config,
        study.training_of(model),
        seed,
        folder,
        arch=model,
        progress=progress,
        provenance=provenance,
    )
    digests = {f"step-{point.step:08d}": point.weight_hash for point in Trajectory.open(folder).checkpoints}
    return {**digests, "": sha256_json(digests), "loss": sha256_file(folder / "loss.parquet")}


def measure_behaviour(
    study: Study, run: Path, model: str, seed: int, step: int, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    """Measure surprisal and gain at one checkpoint."""
    corpus = Corpus.open(run / "corpus")
    words, contexts = _chosen(study, corpus)
    trajectory = Trajectory.open(run / "train" / model / f"seed-{seed}")
    point = trajectory.at(step)
    point.verify()  # every row below carries the hash of these weights
    identity = {
        "arch": model,
        "seed": seed,
        "step": step,
        "tokens_seen": point.tokens_seen,
        "weight_hash": point.weight_hash,
    }
    seen = _exposure(corpus.path, corpus.card.content_hash, words, study.behaviour.window).at(
        trajectory.order.seen(step)
    )
    found = measure(point.load(), corpus.vocabulary, words, contexts, seen, study.behaviour, identity)
    write_table(folder / "surprisal.parquet", found.surprisal, SURPRISAL)
    write_table(folder / "gain.parquet", found.gain, GAIN)
    return {"": sha256_json([sha256_file(folder / name) for name in ("surprisal.parquet", "gain.parquet")])}


def gather_tables(study: Study, run: Path, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    """Join what the cells measured into the study's tables, and weigh it."""
    done = [name for name, digests in upstream.items() if digests]  # others failed, or are of another schedule
    measured = [run / name for name in done if name.startswith("behaviour/")]
    trained = [run / name for name in done if name.startswith("train/")]
    options = study.statistics
    gain = _joined(measured, GAIN)
    weighing = {"resamples": options.resamples, "confidence": options.confidence, "seed": options.seed}
    tables = {
        LOSS: _joined(trained, LOSS),
        SURPRISAL: _joined(measured, SURPRISAL),
        GAIN: gain,
        EVIDENCE: evidence(gain, **weighing),
        CONCLUSIONS: conclusions(gain, **weighing),
        WORDS: read_table(run / "words" / "words.parquet", WORDS),
    }
    for schema, frame in tables.items():
        write_table(folder / f"{schema.name}.parquet", frame, schema)
    return {schema.name: sha256_file(folder / f"{schema.name}.parquet") for schema in tables} | {
        "": sha256_json([sha256_file(folder / f"{schema.name}.parquet") for schema in tables])
    }


def write_report(
    study: Study, run: Path, write_page: WritePage, folder: Path, progress: Progress, upstream: Upstream
) -> Digests:
    """Keep the study and what ran it beside the tables that they made, and write the page from all of it."""
    resolved = study.model_dump(mode="json")
    with atomic_file(run / "study.yaml") as file:
        file.write_text(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_json(run / "resolved.json", resolved)
    seconds = {name: record.seconds for name, record in catalogue(run).items()}
    write_json(run / "provenance.json", {**provenance(), "seconds": seconds})
    page = write_page(run, folder / "index.html")
    return {"": sha256_file(page)}


def _model_config(settings: ModelSettings, corpus: Corpus) -> Config:
    """The preset with its overrides, for this vocabulary, and with as many positions as a chunk has."""
    config = preset(settings.preset, len(corpus.vocabulary), **settings.overrides)
    if "n_positions" in own_fields(type(config)) and "n_positions" not in settings.overrides:
        overrides = {**settings.overrides, "n_positions": corpus.card.chunk_length}
        config = preset(settings.preset, len(corpus.vocabulary), **overrides)
    return config


def _documents(study: Study, progress: Progress) -> Iterator[Document]:
    match study.corpus:
        case ChatSource():
            return read_chat(sources(study), study.corpus.chat, progress)
        case JsonlSource():
            return read_jsonl(sources(study), study.corpus.jsonl)
        case ToyWorldSource():
            return ToyWorld(study.corpus.world).documents()
        case BuiltSource():
            raise AssertionError("a built corpus has no documents to read")


def _chosen(study: Study, corpus: Corpus) -> tuple[tuple[Word, ...], ContextSet]:
    options = study.behaviour
    words = select_words(
        corpus.vocabulary, options.kind, minimum=options.minimum, choice=options.words, at_most=options.at_most
    )
    return words, usable_contexts(load_contexts(options.kind, context_file(options)), corpus.vocabulary)


@lru_cache(maxsize=1)  # one study measures one set of words in one corpus, at many checkpoints
def _exposure(path: Path, content_hash: str, words: tuple[Word, ...], window: int | None) -> Exposure:
    corpus = Corpus.open(path)
    return Exposure.of(corpus.chunks, corpus.vocabulary, words, window=window)


def _joined(folders: Sequence[Path], schema: TableSchema) -> pl.DataFrame:
    frames = [read_table(folder / f"{schema.name}.parquet", schema) for folder in folders]
    return pl.concat(frames) if frames else schema.frame([])
