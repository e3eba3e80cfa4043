"""The corpus card: what a corpus is made of, in numbers that anybody can check."""

from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, ValidationError
from rich.table import Table

from groundscope.corpus.utterance import Channel
from groundscope.errors import CorpusError
from groundscope.files import read_json
from groundscope.record import Record

CARD = "card.json"

Share = float | None
"""A share between 0 and 1; None where there is nothing to take a share of."""


class TierCount(Record):
    """What one tier contributed, counted over everything that was read."""

    channel: Channel = Field(description="Vocabulary that the tier's words belong to.")
    tier: str = Field(description="'main' for speech, else the dependent tier's name.")
    utterances: NonNegativeInt = Field(description="Utterances with or without words.")
    words: NonNegativeInt = Field(description="Words, those that nobody understood not included.")
    unknown: NonNegativeInt = Field(description="Words marked as unknown in the source.")


class CollectionCount(Record):
    """What one collection contributed, counted over everything that was read."""

    collection: str = Field(description="Name of the collection, e.g. 'Brown'.")
    files: NonNegativeInt = Field(description="Documents read.")
    utterances: NonNegativeInt = Field(description="Main tiers in the source.")
    env_words: NonNegativeInt = Field(description="Words of the scene.")
    lan_words: NonNegativeInt = Field(description="Words of speech.")


class CorpusCard(Record):
    """What was read, and what of it became chunks."""

    files: NonNegativeInt = Field(description="Documents read.")
    utterances: NonNegativeInt = Field(description="Main tiers in the source.")
    collections: tuple[CollectionCount, ...] = Field(description="Counts per collection, by name.")
    tiers: tuple[TierCount, ...] = Field(description="Counts per channel and tier, largest first.")
    problems: NonNegativeInt = Field(description="Rows of problems.parquet.")
    tokens_read: NonNegativeInt = Field(description="Tokens of all documents: words, speaker tags, document marks.")
    tokens_without_env: NonNegativeInt = Field(description="Tokens left out in chunks without a scene word.")
    tokens_at_end: NonNegativeInt = Field(description="Tokens left out because they did not fill a chunk.")
    tokens_removed: NonNegativeInt = Field(default=0, description="Tokens of chunks that an ablation removed.")
    words_left: dict[Channel, NonNegativeInt] | None = Field(
        default=None, description="Per channel: words in the chunks that an ablation left, unknown ones not included."
    )
    tokens: NonNegativeInt = Field(description="Tokens in the chunks.")
    chunks: NonNegativeInt = Field(description="Number of chunks.")
    chunk_length: NonNegativeInt = Field(description="Tokens per chunk.")
    vocabulary_size: NonNegativeInt = Field(description="Entries, special tokens and speakers included.")
    speakers: NonNegativeInt = Field(description="Speaker codes in the vocabulary.")
    share_env: Share = Field(description="Share of chunks with at least one scene word.")
    share_cooccurring: Share = Field(
        description="Share of chunks that hold some form in both channels, function words included."
    )
    share_cooccurring_words: Share = Field(
        description="Share of chunks that hold at least one of options.words, or of the ablation's, in both channels."
    )
    unknown_share: dict[Channel, Share] = Field(
        description="Per channel: share of its tokens in the chunks that are <unk>, rare words included."
    )
    options: dict[str, Any] = Field(description="How the documents were cut into chunks.")
    provenance: dict[str, Any] = Field(
        description="Where the documents came from: reader, its options, version of groundscope that read them."
    )
    content_hash: str = Field(description="SHA-256 over the chunks and the vocabulary.")

    def words(self, channel: Channel) -> int:
        """Return the number of words read in one channel, unknown ones not included."""
        return sum(tier.words for tier in self.tiers if tier.channel is channel)

    def rows(self) -> list[tuple[str, str]]:
        """Return the card as (what, how much) in the order in which a person wants to know it."""
        rows = [
            ("files", f"{self.files:,} in {len(self.collections):,} collection(s)"),
            ("utterances", f"{self.utterances:,}"),
            ("words said (LAN)", f"{self.words(Channel.LAN):,}"),
            ("words of the scene (ENV)", f"{self.words(Channel.ENV):,}"),
        ]
        rows += [
            (f"  from {name}", f"{tier.words:,} in {tier.utterances:,} utterances, {tier.unknown:,} unknown")
            for tier in self.tiers
            for name in [f"%{tier.tier}" if tier.channel is Channel.ENV else f"the {tier.tier} tier"]
        ]
        rows += [
            ("vocabulary", f"{self.vocabulary_size:,} entries, {self.speakers:,} speakers"),
            ("tokens", f"{self.tokens:,} of {self.tokens_read:,} read"),
            ("  left out without ENV", f"{self.tokens_without_env:,}"),
            ("  left out at the end", f"{self.tokens_at_end:,}"),
            *([("  removed by ablation", f"{self.tokens_removed:,}")] if self.tokens_removed else []),
            *((f"  words left in {channel}", f"{n:,}") for channel, n in (self.words_left or {}).items()),
            ("chunks", f"{self.chunks:,} of {self.chunk_length:,} tokens"),
            ("  with ENV", _percent(self.share_env)),
            ("  co-occurring, any form", _percent(self.share_cooccurring)),
        ]
        if self.share_cooccurring_words is not None:
            listed = self.provenance.get("ablation", self.options).get("words", ())
            rows.append((f"  co-occurring, {len(listed)} listed words", _percent(self.share_cooccurring_words)))
        rows += [(f"unknown in {channel}", _percent(share)) for channel, share in self.unknown_share.items()]
        rows += [
            ("problems", f"{self.problems:,}"),
            *((name, _plain(value)) for name, value in self.options.items() if name != "words"),
            *((name, _plain(value)) for name, value in self.provenance.items()),
            ("content hash", self.content_hash),
        ]
        return rows

    def lines(self) -> list[str]:
        """Return the card as aligned lines of plain text."""
        rows = self.rows()
        width = max(len(what) for what, _ in rows)
        return [f"{what:<{width}}  {value}" for what, value in rows]

    def __rich__(self) -> Table:
        """Show the card as a table on a terminal."""
        table = Table("corpus", "", show_edge=False)
        for what, value in self.rows():
            table.add_row(what, value)
        return table


def read_card(corpus: Path) -> CorpusCard:
    """Read the card of the corpus in a folder.

    Raises CorpusError where there is none, and where it is of another version or of something else.
    """
    path = corpus / CARD
    if not path.is_file():
        raise CorpusError(f"{corpus} is not a corpus: it has no {CARD}. Make one with 'groundscope corpus'.")
    try:
        return CorpusCard.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([*map(str, first["loc"]), first["msg"]])
        raise CorpusError(
            f"{path} is damaged, or another version of groundscope wrote it ({what}). Build the corpus again."
        ) from None


def _percent(share: Share) -> str:
    return "none" if share is None else f"{share:.1%}"


def _plain(value: object) -> str:
    """Write an option's value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return "none" if value is None else str(value)
