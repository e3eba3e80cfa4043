"""What stands around a word: a scene description with a slot, and a neutral sentence that stops right before the word.

Contexts are shared by all words (the shipped sets), or belong to single words (a file of one's own).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from groundscope.behaviour.words import Kind, Word
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import StudyError, did_you_mean
from groundscope.strict import read_json_text, read_yaml

SLOT = "_"
"""Stands in a context's ENV sentence for the scene word."""


@dataclass(frozen=True, slots=True)
class Context:
    """One pair of sentences under one speaker's tag; ``env`` holds `SLOT` once, never first."""

    name: str
    speaker: str
    env: tuple[str, ...]
    lan: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be a context; raises StudyError."""
        if self.env.count(SLOT) != 1:
            raise StudyError(
                f"Context '{self.name}': the ENV sentence '{' '.join(self.env)}' must hold the slot '{SLOT}' once."
            )
        if self.env[0] == SLOT:
            raise StudyError(
                f"Context '{self.name}': the slot stands first in '{' '.join(self.env)}'. Put a word before it: models "
                "attend to the first position whatever stands there."
            )
        if not self.lan or SLOT in self.lan:
            raise StudyError(
                f"Context '{self.name}': the LAN sentence '{' '.join(self.lan)}' must hold at least one word and stop "
                f"before the word that is predicted, without a slot."
            )

    @property
    def slot(self) -> int:
        """Position of the slot in the ENV sentence."""
        return self.env.index(SLOT)


@dataclass(frozen=True, slots=True)
class ContextSet:
    """Contexts shared by all words, and contexts that single words have instead."""

    shared: tuple[Context, ...]
    own: Mapping[str, tuple[Context, ...]] = field(default_factory=dict)

    def groups(self, words: Sequence[Word]) -> list[tuple[tuple[Context, ...], tuple[int, ...]]]:
        """Return (contexts, positions in ``words`` of the words that use them): the shared ones once, then own ones.

        Raises StudyError for words that have neither.
        """
        with_own = [at for at, word in enumerate(words) if word.form in self.own]
        rest = tuple(at for at in range(len(words)) if words[at].form not in self.own)
        if rest and not self.shared:
            names = ", ".join(words[at].form for at in rest[:5]) + (", ..." if len(rest) > 5 else "")
            raise StudyError(f"There is no context for {len(rest)} of the words ({names}). Add them to the file.")
        groups = [(self.shared, rest)] if rest else []
        return groups + [(self.own[words[at].form], (at,)) for at in with_own]

    def all(self) -> tuple[Context, ...]:
        """Return every context: the shared ones, then each word's own."""
        return (*self.shared, *(context for contexts in self.own.values() for context in contexts))


def load_contexts(kind: Kind = Kind.NOUN, path: Path | None = None, *, held_out: bool = False) -> ContextSet:
    """Return the shipped contexts of a kind, or those of a YAML or JSON file of one's own.

    A file holds either a list of contexts that all words share, or a mapping from words to lists of contexts (the key
    ``shared`` serves the words that are not named). A context is ``{env: looks at the _, lan: look at the}`` with an
    optional ``speaker`` (default CHI) and ``name`` (default: its number; a word's own contexts become ``word/name``).
    ``held_out`` chooses the shipped noun frames that are unlikely in any corpus. Raises StudyError that says what is
    wrong with which context.
    """
    if path is None:
        name = f"{kind}s-held-out" if held_out else f"{kind}s"
        shipped = yaml.safe_load(files("groundscope.data").joinpath("contexts.yaml").read_text(encoding="utf-8"))
        if name not in shipped:
            raise StudyError(f"There are no shipped contexts '{name}'. There are: {', '.join(shipped)}.")
        return ContextSet(_contexts(shipped[name], name))
    content = _read(path)
    if isinstance(content, list):
        return ContextSet(_contexts(content, str(path)))
    shared = _contexts(content.pop("shared"), f"{path}, 'shared'") if "shared" in content else ()
    own = {
        str(word): tuple(replace(c, name=f"{word}/{c.name}") for c in _contexts(entries, f"{path}, '{word}'"))
        for word, entries in content.items()
    }
    return ContextSet(shared, own)


def unknown_words(context: Context, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return what a context says that the vocabulary does not hold, as tokens; its speaker included."""
    tokens = [f"<{context.speaker}>"] if context.speaker not in vocabulary.speakers else []
    for channel, words in ((Channel.ENV, context.env), (Channel.LAN, context.lan)):
        tokens += [f"{w}<{channel}>" for w in words if w != SLOT and vocabulary.find(w, channel) is None]
    return tuple(tokens)


def usable_contexts(contexts: ContextSet, vocabulary: Vocabulary) -> ContextSet:
    """Return the contexts of which the vocabulary holds every word: `<unk>` would stand for too many things.

    Raises StudyError, naming what is missing, when no context is left for some word.
    """
    shared = _known(contexts.shared, vocabulary)
    own = {word: _known(entries, vocabulary) for word, entries in contexts.own.items()}
    empty = [word for word, entries in own.items() if not entries]
    if empty or (contexts.shared and not shared):
        asked = contexts.own[empty[0]] if empty else contexts.shared
        missing = dict.fromkeys(token for context in asked for token in unknown_words(context, vocabulary))
        whose = f" for '{empty[0]}'" if empty else ""
        raise StudyError(
            f"None of the {len(asked)} contexts{whose} can be used: the corpus never has "
            f"{', '.join(list(missing)[:8])}. Give contexts of your own in the corpus's words."
        )
    return ContextSet(shared, own)


def _known(contexts: Iterable[Context], vocabulary: Vocabulary) -> tuple[Context, ...]:
    return tuple(context for context in contexts if not unknown_words(context, vocabulary))


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        content = read_json_text(text) if path.suffix == ".json" else read_yaml(text)
    except FileNotFoundError:
        raise StudyError(f"There is no context file {path}.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StudyError(f"{path} cannot be read as contexts: {' '.join(str(error).split())}") from None
    if not isinstance(content, list | dict) or not content:
        raise StudyError(f"{path} must hold a list of contexts, or a mapping from words to lists of contexts.")
    return content


def _contexts(entries: Any, where: str) -> tuple[Context, ...]:
    if not isinstance(entries, list) or not entries:
        raise StudyError(f"{where}: expected a list of contexts, each like {{env: looks at the _, lan: look at the}}.")
    contexts = tuple(_context(entry, number, where) for number, entry in enumerate(entries, start=1))
    names = [context.name for context in contexts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StudyError(f"{where}: two contexts are named '{twice}'.")
    return contexts


def _context(entry: Any, number: int, where: str) -> Context:
    known = ("name", "speaker", "env", "lan")
    if not isinstance(entry, dict):
        raise StudyError(f"{where}: context {number} is not a mapping with env and lan.")
    for key in entry:
        if key not in known:
            raise StudyError(f"{where}: context {number} has an unknown key '{key}'.{did_you_mean(str(key), known)}")
    for key in ("env", "lan"):
        if not isinstance(entry.get(key), str):
            raise StudyError(f"{where}: context {number} needs '{key}', a sentence.")
    return Context(
        name=str(entry.get("name", number)),
        speaker=str(entry.get("speaker", "CHI")),
        env=tuple(entry["env"].split()),
        lan=tuple(entry["lan"].split()),
    )
