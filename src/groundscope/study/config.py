"""What a study file may say: frozen models of its sections; unknown keys are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from groundscope.behaviour.options import AblationStudy, BehaviourOptions, OneFormStudy
from groundscope.behaviour.photographed import PhotographTestOptions
from groundscope.behaviour.picture_worlds import PictureTestOptions
from groundscope.corpus.album import FILES, PhotographOptions
from groundscope.corpus.captions import CaptionOptions
from groundscope.corpus.chat import ChatOptions
from groundscope.corpus.chunks import ChunkOptions
from groundscope.corpus.dialogue import DialogueOptions
from groundscope.corpus.jsonl import JsonlOptions
from groundscope.corpus.scenes import SceneOptions
from groundscope.corpus.toyworld import ToyWorldOptions
from groundscope.errors import ModelError, StudyError, did_you_mean
from groundscope.mechanism.box_criterion import BOX_CRITERION, BoxCriterionOptions
from groundscope.mechanism.criteria import CriterionOptions
from groundscope.mechanism.options import LensStudy, MechanismStudy, PromptOptions
from groundscope.models.presets import preset
from groundscope.models.vision import EncoderOptions
from groundscope.record import Record
from groundscope.study.explain import explain
from groundscope.study.names import NAME, Named, Seed
from groundscope.study.paths import given_copy
from groundscope.training.config import TrainConfig
from groundscope.training.schedule import checkpoint_steps
from groundscope.trajectory.at import steps_at

GIVEN_FILES = ("contexts", "acquisition")
"""Options of behaviour that name small files; a run keeps copies of them."""


class ToyWorldSource(Record):
    """The generated world that ships with the package."""

    source: Literal["toyworld"]
    world: ToyWorldOptions = Field(default=ToyWorldOptions(), description="the world's size and dials")
    chunks: ChunkOptions = Field(default=ChunkOptions(length=128), description="vocabulary and chunks")

    def moved(self, change: Callable[[Path], Path]) -> "ToyWorldSource":
        """Return the same: it has no paths."""
        return self


class ChatSource(Record):
    """CHAT files as TalkBank ships them."""

    source: Literal["chat"]
    paths: tuple[Path, ...] = Field(min_length=1, description="folders, archives or files, relative to the study file")
    chat: ChatOptions = Field(default=ChatOptions(), description="which tiers are the scene, case, ...")
    chunks: ChunkOptions = Field(default=ChunkOptions(), description="vocabulary and chunks")

    def moved(self, change: Callable[[Path], Path]) -> "ChatSource":
        """Return the same with other paths."""
        return self.model_copy(update={"paths": tuple(map(change, self.paths))})


class JsonlSource(Record):
    """One JSON object per utterance."""

    source: Literal["jsonl"]
    paths: tuple[Path, ...] = Field(min_length=1, description="files, relative to the study file")
    jsonl: JsonlOptions = Field(default=JsonlOptions(), description="how lines are read")
    chunks: ChunkOptions = Field(default=ChunkOptions(), description="vocabulary and chunks")

    def moved(self, change: Callable[[Path], Path]) -> "JsonlSource":
        """Return the same with other paths."""
        return self.model_copy(update={"paths": tuple(map(change, self.paths))})


class VisdialSource(Record):
    """Dialogues about pictures that captions describe: Visual Dialog, VisPro, and captions alone (COCO)."""

    source: Literal["visdial"]
    paths: tuple[Path, ...] = Field(min_length=1, description="dialogues: files, folders or archives")
    captions: tuple[Path, ...] = Field(default=(), description="COCO's caption files, read behind the dialogues")
    dialogue: DialogueOptions = Field(default=DialogueOptions(), description="tags and case of dialogues")
    caption: CaptionOptions = Field(default=CaptionOptions(), description="which captions are the scene, tags, case")
    chunks: ChunkOptions = Field(default=ChunkOptions(), description="vocabulary and chunks")

    def moved(self, change: Callable[[Path], Path]) -> "VisdialSource":
        """Return the same with other paths."""
        return self.model_copy(
            update={"paths": tuple(map(change, self.paths)), "captions": tuple(map(change, self.captions))}
        )


class _Pictures(Record):
    """What all pictures have in common: frozen vision encoders see them, and each model is trained with each."""

    encoders: Named[EncoderOptions] = Field(min_length=1, description="name -> vision encoder, or its random twin")
    length: int = Field(default=112, ge=16, description="tokens per chunk: a picture and talk about it")
    criterion: BoxCriterionOptions = Field(
        default=BOX_CRITERION,
        description="which heads aggregate: the share of patch-to-word saliency that comes from inside the box",
    )
    cache: Path | None = Field(default=None, description="folder of features by picture hash; none: computed anew")


class ScenesSource(_Pictures):
    """Composed pictures and talk about them, seen through frozen vision encoders; each model is trained with each."""

    source: Literal["scenes"]
    scenes: SceneOptions = Field(default=SceneOptions(), description="what is shown and said")
    tests: PictureTestOptions = Field(default=PictureTestOptions(), description="pictures, repainted and not")

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from, as written."""
        return () if self.scenes.sprites is None else (self.scenes.sprites,)

    def moved(self, change: Callable[[Path], Path]) -> "ScenesSource":
        """Return the same with other paths."""
        sprites, cache = (path and change(path) for path in (self.scenes.sprites, self.cache))
        return self.model_copy(update={"scenes": self.scenes.model_copy(update={"sprites": sprites}), "cache": cache})


