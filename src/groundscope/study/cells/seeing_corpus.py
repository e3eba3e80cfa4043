"""Cells `corpus` and `words` of a study of pictures: what is shown and said, as each encoder sees it.

The corpus folder holds all that later cells ask of the pictures' world: `vocabulary.json`, `words.json` (word ->
category), `chunks.npy` (a picture and talk about it per row), `shown.npy` (which words' things that picture shows),
`tests.json`, `problems.parquet` and, per encoder, a bank of features of the training's pictures and one of the tests',
and where its positions look in each test's picture. `encoders.json` says what each encoder is; `shown/NUMBER.jpg` are
the few pictures of tests that the page shows.
"""

import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Int
from PIL import Image

from groundscope.behaviour.picture_worlds import Draw, PictureTest, PictureWorld, drawings
from groundscope.behaviour.words import WORDS, Kind, Word
from groundscope.corpus.boxes import Patches
from groundscope.corpus.picture_stream import picture_chunks, vocabulary_of
from groundscope.corpus.stream import PROBLEMS
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError
from groundscope.files import atomic_file, read_json, sha256_file, sha256_json, write_json
from groundscope.models.vision import VisionEncoder
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Digests, Source, Upstream
from groundscope.study.cells.corpus import CHUNKS, hash_paths, sources
from groundscope.study.config import PicturesSource, Study
from groundscope.study.devices import seen_on
from groundscope.study.encoders import keep_records, load_encoders, read_record
from groundscope.study.feature_disk import EncoderShape, FeatureNeed
from groundscope.study.paths import located
from groundscope.study.worlds import CODE, labels_beside, open_world, settings_of
from groundscope.tables import write_table
from groundscope.training.memory import size

SHOWN, SHOWN_HELD_OUT = 8, 4
"""Tests whose pictures the page shows, known to training and not: the first of each of the first so many words."""
_CODE = ("study.cells.seeing_corpus", "study.worlds", "corpus.picture_stream", "models.vision", "behaviour.pictures")
_QUALITY, _LONGEST = 90, 512  # of a JPEG that is shown, and its longer side in pixels
_AT_ONCE = 32
"""Pictures that are held in memory."""


def cells(study: Study) -> Iterator[Cell]:
    """Yield the two cells; raises CorpusError for files that are not there."""
    source = study.corpus
    assert isinstance(source, PicturesSource)
    encoders = [located(Path(encoder.name)) for encoder in source.encoders.values()]
    read = [*(path for path in encoders if path.is_dir()), *dict.fromkeys(sources(study))]
    yield Cell(
        name="corpus",
        code=(*_CODE, *CODE[source.source]),
        settings=settings_of(source),
        files={**hash_paths(read), **labels_beside(source)},
        work=partial(_build, study),
    )
    yield Cell(name="words", code=_CODE, settings={}, inputs=(Source("corpus"),), work=_words)


class PictureCorpus:
    """The finished cell `corpus`."""

    def __init__(self, run: Path):
        """Open the corpus of a run."""
        self.folder = run / "corpus"
        self.vocabulary = Vocabulary.load(self.folder / "vocabulary.json")
        self.categories: Mapping[str, str] = read_json(self.folder / "words.json")

    @cached_property
    def chunks(self) -> Int[np.ndarray, "talk length"]:
        """A picture and talk about it per row."""
        return np.load(self.folder / "chunks.npy")

    @cached_property
    def shown(self) -> Bool[np.ndarray, "talk word"]:
        """Which words' things the picture of each row shows."""
        return np.load(self.folder / "shown.npy")

    @cached_property
    def tests(self) -> list[PictureTest]:
        """The tests, in the order of their bank."""
        return [PictureTest.model_validate(test) for test in read_json(self.folder / "tests.json")]

    @property
    def words(self) -> list[Word]:
        """The words that are measured."""
        return [Word(word, Kind.NOUN, category) for word, category in self.categories.items()]

    def bank(self, encoder: str, part: str) -> Float16[np.ndarray, "row d_patch"]:
        """Return the features of the pictures of a part, ``training`` or ``tests``, one row per position."""
        bank = np.load(self.folder / f"{part}-{encoder}.npy", mmap_mode="c")  # torch refuses what cannot be written
        return bank.reshape(-1, bank.shape[-1])

    def looks(self, encoder: str) -> list[Patches]:
        """Return where an encoder's positions look in the picture of each test."""
        corners = np.load(self.folder / f"looks-{encoder}.npy")
        return [Patches(test.size, where) for test, where in zip(self.tests, corners, strict=True)]

    def eye(self, encoder: str) -> str:
        """Return what tables call an encoder."""
        return read_record(self.folder, encoder).called

    def jpeg(self, number: int) -> bytes:
        """Return the picture of a test that the page shows (`shown`), perhaps smaller than it is."""
        return (self.folder / "shown" / f"{number}.jpg").read_bytes()


def shown(tests: Sequence[PictureTest]) -> list[int]:
    """Return the numbers of the tests that the page shows: of each word the first, whatever came out of it."""
    firsts: dict[tuple[bool, str], int] = {}
    for number, test in enumerate(tests):
        firsts.setdefault((test.held_out, test.word), number)
    new, known = ([number for (is_new, _), number in firsts.items() if is_new is which] for which in (True, False))
    return [*known[:SHOWN], *new[:SHOWN_HELD_OUT]]


