r"""From the text of a CHAT tier to words.

Written by hand rather than on rustling's grammar: rustling 0.9 drops ``xxx``/``yyy``/``www`` and fillers, does not
tell babbling (``ba@b``) from words, and keeps lengthening (``no::``), syllable and intonation marks and
punctuation that is glued to a word. Where the two should agree they do (``tests/parity/test_chat_rustling.py``).

The rules (CHAT manual, MacWhinney 2000; cleaning as in Wu et al. 2025, arXiv 2510.13796): punctuation, pauses,
events, lengthening, stress, overlap and intonation marks vanish; what is retraced or repeated vanishes, and so do
fragments ``&+``, nonwords ``&~`` and omitted words ``0is``; fillers ``&-um`` stay; ``[: word]`` replaces;
``(be)cause`` is completed; contractions stay whole; ``xxx``, ``yyy``, ``www``, babbling ``@b`` and words known
only by their sound ``@u`` become ``<unk>``. The two links of compounds, ``ice+cream`` and ``ice_cream``, which
differ only by the year of transcription, become one: ``ice_cream``.
"""

import re
from collections.abc import Callable

from groundscope.corpus.utterance import UNKNOWN

# Before fillers were written &-um, a bare & marked fillers and fragments alike; these are the fillers.
_BARE_FILLERS = frozenset(["ah", "eh", "ehm", "em", "er", "erm", "hm", "hmm", "mhm", "mm", "uh", "uhm", "um"])

_BULLET = re.compile("\x15[^\x15]*\x15|\x15\\S*")  # the time of an utterance in its recording
_SEPARATOR = re.compile(r"\([\d.:]*\)|[.,?!;/\"“”«»…„‡]|(?=&)")  # pauses, punctuation, the start of an event
_UP_TO_A_WORD = re.compile(r"^(?:[⌈⌉⌊⌋]\d?|[^\w&'(])+")  # overlaps may be numbered: ⌈2
_SOUND_ONLY = re.compile(r"[bu](?![a-z])")
_UNINTELLIGIBLE = re.compile(r"xx+|yy+|ww+|(?:xxx|yyy|www).*")
_SPELLED_CONTRACTION = re.compile(r"-'(has|had|does)$")  # "it-'has": said "it's"
_CONTRACTED = {"has": "'s", "does": "'s", "had": "'d"}
# Apart from letters a word keeps apostrophes, hyphens, compound links and combining accents.
_NOT_IN_A_WORD = re.compile(r"[⌈⌉⌊⌋]\d?|[^\w'+\-\u0300-\u036f]|[ˈˌːˑ]")

_MARKUP = re.compile(
    r"""
    \[ (?P<code> [^\[\]]* ) \]
  | (?P<open> < )
  | (?P<close> > )
  | (?P<stray> [\[\]] )
  | (?P<token> \+<(?=\s|$) | [^\s<>\[\]]+ )
    """,
    re.VERBOSE,
)
_TAKEN_BACK = frozenset(("/", "//", "///", "/-", "/?", "e"))  # repeated, retraced, begun anew, excluded

_SCENE_CODE = re.compile(r"<([^<>]*)>|\[[^\[\]]*\]|\b(bef|aft|dur)\b")
# <bef>, <aft>, <1w-2w>, <$=1>, <3u .>, <aft 2>, <bef , aft>, <now through next 3 turns>: when, not what
_WHEN = re.compile(
    r"(?=.*(?:\d|bef|aft|dur|turn))"
    r"(?:[\s\d.,:+\-$=/\\]|bef(?:ore)?|aft(?:er)?|dur(?:ing)?|now|and|for|through|next|turns?|[uw](?![a-z]))+",
    re.IGNORECASE,
)
_TAPE_POSITION = re.compile(r"\d_\d")


