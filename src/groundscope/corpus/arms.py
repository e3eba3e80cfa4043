"""The arms of an ablation by name, apart from their making: options name them, and do not change when that does."""

from enum import StrEnum


class Arm(StrEnum):
    """What is done to a corpus."""

    COOCCURRING = "cooccurring"
    """Chunks are removed that hold one of the words in the scene and in speech; the paper's ablation."""
    SEPARATED = "separated"
    """The same chunks stay, with their scenes' words exchanged: no text is lost, no word becomes rarer."""
    RANDOM = "random"
    """As many chunks are removed, drawn from all: the same loss of text, the share of co-occurring ones kept."""
    CONTROL = "control"
    """As many of the other chunks are removed: no co-occurring one is lost, and their share grows."""

    @property
    def takes_cooccurrence(self) -> bool:
        """Whether the arm is about co-occurrence and not a control."""
        return self in (Arm.COOCCURRING, Arm.SEPARATED)
