"""Cells `corpus` and `words` of a study of pictures: what is shown and said, as each encoder sees it.

The corpus folder holds `vocabulary.json`, `chunks.npy` (one picture and its talk per row), `shown.npy` (which words'
things each picture shows) and, per encoder, a bank of features of the training's pictures and one of the tests', and
where its positions look. `encoders.json` says what each encoder is.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float16, Int

from groundscope.behaviour.pictures import PictureTest, picture_tests, scenes_of
from groundscope.behaviour.words import WORDS, Kind, Word
from groundscope.corpus.boxes import Patches, Size
from groundscope.corpus.picture_stream import picture_chunks, vocabulary_of
from groundscope.corpus.scenes import Scene, SceneWorld
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.files import atomic_file, read_json, sha256_file, sha256_json, write_json
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.corpus import CHUNKS, hash_paths
from groundscope.study.config import ScenesSource, Study
from groundscope.study.encoders import keep_records, load_encoders, read_record
from groundscope.study.paths import located
from groundscope.tables import write_table

_CODE = ("study.cells.seeing_corpus", "corpus.picture_stream", "corpus.scenes", "models.vision", "behaviour.pictures")


def cells(study: Study) -> Iterator[Cell]:
    """Yield the two cells."""
    source = study.corpus
    assert isinstance(source, ScenesSource)
    read = [located(Path(encoder.name)) for encoder in source.encoders.values()]
    read += [] if source.scenes.sprites is None else [located(source.scenes.sprites)]
    yield Cell(
        name="corpus",
        code=(*_CODE, "data/emoji.yaml"),
        settings=source.model_dump(mode="json", exclude={"cache": True, "criterion": True, "scenes": {"sprites"}}),
        files=hash_paths([path for path in read if path.is_dir()]),
        work=partial(_build, study),
    )
    yield Cell(
        name="words",
        code=_CODE,
        settings={},
        inputs=(Source("corpus"),),
        work=partial(_words, study),
    )


class PictureCorpus(NamedTuple):
    """The finished cell `corpus`."""

    folder: Path
    vocabulary: Vocabulary
    chunks: Int[np.ndarray, "picture length"]
    shown: Bool[np.ndarray, "picture word"]
    words: tuple[str, ...]

    @classmethod
    def open(cls, run: Path) -> "PictureCorpus":
        """Open the corpus of a run."""
        folder = run / "corpus"
        words = tuple(read_json(folder / "words.json"))
        return cls(
            folder,
            Vocabulary.load(folder / "vocabulary.json"),
            np.load(folder / "chunks.npy"),
            np.load(folder / "shown.npy"),
            words,
        )

    def bank(self, encoder: str, part: str) -> Float16[np.ndarray, "row d_patch"]:
        """Return the features of the pictures of a part, ``training`` or ``tests``, one row per position."""
        bank = np.load(self.folder / f"{part}-{encoder}.npy", mmap_mode="c")  # torch refuses what cannot be written
        return bank.reshape(-1, bank.shape[-1])

    def looks(self, encoder: str, side: int) -> Patches:
        """Return where an encoder's positions look in pictures of ``side`` pixels."""
        return Patches(Size(side, side), np.load(self.folder / f"looks-{encoder}.npy"))

    def eye(self, encoder: str) -> str:
        """Return what tables call an encoder."""
        return read_record(self.folder, encoder).called


def tests_of(study: Study) -> tuple[SceneWorld, list[PictureTest]]:
    """Return the study's world and its tests."""
    assert isinstance(study.corpus, ScenesSource)
    world = SceneWorld(_located(study.corpus))
    return world, picture_tests(world, study.corpus.tests)


def words_of(study: Study, words: tuple[str, ...]) -> list[Word]:
    """Return the words that are measured, with the categories of their drawings."""
    assert isinstance(study.corpus, ScenesSource)
    categories = SceneWorld(_located(study.corpus)).sprites.categories
    return [Word(word, Kind.NOUN, categories.get(word, "things")) for word in words]


def _located(source: ScenesSource):
    folder = source.scenes.sprites
    return source.scenes if folder is None else source.scenes.model_copy(update={"sprites": located(folder)})


def _build(study: Study, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    source = study.corpus
    assert isinstance(source, ScenesSource)
    world, tests = tests_of(study)
    scenes = list(world.scenes())
    vocabulary = vocabulary_of([scene.talk for scene in scenes])
    loaded = load_encoders(source.encoders)
    positions = next(iter(loaded.values())).positions
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.save(folder / "vocabulary.json")
    write_json(folder / "words.json", list(world.words))
    chunks = picture_chunks([scene.talk for scene in scenes], positions, vocabulary, source.length)
    _save(folder / "chunks.npy", chunks)
    shown = np.array([[word in scene.words for word in world.words] for scene in scenes])
    _save(folder / "shown.npy", shown)
    parts = {"training": scenes, "tests": scenes_of(tests)}
    cache = None if source.cache is None else located(source.cache)
    digests = {}
    keep_records(folder, source.encoders, loaded)
    for name, encoder in loaded.items():
        _save(folder / f"looks-{name}.npy", encoder.patches(Size(source.scenes.side, source.scenes.side)).corners)
        for part, pictures in parts.items():
            with progress.task(f"{encoder.name}: pictures of {part}", len(pictures)) as task:
                bank = np.empty((len(pictures), positions, encoder.d_patch), dtype=np.float16)
                for row, features in enumerate(encoder.encode(_rendered(world, pictures), cache)):
                    bank[row] = features
                    task.advance()
            _save(folder / f"{part}-{name}.npy", bank)
            digests[f"{part}-{name}"] = sha256_file(folder / f"{part}-{name}.npy")
    digests[CHUNKS] = sha256_file(folder / "chunks.npy")
    progress.say(
        f"  {len(scenes)} pictures of {len(world.words)} words, {positions} positions each, vocabulary of "
        f"{len(vocabulary)}; {len(parts['tests'])} pictures of tests; encoders: {', '.join(loaded)}."
    )
    return {**digests, "": sha256_json(digests)}


def _rendered(world: SceneWorld, scenes: list[Scene]) -> Iterator:
    return (world.render(scene) for scene in scenes)


def _words(study: Study, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = PictureCorpus.open(folder.parent)
    words = words_of(study, corpus.words)
    rows = [
        {
            "word": word.form,
            "kind": word.kind.value,
            "category": word.category,
            "count_env": int(corpus.shown[:, number].sum()),
            "count_lan": corpus.vocabulary.count(word.form, Channel.LAN),
            "selected": True,
        }
        for number, word in enumerate(words)
    ]
    write_table(folder / "words.parquet", WORDS.frame(rows), WORDS)
    return {"": sha256_file(folder / "words.parquet")}


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
