"""The CHAT reader never raises, whatever a file holds, and never loses an utterance that is intact."""

import re
from itertools import takewhile

from hypothesis import given, settings
from hypothesis import strategies as st

from groundscope.corpus.chat import ChatOptions, ChatParser
from groundscope.corpus.chat_words import ChatWords
from groundscope.corpus.sources import decode
from groundscope.corpus.utterance import UNKNOWN, Channel, Document, Utterance

CASES = settings(max_examples=500, deadline=None)

words = st.lists(
    st.sampled_from(["dog", "don't", "café", "ice_cream", "wow", "ñandú", "uh-huh"]), min_size=1, max_size=4
)
speakers = st.sampled_from(["CHI", "MOT", "ENV", "Julia"])
line_ends = st.sampled_from(["\n", "\r\n", "\r"])
# What a careless hand, a bad disk or a foreign program writes; marks of CHAT come often
characters = st.one_of(st.sampled_from("*%@:\t\r\n[]<>&+/()\x15\x00.,?'\"_0^ "), st.characters())
scrap = st.one_of(
    st.text(characters, max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.sampled_from([b"*CHI:\t<a [/ b", b"%act:\t<aft", b"*CHI hello", b"@End", b"%mor", b"*:\t", b"\xef\xbb\xbf"]),
)


@st.composite
def intact(draw) -> tuple[list[str], list[tuple[Channel, tuple[str, ...], str, int]], str]:
    """Lines of one utterance with its scene; what it should become, with offsets of lines; its speaker."""
    said, speaker = draw(words), draw(speakers)
    lines, before, after = [f"*{speaker}:\t{' '.join(said)} ."], [], []
    for tier in draw(st.lists(st.sampled_from(["act", "sit", "gpx"]), max_size=3)):
        shown, late = draw(words), draw(st.booleans())
        code = draw(st.sampled_from(["<aft> "])) if late else draw(st.sampled_from(["", "<bef> ", "<1w-2w> "]))
        (after if late else before).append((Channel.ENV, tuple(shown), tier, len(lines)))
        lines.append(f"%{tier}:\t{code}{' '.join(shown)}")
    return lines, [*before, (Channel.LAN, tuple(said), "main", 0), *after], speaker


@st.composite
def damaged(draw) -> tuple[bytes, list[tuple]]:
    """A file of intact utterances with scraps on lines of their own between them, and the intact ones' fields."""
    end = draw(line_ends)
    raw, expected = f"@UTF8{end}@Begin{end}".encode(), []
    for _ in range(draw(st.integers(1, 5))):
        for piece in draw(st.lists(scrap, max_size=2)):
            # a line that begins with a blank continues the one before, which would then not be intact
            raw += piece.lstrip(b" \t") + end.encode()
        lines, utterances, speaker = draw(intact())
        first = len(re.findall(rb"\r\n|\r|\n", raw)) + 1
        expected += [(speaker, *fields, first + offset) for *fields, offset in utterances]
        raw += "".join(line + end for line in lines).encode()
    return raw, expected


@st.composite
def mangled(draw) -> tuple[bytes, list[tuple]]:
    """A valid file after damage to bytes and spans anywhere, and the fields of the utterances before all damage."""
    end = draw(line_ends)
    whole, lines, told = f"@UTF8{end}@Begin{end}".encode(), 2, []
    for _ in range(draw(st.integers(1, 6))):
        added, utterances, speaker = draw(intact())
        ends = []
        for line in added:
            whole += (line + end).encode()
            ends.append(len(whole))
        told += [(ends[offset], (speaker, *fields, lines + 1 + offset)) for *fields, offset in utterances]
        lines += len(added)
    whole += f"@End{end}".encode()

    broken = whole
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(broken)))
        stop = start + draw(st.integers(1, 30))
        before, span, after = broken[:start], broken[start:stop], broken[stop:]
        match draw(st.sampled_from(["flip", "delete", "duplicate"])):
            case "flip":
                masks = draw(st.binary(min_size=len(span), max_size=len(span)))
                span = bytes(byte ^ mask for byte, mask in zip(span, masks, strict=True))
            case "delete":
                span = b""
            case "duplicate":
                span *= 2
        broken = before + span + after
    untouched = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(whole, broken, strict=False)))
    # the byte after a line's end belongs to it too: a blank there would continue the line
    return broken, [fields for stop, fields in told if stop < untouched]


def read(raw: bytes) -> Document:
    text, problems = decode(raw, "t.cha")
    return ChatParser(ChatOptions()).parse(text, "t.cha", "c", problems)


@CASES
@given(damaged())
def test_intact_utterances_survive_whatever_stands_between_them(case):
    raw, expected = case
    found = iter(read(raw).utterances)
    for fields in expected:
        assert Utterance(*fields) in found  # consumes what stands before it, so the order is checked too


@CASES
@given(mangled())
def test_utterances_before_the_first_damage_survive(case):
    raw, expected = case
    found = iter(read(raw).utterances)
    for fields in expected:
        assert Utterance(*fields) in found  # in this order


@CASES
@given(
    st.lists(st.one_of(scrap, intact().map(lambda case: "\n".join(case[0]).encode()))), st.sampled_from([b"\n", b""])
)
def test_every_main_tier_is_counted_or_a_problem(pieces, between):
    raw = between.join(pieces)
    document = read(raw)
    text, _ = decode(raw, "t.cha")
    stars = len(re.findall(r"^\*", text, re.MULTILINE))
    unread = sum(p.what == "main tier" and "were read" not in p.why for p in document.problems)
    assert document.main_tiers + unread == stars
    lines = text.count("\n") + 1
    assert all(0 <= problem.line <= lines for problem in document.problems)
    for utterance in document.utterances:
        assert 1 <= utterance.line <= lines
        assert utterance.words
        assert utterance.speaker
        assert not any(character.isspace() for character in utterance.speaker)


@CASES
@given(st.text(characters, max_size=80))
def test_cleaned_words_are_words_and_clean(text):
    cleaner = ChatWords(fold_case=True)
    speech, _ = cleaner.speech(text)
    before, after = cleaner.scene(text)
    for word in (*speech, *before, *after):
        assert word == UNKNOWN or re.fullmatch(r"[\w'\-\u0300-\u036f]+", word)
        assert any(character.isalnum() for character in word.replace(UNKNOWN, "unk"))


@CASES
@given(st.text(characters, max_size=80))
def test_clean_words_stay_as_they_are(text):
    cleaner = ChatWords(fold_case=False)  # folded, a name such as WW would become the code ww
    speech, _ = cleaner.speech(text)
    plain = " ".join(word for word in speech if word != UNKNOWN and not word.startswith("0"))
    assert cleaner.speech(plain) == (tuple(plain.split()), "")