class ChatWords:
    """Cleans tiers into words; remembers every token that it has met, since most tokens come again."""

    def __init__(self, fold_case: bool):
        self._speech = _Memory(_speech_token, fold_case)
        self._scene = _Memory(_scene_token, fold_case)

    def speech(self, text: str) -> tuple[tuple[str, ...], str]:
        """Clean the text of a main tier: its words, and what is wrong with its brackets ("" when nothing is)."""
        if "\x15" in text:
            text = _BULLET.sub(" ", text)
        words: list[str] = []
        if "[" in text or "<" in text or "]" in text or ">" in text:
            complaint = self._marked_up(text, words)
            return tuple(words), complaint
        known = self._speech
        for token in text.split():
            words += known[token]
        return tuple(words), ""

    def scene(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Clean the text of a dependent tier: words shown before and during the utterance, words shown after it.

        ``<bef>``, ``<dur>`` and ``<aft>`` hold up to the next such code, and a tier may give them in any order.
        Text under no code, or under one that points into the utterance (``<1w-2w>``), is of the utterance's time.
        """
        if "\x15" in text:
            text = _BULLET.sub(" ", text)
        before: list[str] = []
        during: list[str] = []
        after: list[str] = []
        now, start = during, 0
        for match in _SCENE_CODE.finditer(text):
            self._scene_words(text[start : match.start()], now)
            start = match.end()
            code = match[1] or match[2]
            if code is None:
                continue
            if not _WHEN.fullmatch(code):  # <hug me>: somebody's words, quoted
                start = match.start(1)
            elif "bef" in code:
                now = before
            else:
                now = after if "aft" in code else during
        self._scene_words(text[start:], now)
        return (*before, *during), tuple(after)

    def _scene_words(self, text: str, words: list[str]) -> None:
        for token in text.split():
            words += self._scene[token]

    def _marked_up(self, text: str, words: list[str]) -> str:
        """Append the words of a text with ``<groups>`` and ``[codes]``; a code is about the word or group before it.

        Brackets without a partner are passed over and complained of.
        """
        complaint = ""
        scope = 0  # where the last word or group begins in `words`
        groups: list[int] = []
        for match in _MARKUP.finditer(text):
            kind = match.lastgroup
            if kind == "token":
                token = match[0]
                cleaned = self._speech[token]
                if cleaned or token[0] in "&0":  # punctuation and pauses cannot be taken back
                    scope = len(words)
                    words += cleaned
            elif kind == "code":
                code = match["code"].strip()
                if code in _TAKEN_BACK:
                    del words[scope:]
                elif code.startswith(": "):
                    del words[scope:]
                    for token in code[2:].split():
                        words += self._speech[token]
            elif kind == "open":
                groups.append(len(words))
            elif kind == "close" and groups:
                scope = groups.pop()
            else:
                complaint = complaint or f"'{match[0]}' without its partner"
        return complaint or ("'<' without its partner" if groups else "")


class _Memory(dict[str, tuple[str, ...]]):
    """Token -> its words, worked out when it is first met."""

    def __init__(self, clean: Callable[[str], list[str]], fold_case: bool):
        super().__init__()
        self._clean, self._fold_case = clean, fold_case

    def __missing__(self, token: str) -> tuple[str, ...]:
        words = self._clean(token)
        if self._fold_case:
            words = [word.lower() for word in words]
        self[token] = found = tuple(words)
        return found


def _speech_token(token: str) -> list[str]:
    """Words of one blank-free token of a main tier: mostly one or none, two in ``&-um,well``."""
    words = []
    for piece in _SEPARATOR.split(token):
        piece = _UP_TO_A_WORD.sub("", piece)
        if piece.startswith("0"):  # not said
            continue
        if piece.startswith("&"):
            piece = _filler(piece)
        form, _, marker = piece.partition("@")
        form = form.partition("$")[0]
        if _SOUND_ONLY.match(marker) and form:
            words.append(UNKNOWN)
        else:
            words += _word(form)
    return words


def _filler(piece: str) -> str:
    """Return what a ``&`` token says: the filler of ``&-um`` and of the older ``&um``, "" for all the others."""
    if piece.startswith("&-"):
        return piece[2:]
    bare = piece[1:].replace(":", "")
    return bare if bare.lower() in _BARE_FILLERS or _UNINTELLIGIBLE.fullmatch(bare) else ""


def _scene_token(token: str) -> list[str]:
    """Words of one blank-free token of a description; numbers, tape positions and ``$`` codes are none."""
    token = token.replace("|", "'").replace("`", "'")  # as in "Peter|s"
    words = []
    for piece in _SEPARATOR.split(token):
        piece = piece.lstrip("&").partition("@")[0]
        if "$" not in piece and not _TAPE_POSITION.search(piece):
            words += [word for word in _word(piece) if not word[0].isdigit()]
    return words


def _word(form: str) -> list[str]:
    """Strip everything that is not part of a word; a list of the one word that is left, or none."""
    form = form.replace("’", "'")
    spelled = _SPELLED_CONTRACTION.search(form)
    if spelled:
        form = form[: spelled.start()] + _CONTRACTED[spelled[1]]
    form = _NOT_IN_A_WORD.sub("", form).strip("+-_").replace("+", "_")
    if form.startswith("'") and form.endswith("'"):
        form = form.strip("'")
    if not any(character.isalnum() for character in form):
        return []
    return [UNKNOWN if _UNINTELLIGIBLE.fullmatch(form) else form]
