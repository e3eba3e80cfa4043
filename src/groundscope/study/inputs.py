"""What a study reads is there and can be read: asked before anything is computed."""

from groundscope.behaviour.acquisition import read_acquisition
from groundscope.behaviour.contexts import load_contexts
from groundscope.corpus.card import read_card
from groundscope.study.cells.corpus import refuse_missing, sources
from groundscope.study.config import BuiltSource, Study
from groundscope.study.paths import located


def refuse_lacking(study: Study) -> None:
    """Raise GroundscopeError for what ``study`` names and cannot have, without reading its corpus.

    A variable that is not set, a file or folder that is not there, contexts or ages that cannot be read.
    """
    found = study.moved(located)
    if isinstance(found.corpus, BuiltSource):
        read_card(found.corpus.path)
    refuse_missing(sources(found))
    if contexts := found.behaviour.contexts:
        load_contexts(found.behaviour.kind, contexts)
    if ages := found.behaviour.acquisition:
        read_acquisition(ages)
