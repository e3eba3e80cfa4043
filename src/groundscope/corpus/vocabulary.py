"""Whole-word vocabulary with one entry per (form, channel), so that no surface form connects scene and speech."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Int

from groundscope.corpus.utterance import UNKNOWN, Channel, Utterance
from groundscope.errors import CorpusError, VocabularyError, did_you_mean
from groundscope.files import atomic_file, read_json

DOCUMENT = "<doc>"
"""The token that opens every document."""

SCENE_TIER = "scene"
"""Tier of decoded ENV utterances: tokens do not tell which dependent tier they came from."""

_FORMAT = 1
_MISREADABLE = re.compile(r"[%<>\s]")


class Vocabulary:
    """Immutable table of tokens, their ids and how often each stands in the corpus.

    Ids: `<doc>`, `<unk><ENV>`, `<unk><LAN>`, then speakers, then words; speakers and words by falling count,
    ties by name. Entries are kept by what they are and never found by their spelling, so that the speaker
    ``ENV`` and the channel ``ENV`` have nothing to do with each other.
    """

    __slots__ = ("_counts", "_speaker_codes", "_speaker_ids", "_tokens", "_word_ids", "_words")

    def __init__(
        self,
        *,
        documents: int,
        unknown: Mapping[Channel, int],
        speakers: Sequence[tuple[str, int]],
        words: Sequence[tuple[str, Channel, int]],
    ):
        """Number the entries in the order given; `from_counts` sorts them and applies limits."""
        first_speaker = 1 + len(Channel)
        first_word = first_speaker + len(speakers)
        self._speaker_codes = tuple(code for code, _ in speakers)
        self._speaker_ids = {code: first_speaker + i for i, code in enumerate(self._speaker_codes)}
        self._words = tuple((UNKNOWN, channel) for channel in Channel) + tuple((w, c) for w, c, _ in words)
        self._word_ids = {channel: {UNKNOWN: 1 + i} for i, channel in enumerate(Channel)}
        for i, (form, channel, _) in enumerate(words):
            self._word_ids[channel][form] = first_word + i
        self._tokens = (
            DOCUMENT,
            *(word_token(UNKNOWN, channel) for channel in Channel),
            *map(speaker_token, self._speaker_codes),
            *(word_token(form, channel) for form, channel, _ in words),
        )
        counts = [
            documents,
            *(unknown.get(c, 0) for c in Channel),
            *(n for _, n in speakers),
            *(n for *_, n in words),
        ]
        self._counts = np.array(counts, dtype=np.int64)
        self._counts.flags.writeable = False

    @classmethod
    def from_counts(
        cls,
        *,
        documents: int,
        speakers: Mapping[str, int],
        words: Mapping[tuple[str, Channel], int],
        min_frequency: int = 1,
        max_size: int | None = None,
    ) -> "Vocabulary":
        """Keep the words that stand at least ``min_frequency`` times, the commonest first, and sort everything.

        ``max_size`` bounds the whole vocabulary, special tokens and speakers included. Words that do not make
        it are counted as their channel's `<unk>`. Raises CorpusError when not even the speakers fit.
        """
        unknown = {channel: words.get((UNKNOWN, channel), 0) for channel in Channel}
        ranked = sorted(
            ((form, channel, n) for (form, channel), n in words.items() if form != UNKNOWN),
            key=lambda entry: (-entry[2], entry[0], entry[1]),
        )
        kept = [entry for entry in ranked if entry[2] >= max(min_frequency, 1)]
        if max_size is not None:
            room = max_size - 1 - len(Channel) - len(speakers)
            if room < 0:
                raise CorpusError(
                    f"A vocabulary of {max_size} entries was asked for, but the special tokens and the "
                    f"{len(speakers)} speakers alone are {max_size - room}. Ask for more."
                )
            kept = kept[:room]
        for _, channel, n in ranked[len(kept) :]:
            unknown[channel] += n
        return cls(
            documents=documents,
            unknown=unknown,
            speakers=sorted(speakers.items(), key=lambda entry: (-entry[1], entry[0])),
            words=kept,
        )

    @property
    def tokens(self) -> tuple[str, ...]:
        """Spelling of every entry: ``<doc>``, ``<CHI>``, ``horse<ENV>``, ``horse<LAN>``."""
        return self._tokens

    @property
    def counts(self) -> Int[np.ndarray, " vocab"]:
        """Exact number of times that each entry stands in the corpus's chunks; read-only."""
        return self._counts

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speaker codes in the order of their ids."""
        return self._speaker_codes

    @property
    def document_id(self) -> int:
        """Id of the token that opens a document."""
        return 0

    @property
    def is_env(self) -> np.ndarray:
        """Bool [vocab]: the entry belongs to the scene; its `<unk>` does too, for something was shown."""
        return self._in_channel(Channel.ENV)

    @property
    def is_lan(self) -> np.ndarray:
        """Bool [vocab]: the entry belongs to speech; its `<unk>` included."""
        return self._in_channel(Channel.LAN)

    def __len__(self) -> int:
        return len(self._tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self._tokens == other._tokens and np.array_equal(self._counts, other._counts)

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} entries, {len(self._speaker_codes)} speakers)"

    def find(self, form: str, channel: Channel) -> int | None:
        """Return the id of a word, or None where the vocabulary does not hold it."""
        return self._word_ids[channel].get(form)

    def id(self, form: str, channel: Channel) -> int:
        """Return the id of a word; raises VocabularyError that names the nearest known form."""
        number = self.find(form, channel)
        if number is None:
            hint = did_you_mean(form, self._word_ids[channel])
            other = next(c for c in Channel if c != channel)
            if not hint and self.find(form, other) is not None:
                hint = f" It does hold '{word_token(form, other)}'."
            raise VocabularyError(f"The vocabulary does not hold '{word_token(form, channel)}'.{hint}")
        return number

    def count(self, form: str, channel: Channel) -> int:
        """Return how often a word stands in the corpus; 0 where the vocabulary does not hold it."""
        number = self.find(form, channel)
        return 0 if number is None else int(self._counts[number])

    def forms(self, channel: Channel) -> tuple[str, ...]:
        """Return a channel's words, commonest first, without `<unk>`."""
        return tuple(form for form in self._word_ids[channel] if form != UNKNOWN)

    def speaker_id(self, code: str) -> int:
        """Return the id of a speaker's tag; raises VocabularyError that names the nearest known code."""
        try:
            return self._speaker_ids[code]
        except KeyError:
            hint = did_you_mean(code, self._speaker_ids) or f" Commonest: {', '.join(self.speakers[:5])}."
            raise VocabularyError(f"The vocabulary does not hold the speaker '{code}'.{hint}") from None

    def unknown_id(self, channel: Channel) -> int:
        """Return the id of a channel's `<unk>`."""
        return self._word_ids[channel][UNKNOWN]

    def in_one_form(self) -> "Vocabulary":
        """Return this vocabulary with the scene's words under the ids of the same spoken forms.

        A form that is never said keeps its id, so that no two words become one. Counts are left as they are.
        """
        spoken = self._word_ids[Channel.LAN]
        merged = copy(self)
        shown = {form: spoken.get(form, number) for form, number in self._word_ids[Channel.ENV].items()}
        merged._word_ids = {**self._word_ids, Channel.ENV: shown}
        return merged

    def encode(self, utterances: Iterable[Utterance]) -> list[int]:
        """Return the ids of utterances: for each, its speaker, then its words.

        A word that the vocabulary does not hold becomes its channel's `<unk>`; an unknown speaker raises
        VocabularyError, because nothing stands for one.
        """
        ids: list[int] = []
        for utterance in utterances:
            words = self._word_ids[utterance.channel]
            unknown = words[UNKNOWN]
            ids.append(self.speaker_id(utterance.speaker))
            ids.extend(words.get(word, unknown) for word in utterance.words)
        return ids

    def decode(self, ids: Iterable[int]) -> list[Utterance]:
        """Return the utterances that ids spell; the inverse of `encode`, up to tiers and line numbers.

        Document tokens are passed over. A stretch cut from the middle of a corpus may begin inside an
        utterance: such words get the speaker ``""``. Raises VocabularyError for an id outside the vocabulary.
        """
        utterances: list[Utterance] = []
        first_word = 1 + len(Channel) + len(self._speaker_codes)
        speaker: str | None = None  # None: none seen since the document or the stretch began
        channel: Channel | None = None  # None: no word seen since the speaker's tag
        words: list[str] = []

        def close() -> None:
            if channel is not None or speaker is not None:
                tier = SCENE_TIER if channel is Channel.ENV else "main"
                utterances.append(Utterance(speaker or "", channel or Channel.LAN, tuple(words), tier, 0))
            words.clear()

        for number in ids:
            if not 0 <= number < len(self):
                raise VocabularyError(f"There is no id {number} in a vocabulary of {len(self)} entries.")
            if number == 0 or len(Channel) < number < first_word:
                close()
                channel = None
                speaker = None if number == 0 else self._speaker_codes[number - 1 - len(Channel)]
                continue
            form, spoken = self._words[number - 1 if number < first_word else number - 1 - len(self.speakers)]
            if channel is not None and spoken is not channel:
                close()
            channel = spoken
            words.append(form)
        close()
        return utterances

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON with one word per line, atomically."""
        content = self.to_json()
        words = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in content.pop("words"))
        head = json.dumps(content, ensure_ascii=False).removesuffix("}")
        with atomic_file(path) as temporary:
            temporary.write_text(f'{head}, "words": [\n{words}\n]}}\n', encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a saved vocabulary; raises GroundscopeError where it is missing, damaged or of another format."""
        content = read_json(path)
        try:
            if content["format"] != _FORMAT:
                raise CorpusError(
                    f"{path} has format {content['format']}; this version reads {_FORMAT}. Rebuild the corpus."
                )
            channels = {channel.value: channel for channel in Channel}
            return cls(
                documents=content["documents"],
                unknown={channels[name]: n for name, n in content["unknown"].items()},
                speakers=[(code, n) for code, n in content["speakers"]],
                words=[(form, channels[name], n) for form, name, n in content["words"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError(f"{path} is not a vocabulary ({error!r}). Rebuild the corpus.") from None

    def to_json(self) -> dict:
        """Return everything that the vocabulary holds as JSON-able values, ids being implied by the order."""
        counts = self._counts.tolist()
        first_word = 1 + len(Channel) + len(self._speaker_codes)
        return {
            "format": _FORMAT,
            "documents": counts[0],
            "unknown": {channel: counts[1 + i] for i, channel in enumerate(Channel)},
            "speakers": [[code, counts[i]] for code, i in self._speaker_ids.items()],
            "words": [
                [form, channel, n]
                for (form, channel), n in zip(self._words[len(Channel) :], counts[first_word:], strict=True)
            ],
        }

    def save_tokenizer(self, path: Path) -> None:
        """Write a Hugging Face ``tokenizer.json`` (WordLevel over tokens split at white space), atomically.

        ``Tokenizer.from_file(path).encode("<CHI> horse<LAN>")`` and the same split into a list give our ids.
        WordLevel has room for one unknown token only, so there a word that is not held becomes `<unk><LAN>`.
        """
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from tokenizers.pre_tokenizers import WhitespaceSplit

        tokenizer = Tokenizer(
            WordLevel({token: i for i, token in enumerate(self._tokens)}, unk_token=word_token(UNKNOWN, Channel.LAN))
        )
        tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
        with atomic_file(path) as temporary:
            tokenizer.save(str(temporary))

    def _in_channel(self, channel: Channel) -> np.ndarray:
        member = np.zeros(len(self), dtype=bool)
        member[list(self._word_ids[channel].values())] = True
        return member


def word_token(form: str, channel: Channel) -> str:
    """Spell a word of one channel: ``horse<ENV>``."""
    return f"{form}<{channel}>"


def speaker_token(code: str) -> str:
    """Spell a speaker's tag: ``<CHI>``.

    What would make it read as another token is percent-encoded: white space, brackets, and a speaker ``doc``.
    """
    if f"<{code}>" == DOCUMENT:
        return f"<%{ord(code[0]):02X}{code[1:]}>"
    return f"<{_MISREADABLE.sub(lambda match: quote(match[0]), code)}>"
