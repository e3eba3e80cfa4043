"""A corpus without the split: what the scene shows is written as it is spoken, ``horse`` for both.

A model trained on it can find a word in the scene by plain retrieval of a repeated form, which is what the two
vocabularies of the testbed rule out. Nothing else differs: chunks, order, and the number of entries stay.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from groundscope.corpus.chunks import Corpus, refuse_to_replace
from groundscope.corpus.derived import write_derived
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary


def one_form(corpus: Corpus, out: Path) -> Corpus:
    """Write ``corpus`` with one form for scene and speech to ``out``.

    Scene entries that have a spoken one are left with a count of zero; read such a corpus's prompts through
    `Vocabulary.in_one_form`. Raises CorpusError where ``out`` is something other than this corpus.
    """
    refuse_to_replace(out)
    return write_derived(
        corpus,
        out,
        kept=np.ones(len(corpus.chunks), dtype=bool),
        ids=spoken_ids(corpus.vocabulary),
        share_cooccurring_words=None,
        provenance={"one_form": True},
    )


def spoken_ids(vocabulary: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """Return for every id the one that it has in one form."""
    ids = np.arange(len(vocabulary), dtype=np.int32)
    merged = vocabulary.in_one_form()
    for form in vocabulary.forms(Channel.ENV):
        ids[vocabulary.id(form, Channel.ENV)] = merged.id(form, Channel.ENV)
    ids[vocabulary.unknown_id(Channel.ENV)] = merged.unknown_id(Channel.ENV)
    return ids
