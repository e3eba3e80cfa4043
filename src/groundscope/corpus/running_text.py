"""Running text as words: anybody's data, captions, dialogues. Transcripts in CHAT have a grammar of their own."""

import re

from groundscope.corpus.utterance import UNKNOWN

# Letters, digits and combining accents, held together by apostrophes and hyphens: "don't", "merry-go-round"
_WORD = re.compile(rf"{UNKNOWN}|[\w\u0300-\u036f]+(?:['’\-][\w\u0300-\u036f]+)*'?")


def words_of(text: str, *, fold_case: bool) -> tuple[str, ...]:
    """Cut ``text`` at everything but letters, digits, apostrophes and hyphens."""
    return tuple(_WORD.findall(text.lower() if fold_case else text))


def rejoined(tokens: list[str]) -> str:
    """Return tokens of the Penn Treebank's kind as running text: ``do n't`` and ``man 's`` become one word again."""
    text = ""
    for token in tokens:
        glued = token.lower() == "n't" or (token.startswith(("'", "’")) and len(token) > 1)
        text += token if glued or not text else f" {token}"
    return text
