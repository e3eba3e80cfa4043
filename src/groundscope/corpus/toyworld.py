"""A generated world of scenes and talk about them, whose truth is known: the corpus that needs no data.

Nothing in it was ever said by anybody. A document is a sequence of scenes. In a scene somebody acts, with a few things
around, some of which have a property. The scene's description (ENV) is followed by talk (LAN) about one of the things,
about the action or a property, or about something that is not there. Who names what, when, and whether it is in the
scene, is in the table of mentions, so that every measure of grounding can be held against what is true.

What is shown often and what is talked of in its absence often are two unrelated Zipfian orders. A word's frequency in
speech therefore tells little about how often it stands together with its thing, and co-occurrence and frequency can be
told apart.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from groundscope.corpus.toylexicon import Concept, Draws, Kind, ToyWorldOptions, draw_lexicon
from groundscope.corpus.toystory import MENTIONS, SCENES, Story
from groundscope.corpus.utterance import Document
from groundscope.tables import TableSchema

__all__ = ["MENTIONS", "SCENES", "Concept", "Kind", "ToyWorld", "ToyWorldOptions"]


class ToyWorld:
    """A world given by its options alone: the same options, the same documents."""

    def __init__(self, options: ToyWorldOptions | None = None):
        """Draw the lexicon; documents are generated when asked for."""
        self.options = options or ToyWorldOptions()
        self.lexicon = draw_lexicon(self.options)

    @property
    def nouns(self) -> tuple[str, ...]:
        """Names of all things, those shown most often first."""
        return tuple(concept.name for concept in self.lexicon if concept.kind is Kind.NOUN)

    def documents(self) -> Iterator[Document]:
        """Yield all documents."""
        for story in self._stories():
            yield story.document()

    def mentions(self) -> pl.DataFrame:
        """Return every mention of a concept; columns as in `MENTIONS`."""
        return _table(MENTIONS, (row for story in self._stories() for row in story.mentions))

    def scenes(self) -> pl.DataFrame:
        """Return what is in every scene; columns as in `SCENES`."""
        return _table(SCENES, (row for story in self._stories() for row in story.inventory))

    def _stories(self) -> Iterator[Story]:
        draws = {kind: Draws([c for c in self.lexicon if c.kind is kind]) for kind in Kind}
        for number in range(self.options.documents):
            yield Story(number, self.options, draws)


def _table(schema: TableSchema, rows: Iterator[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema.dtypes, orient="row")  # type: ignore[arg-type]
