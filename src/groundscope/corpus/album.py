"""Photographs with boxes, what is said about them, and the words under which their objects are spoken of.

An object's word is the noun of its class: ``dining table`` is a ``table``. Where talk has other words for a class
(nobody says ``person``), options name them: then a photograph's objects of that class go by the one of these words that
the talk about it says, and by none where it says none or several. A share of the photographs that are talked about is
held out of training; those that nobody talks about are never in it. A picture that lies there under several names
counts once.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from groundscope.corpus.dialogue import DialogueOptions
from groundscope.corpus.photographs import Labelled, Photograph, last_word, read_coco, read_yolo
from groundscope.corpus.picture_files import content_of, pictures_in
from groundscope.corpus.picture_talk import Talk, captions_of, dialogues_by_picture
from groundscope.corpus.sources import refuse_twice
from groundscope.corpus.utterance import Problem
from groundscope.errors import CorpusError, did_you_mean
from groundscope.record import Record
from groundscope.statistics.resampling import generator

_YAML = (".yaml", ".yml")
FILES = ("images", "boxes", "labels", "captions", "dialogues")
"""The options that say where files are."""


class PhotographOptions(Record):
    """Where photographs, boxes and talk are, which words are measured, and what is held out.

    A path is a folder, a file or an archive; ``photos.zip/val2017`` is a folder inside an archive.
    """

    images: tuple[Path, ...] = Field(min_length=1, description="photographs: folders, .zip or uncompressed .tar")
    boxes: tuple[Path, ...] = Field(
        min_length=1, description="COCO's instances JSON, one or several, or one YAML with the names of YOLO's classes"
    )
    labels: tuple[Path, ...] = Field(default=(), description="folders of YOLO's labels; none: those beside the YAML")
    captions: tuple[Path, ...] = Field(default=(), description="captions of COCO's kind; all of them are speech")
    dialogues: tuple[Path, ...] = Field(default=(), description="Visual Dialog 0.9 or 1.0, or VisPro")
    dialogue: DialogueOptions = Field(default=DialogueOptions(), description="tags and case; captions are an answer's")
    say_caption: bool = Field(default=False, description="a dialogue's own caption is said, too, before it")
    words: tuple[str, ...] | None = Field(default=None, description="which words are measured; none: all that reach")
    shown: int = Field(default=20, ge=1, description="training photographs that must show a word's objects")
    said: int = Field(default=20, ge=1, description="training photographs whose talk must say it")
    say: dict[str, tuple[str, ...]] = Field(
        default={}, description="class -> the words that talk has for it: {person: [man, woman], tv: [television]}"
    )
    held_out: float = Field(
        default=0.2, ge=0, lt=1, description="share of the photographs with talk that are shown in tests alone"
    )
    seed: int = Field(default=0, ge=0, description="of what is held out and what is tested")

    @model_validator(mode="after")
    def _of_one_kind(self) -> "PhotographOptions":
        yolo = [path.suffix.lower() in _YAML for path in self.boxes]
        if any(yolo) and len(yolo) > 1:
            raise ValueError("boxes are either COCO's JSON, one or several, or one YAML of YOLO's")
        if self.labels and not any(yolo):
            raise ValueError("labels belong to YOLO's boxes: name the YAML with the classes' names in boxes")
        if not (self.captions or self.dialogues):
            raise ValueError("name captions or dialogues: without talk there is nothing to learn")
        return self

    @property
    def label_places(self) -> tuple[Path, ...]:
        """Where YOLO's labels are: those that are named, else beside the YAML; COCO has none."""
        names = self.boxes[0]
        return self.labels or ((names.parent,) if names.suffix.lower() in _YAML else ())

    @field_validator("say")
    @classmethod
    def _some(cls, say: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if empty := [name for name, words in say.items() if not words]:
            raise ValueError(f"say.{empty[0]} is empty; name at least one word")
        return say


@dataclass(frozen=True, slots=True)
class Seen:
    """A photograph with what is said about it and the words of its objects."""

    photograph: Photograph
    objects: tuple[tuple[str, Labelled], ...]
    """(word, object) of all objects whose word is known."""
    unboxed: frozenset[str]
    """Words that what it shows without a box might go by."""
    may_show: frozenset[str]
    """Words that anything that it shows might go by."""
    said: frozenset[str]
    """The words of its talk."""
    is_trained: bool

    @property
    def words(self) -> tuple[str, ...]:
        """What it shows, each word once."""
        return tuple(dict.fromkeys(word for word, _ in self.objects))

    def speaks_of(self, word: str) -> bool:
        """Tell whether its talk says a word, in the singular or a regular plural."""
        return not self.said.isdisjoint((word, f"{word}s", f"{word}es"))


class Album:
    """All photographs of some options, with their talk and words."""

    def __init__(self, options: PhotographOptions):
        """Read everything but the pictures themselves; raises CorpusError for what is missing or does not fit."""
        self.options = options
        self.problems: list[Problem] = []
        for kind in FILES:
            refuse_twice(getattr(options, kind))
        photographs = _one_of_each(_boxed(options, self.problems), self.problems)
        self.forms = _forms(photographs, options.say)
        talks = _talks(options, {one.key for one in photographs if one.key is not None}, self.problems)
        told = [replace(one, talks=talks.get(one.key or "", ())) for one in photographs]
        self.seen = tuple(self._seen(one) for one in _no_copies(told, self.problems))
        if not self.trained:
            raise CorpusError(self._nothing_said(photographs))

    @cached_property
    def trained(self) -> tuple[Seen, ...]:
        """What training is shown."""
        return tuple(one for one in self.seen if one.is_trained)

    @cached_property
    def categories(self) -> dict[str, str]:
        """The kind of thing that each word is: the one that most of its objects are of."""
        kinds: dict[str, Counter[str]] = {}
        for one in self.seen:
            for word, thing in one.objects:
                kinds.setdefault(word, Counter())[thing.category] += 1
        return {word: found.most_common(1)[0][0] for word, found in kinds.items()}

    def words(self, testable: Collection[str]) -> tuple[str, ...]:
        """Return the words that are measured, of which only those that are ``testable`` can be.

        Raises CorpusError for a listed word that cannot be, and where fewer than two are left.
        """
        shown = Counter(word for one in self.trained for word in one.words)
        said = Counter(word for one in self.trained for word in one.said)
        if self.options.words is not None:
            for word in self.options.words:
                self._refuse(word, shown, said, testable)
            chosen = tuple(dict.fromkeys(self.options.words))
        else:
            least = self.options
            chosen = tuple(sorted(word for word in testable if shown[word] >= least.shown and said[word] >= least.said))
        if len(chosen) < 2:
            nearest = ", ".join(
                f"{word} ({shown[word]} show it, {said[word]} say it{'' if word in testable else ', none testable'})"
                for word, _ in sorted(shown.items(), key=lambda item: (-min(item[1], said[item[0]]), item[0]))[:5]
            )
            raise CorpusError(
                f"At least two words are needed that {self.options.shown} training photographs show and "
                f"{self.options.said} speak of, found {', '.join(chosen) or 'none'}. The nearest: {nearest}. Lower "
                "`shown` and `said`, or tell with `say` how the talk names a class."
            )
        return chosen

    def _refuse(self, word: str, shown: Counter[str], said: Counter[str], testable: Collection[str]) -> None:
        if word not in self.categories:
            raise CorpusError(f"No photograph shows a '{word}'.{did_you_mean(word, self.categories)}")
        if not said[word]:
            raise CorpusError(f"Nobody says '{word}' about a photograph of the training. Tell with `say` what is said.")
        if word not in testable:
            raise CorpusError(
                f"'{word}' cannot be tested: of {shown[word]} training photographs that show it none has a box within "
                "the limits of corpus.tests."
            )

    def _seen(self, photograph: Photograph) -> Seen:
        said = frozenset(word for talk in photograph.talks for utterance in talk for word in utterance.words)
        named = {name: _said_form(self.forms.get(name, ()), said) for name in {one.name for one in photograph.objects}}
        unboxed = self._forms_of(photograph.unboxed)
        draw = generator(self.options.seed, f"held out {photograph.name}").random()
        return Seen(
            photograph,
            tuple((word, thing) for thing in photograph.objects if (word := named[thing.name]) is not None),
            unboxed,
            unboxed | self._forms_of(named),
            said,
            bool(photograph.talks) and draw >= self.options.held_out,
        )

    def _forms_of(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(form for name in names for form in self.forms.get(name, (last_word(name),)))

    def _nothing_said(self, photographs: Sequence[Photograph]) -> str:
        if any(one.photograph.talks for one in self.seen):
            return "All photographs that are talked about are held out of training. Lower `held_out`."
        return (
            f"The captions and dialogues speak of none of the {len(photographs)} photographs, such as "
            f"{photographs[0].name}: a picture is known by the number that COCO's boxes give it, or in which its "
            f"file's name ends (000000000139.jpg is 139). {_first(self.problems, 'file')}Name the talk about these "
            "photographs."
        )


def _boxed(options: PhotographOptions, problems: list[Problem]) -> list[Photograph]:
    pictures = pictures_in(options.images, problems)
    if not options.label_places:
        photographs = read_coco(pictures, options.boxes, problems)
        if not any(one.objects for one in photographs):
            raise CorpusError(
                f"{', '.join(map(str, options.boxes))} has boxes for none of the {len(photographs)} photographs that "
                f"it lists. {_first(problems, 'annotation')}Each of its annotations wants image_id (as in images), "
                "category_id and bbox."
            )
        return photographs
    (names,) = options.boxes
    photographs = read_yolo(pictures, options.label_places, names, problems)
    if not any(one.objects for one in photographs):
        places = ", ".join(map(str, options.label_places))
        raise CorpusError(
            f"The labels in {places} have boxes for none of the {len(pictures)} photographs, such as "
            f"{pictures[0].name}. {_first(problems, 'label')}Labels have the photographs' names, 0001.txt for "
            "0001.jpg, and lines of class, x, y, width and height (no polygons)."
        )
    return photographs


def _first(problems: Sequence[Problem], what: str) -> str:
    """Say what was wrong with the first of some rows."""
    found = next((one for one in problems if one.what.startswith(what)), None)
    return "" if found is None else f"In {found.file}: {found.why}. "


def _one_of_each(photographs: Iterable[Photograph], problems: list[Problem]) -> list[Photograph]:
    """The first of the photographs that talk could not tell apart."""
    kept: dict[str, Photograph] = {}
    for one in photographs:
        other = kept.setdefault(one.key or one.file.name, one)
        if other is not one:
            why = f"{other.file.name} has the same number, so talk would be about both; the first is taken"
            problems.append(Problem(one.file.name, 0, "photograph", why))
    return list(kept.values())


def _no_copies(photographs: Sequence[Photograph], problems: list[Problem]) -> list[Photograph]:
    """Each picture once, whatever its files are called: one that training showed would else be new under another name.

    Of several files of the same bytes the first is taken that is talked about, else the first.
    """
    kept: dict[bytes, Photograph] = {}
    for one in sorted(photographs, key=lambda one: not one.talks):
        first = kept.setdefault(content_of(one.file), one)
        if first is not one:
            why = f"it is the same picture as {first.file.name}, so that training could know it; that one is taken"
            problems.append(Problem(one.file.name, 0, "photograph", why))
    chosen = {id(one) for one in kept.values()}
    return [one for one in photographs if id(one) in chosen]


def _talks(options: PhotographOptions, wanted: Collection[str], problems: list[Problem]) -> dict[str, tuple[Talk, ...]]:
    """Key -> what is said: the dialogue, then each caption."""
    dialogues = dialogues_by_picture(
        options.dialogues, wanted, options.dialogue, problems, say_caption=options.say_caption
    )
    captions = captions_of(options.captions, wanted, options.dialogue, problems)
    return {key: (*([dialogues[key]] if key in dialogues else ()), *captions.get(key, ())) for key in wanted}


def _forms(photographs: Sequence[Photograph], say: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Class -> the words that its objects may go by; none where its noun names another class (a hot dog is no dog)."""
    names = {thing.name for one in photographs for thing in one.objects}
    for name in say:
        if name not in names:
            raise CorpusError(f"say names the class '{name}', of which there are no boxes.{did_you_mean(name, names)}")
    others = names | {form for forms in say.values() for form in forms}
    plain: Iterator[tuple[str, tuple[str, ...]]] = (
        (name, (last_word(name),)) for name in names if " " not in name or last_word(name) not in others
    )
    return {**dict(plain), **say}


def _said_form(forms: tuple[str, ...], said: Collection[str]) -> str | None:
    if len(forms) == 1:
        return forms[0]
    heard = [form for form in forms if form in said]
    return heard[0] if len(heard) == 1 else None