class PhotographsSource(_Pictures):
    """Photographs with boxes and what people say of them: captions of COCO, dialogues of Visual Dialog."""

    source: Literal["photographs"]
    photographs: PhotographOptions = Field(description="where photographs, boxes and talk are, and which words count")
    tests: PhotographTestOptions = Field(default=PhotographTestOptions(), description="which boxes, and repainted how")

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from, as written."""
        return tuple(path for kind in FILES for path in getattr(self.photographs, kind))

    def moved(self, change: Callable[[Path], Path]) -> "PhotographsSource":
        """Return the same with other paths."""
        files = {kind: tuple(change(path) for path in getattr(self.photographs, kind)) for kind in FILES}
        return self.model_copy(
            update={
                "photographs": self.photographs.model_copy(update=files),
                "cache": self.cache and change(self.cache),
            }
        )


PicturesSource = ScenesSource | PhotographsSource


class BuiltSource(Record):
    """A corpus directory made by ``groundscope corpus``."""

    source: Literal["built"]
    path: Path = Field(description="the corpus directory, relative to the study file")

    def moved(self, change: Callable[[Path], Path]) -> "BuiltSource":
        """Return the same with other paths."""
        return self.model_copy(update={"path": change(self.path)})


CorpusSource = Annotated[
    ToyWorldSource | ChatSource | JsonlSource | VisdialSource | ScenesSource | PhotographsSource | BuiltSource,
    Field(discriminator="source"),
]


class ModelSettings(BaseModel):
    """One architecture: a preset's name, any of its settings, and training settings that differ for it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    preset: str = Field(description="a preset of groundscope.models.presets")
    training: dict[str, Any] = Field(default={}, description="training settings of this architecture alone")

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that replace the preset's."""
        return dict(self.model_extra or {})


class StudyBehaviour(BehaviourOptions):
    """Which words are measured, in which contexts; as JSON, small files are named by the copies that a run keeps."""

    @property
    def given(self) -> dict[str, Path]:
        """Option -> the small file that it names."""
        return {option: path for option in GIVEN_FILES if (path := getattr(self, option)) is not None}

    @field_serializer(*GIVEN_FILES, when_used="json")
    def _as_kept(self, path: Path | None, info: Any) -> str | None:
        return None if path is None else given_copy(info.field_name, path)


class StatisticsOptions(Record):
    """How the measurements become evidence."""

    resamples: int = Field(
        default=2000, ge=100, description="bootstrap resamples and permutations per interval or test"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="level of every interval")
    seed: Seed = Field(default=0, description="seed of resampling")