def _build(study: Study, folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    source = study.corpus
    assert isinstance(source, PicturesSource)
    device = seen_on(study)
    loaded = load_encoders(source.encoders, device)
    world = open_world(source, loaded, device)
    for line in world.about:
        progress.say(f"  {line}")
    folder.mkdir(parents=True, exist_ok=True)
    digests = _keep_talk(world, next(iter(loaded.values())).positions, source.length, folder)
    keep_records(folder, source.encoders, loaded)
    tests = [drawn.test for drawn in world.tests]
    for name, encoder in loaded.items():
        _save(folder / f"looks-{name}.npy", np.stack([encoder.patches(test.size).corners for test in tests]))
    cache = None if source.cache is None else located(source.cache)
    parts = {"training": [one.draw for one in world.training], "tests": drawings(world.tests)}
    _refuse_full_disk(folder, loaded, sum(map(len, parts.values())))
    for part, pictures in parts.items():
        digests |= _keep_banks(part, pictures, loaded, cache, folder, progress)
    for number in shown(tests):
        _keep_jpeg(world.tests[number].match(), folder / "shown" / f"{number}.jpg")
    positions = next(iter(loaded.values())).positions
    progress.say(
        f"  {len(world.training)} pictures of {len(world.words)} words, {positions} positions each, vocabulary of "
        f"{len(Vocabulary.load(folder / 'vocabulary.json'))}; {len(parts['tests'])} pictures of tests; encoders: "
        f"{', '.join(loaded)}."
    )
    return {**digests, "": sha256_json(digests)}


def _keep_talk(world: PictureWorld, positions: int, length: int, folder: Path) -> dict[str, str]:
    """Write everything but features; return its digests."""
    talks = [talk for one in world.training for talk in one.talks]
    pictures = [number for number, one in enumerate(world.training) for _ in one.talks]
    vocabulary = vocabulary_of(talks)
    vocabulary.save(folder / "vocabulary.json")
    write_json(folder / "words.json", dict(world.categories))
    write_json(folder / "tests.json", [drawn.test.model_dump(mode="json") for drawn in world.tests])
    _save(folder / "chunks.npy", picture_chunks(talks, pictures, positions, vocabulary, length))
    _save(
        folder / "shown.npy",
        np.array([[word in one.words for word in world.words] for one in world.training])[pictures],
    )
    problems = [{"file": one.file, "line": one.line, "what": one.what, "why": one.why} for one in world.problems]
    write_table(folder / "problems.parquet", PROBLEMS.frame(problems), PROBLEMS)
    files = {CHUNKS: "chunks.npy", "shown": "shown.npy", "tests": "tests.json", "words": "words.json"}
    return {part: sha256_file(folder / name) for part, name in files.items()}


def _keep_banks(
    part: str,
    pictures: Sequence[Draw],
    encoders: Mapping[str, VisionEncoder],
    cache: Path | None,
    folder: Path,
    progress: Progress,
) -> dict[str, str]:
    """Write the features of the pictures of a part, each drawn once for all encoders; return the files' digests."""
    files = {name: folder / f"{part}-{name}.npy" for name in encoders}
    with ExitStack() as stack, progress.task(f"pictures of {part}", len(pictures)) as task:
        banks = {
            name: np.lib.format.open_memmap(
                stack.enter_context(atomic_file(files[name])),
                mode="w+",
                dtype=np.float16,
                shape=(len(pictures), encoder.positions, encoder.d_patch),
            )
            for name, encoder in encoders.items()
        }
        waiting, row = iter(pictures), 0
        while drawn := [draw() for draw in islice(waiting, _AT_ONCE)]:
            for name, encoder in encoders.items():
                banks[name][row : row + len(drawn)] = list(encoder.encode(drawn, cache))
            row += len(drawn)
            task.advance(len(drawn))
        for bank in banks.values():
            bank.flush()
    return {f"{part}-{name}": sha256_file(file) for name, file in files.items()}


def _refuse_full_disk(folder: Path, encoders: Mapping[str, VisionEncoder], pictures: int) -> None:
    shapes = {name: EncoderShape(one.positions, one.d_patch, known=True) for name, one in encoders.items()}
    need = FeatureNeed(pictures, shapes, assumed=()).total
    free = shutil.disk_usage(folder).free
    if need > free:
        raise CorpusError(
            f"The features of {pictures} pictures take {size(need)}, but {folder} has {size(free)} free. Lower it: a "
            "smaller canvas has fewer patches; or choose another --out."
        )


def _keep_jpeg(picture: Image.Image, path: Path) -> None:
    picture.thumbnail((_LONGEST, _LONGEST))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _words(folder: Path, progress: Progress, upstream: Upstream) -> Digests:
    corpus = PictureCorpus(folder.parent)
    rows = [
        {
            "word": word.form,
            "kind": word.kind.value,
            "category": word.category,
            "count_env": int(corpus.shown[:, number].sum()),
            "count_lan": corpus.vocabulary.count(word.form, Channel.LAN),
            "selected": True,
        }
        for number, word in enumerate(corpus.words)
    ]
    write_table(folder / "words.parquet", WORDS.frame(rows), WORDS)
    return {"": sha256_file(folder / "words.parquet")}


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