class Study(Record):
    """A whole study: corpus, models, seeds, training, and what is measured."""

    name: str = Field(pattern=f"^{NAME}$", description="name of the run's folder")
    description: str = Field(default="", description="shown on the page")
    corpus: CorpusSource
    models: Named[ModelSettings] = Field(min_length=1, description="name -> architecture")
    seeds: tuple[Seed, ...] = Field(
        default=(42, 142, 242, 342, 442), min_length=1, description="initialisation and data order"
    )
    training: TrainConfig = Field(default=TrainConfig.model_validate({}), description="training of every architecture")
    behaviour: StudyBehaviour = Field(default=StudyBehaviour(), description="words, contexts, conditions")
    ablation: AblationStudy | None = Field(default=None, description="training again without co-occurrence; none: not")
    one_form: OneFormStudy | None = Field(
        default=None, description="training again with one form for scene and speech, as a control; none: not"
    )
    mechanism: MechanismStudy | None = Field(
        default=MechanismStudy(), description="saliency, heads and the causal test; none: not"
    )
    lens: LensStudy | None = Field(default=LensStudy(), description="what each layer says about the words; none: not")
    statistics: StatisticsOptions = Field(default=StatisticsOptions(), description="intervals and tests")

    @field_validator("models")
    @classmethod
    def _can_be_built(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        for name, model in models.items():
            try:
                preset(model.preset, 1000, **model.overrides)  # any vocabulary will do to see what cannot be
            except ModelError as error:
                raise StudyError(f"models.{name}: {error}") from None
        return models

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("seeds are listed twice")
        return seeds

    @model_validator(mode="after")
    def _trainable(self) -> "Study":
        for name in self.models:
            config = self.training_of(name)
            steps = checkpoint_steps(config.checkpoints, config.steps)
            steps_at(self.behaviour.controls_at, steps, "behaviour.controls_at")
            for section in ("mechanism", "lens"):
                if options := getattr(self, section):
                    steps_at(options.at, steps, f"{section}.at")
            if self.ablation and name in self.ablated_models:
                steps_at(self.ablation.at, steps, "ablation.at")
            if self.one_form and name in self.one_form_models:
                steps_at(self.one_form.at, steps, "one_form.at")
        return self

    @model_validator(mode="after")
    def _comparable(self) -> "Study":
        words = self.behaviour.words
        if isinstance(words, tuple) and len(set(words)) < 2:
            named = ", ".join(words) or "none"
            raise StudyError(f"behaviour.words: name at least two words, to compare one with others (given: {named})")
        return self

    @model_validator(mode="after")
    def _about_pictures(self) -> "Study":
        """Refuse what would be passed over without a word."""
        if not isinstance(self.corpus, PicturesSource):
            return self
        trainings = [f"{model}.{encoder}" for model in self.models for encoder in self.corpus.encoders]
        if twice := next((name for name in trainings if trainings.count(name) > 1), None):
            raise StudyError(
                f"models, corpus.encoders: two trainings would be called '{twice}' (MODEL.ENCODER); rename one"
            )
        mechanism, lens = self.mechanism or MechanismStudy(), self.lens or LensStudy()
        own = "words and tests are those of `corpus`"
        for section, is_own, instead in (
            ("behaviour", self.behaviour == StudyBehaviour(), own),
            ("mechanism.criterion", mechanism.criterion == CriterionOptions(), "say corpus.criterion"),
            ("mechanism.prompts", mechanism.prompts == PromptOptions(), own),
            ("mechanism.text_chunks", mechanism.text_chunks == MechanismStudy().text_chunks, "leave it out"),
            ("lens.prompts", lens.prompts == PromptOptions(seed=lens.prompts.seed), own),
        ):
            if not is_own:
                raise StudyError(
                    f"{section}: a study of pictures (corpus.source: {self.corpus.source}) does not ask it; {instead}"
                )
        if self.mechanism and isinstance(self.corpus, PhotographsSource):
            largest, threshold = self.corpus.tests.box[1], self.corpus.criterion.threshold
            if largest >= threshold:
                raise StudyError(
                    f"corpus.tests.box: in a box of {largest:g} of a photograph any head would reach the threshold of "
                    f"{threshold:g} (corpus.criterion); test smaller boxes, or leave mechanism out"
                )
        return self

    @model_validator(mode="after")
    def _ablatable(self) -> "Study":
        for section, models in (("ablation", self.ablated_models), ("one_form", self.one_form_models)):
            if getattr(self, section) and isinstance(self.corpus, PicturesSource):
                raise StudyError(
                    f"{section}: a study of pictures (corpus.source: {self.corpus.source}) has none; leave it out"
                )
            for name in models:
                if name not in self.models:
                    raise StudyError(f"{section}.models: there is no model '{name}'.{did_you_mean(name, self.models)}")
        return self

    @property
    def ablated_models(self) -> tuple[str, ...]:
        """The models that are trained again without co-occurrence."""
        if self.ablation is None:
            return ()
        return tuple(self.models) if self.ablation.models is None else self.ablation.models

    @property
    def one_form_models(self) -> tuple[str, ...]:
        """The models that are trained again with one form for scene and speech."""
        if self.one_form is None:
            return ()
        return tuple(self.models) if self.one_form.models is None else self.one_form.models

    def moved(self, change: Callable[[Path], Path]) -> "Study":
        """Return the same study with other paths to its files."""
        given = {option: change(path) for option, path in self.behaviour.given.items()}
        behaviour = self.behaviour.model_copy(update=given)
        return self.model_copy(update={"corpus": self.corpus.moved(change), "behaviour": behaviour})

    def training_of(self, model: str) -> TrainConfig:
        """The training settings of one architecture: the study's, with its own on top."""
        own = self.models[model].training
        try:
            return TrainConfig.model_validate({**self.training.model_dump(), **own})
        except ValidationError as error:
            raise StudyError(f"models.{model}.training: {explain(error, TrainConfig)}") from None
