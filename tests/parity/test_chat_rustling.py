"""Our words against rustling's, over well-formed utterances made of the marks on which the two should agree.

Left out, because there we differ on purpose: ``xxx``, fillers, babbling, lengthening, glued punctuation, ``+`` links.
"""

import random

import rustling.chat

from groundscope.corpus.chat_words import ChatWords

WORDS = ["dog", "I", "don't", "ice_cream", "(be)cause", "an(d)", "woof@o", "b@l", "hola@s:spa", "kids'", "mm-hm"]
SILENT = ["(.)", "(..)", "(1.5)", "&=laughs", "&+fr", "&~ga", "0is", "0", "&*MOT:hm", ","]
AFTER_A_WORD = ["[?]", "[!]", "[*]", "[* m:0]", "[= a pet]", "[=! loud]", "[=? cat]", "[>]", "[<1]", "[x 3]", "[% so]"]
TAKEN_BACK = ["[/]", "[//]", "[///]", "[/-]", "[/?]"]
TERMINATORS = [".", "?", "!", "+...", "+/.", '+"/.', ". [+ IMP]", ". \x151_23\x15"]


def phrase(rng: random.Random, depth: int = 0) -> str:
    pieces = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        if kind < 0.2 and depth < 3:
            code = rng.choice([*TAKEN_BACK, *AFTER_A_WORD, "[: two words]"])
            pieces.append(f"<{phrase(rng, depth + 1)}> {code}")
        elif kind < 0.4:
            pieces.append(f"{rng.choice(WORDS)} {rng.choice([*TAKEN_BACK, *AFTER_A_WORD, '[: word]', '[:: word]'])}")
        elif kind < 0.55:
            pieces.append(rng.choice(SILENT))
        else:
            pieces.append(rng.choice(WORDS))
    # what is taken back is followed by what was said instead, and a group does not end in a pause
    return " ".join([*pieces, rng.choice(WORDS)])


def spoken_by_rustling(tier: str) -> list[str] | None:
    text = f"@UTF8\n@Begin\n@Participants:\tCHI Target_Child\n*CHI:\t{tier}\n@End\n"
    try:
        words = rustling.chat.CHAT.from_strs([text]).words()
    except ValueError:  # 0.9 stumbles over "<a [>] woof@o> [/]" and loses the file
        return None
    return [word for word in words if word[0].isalnum()]


def test_words_agree_with_rustling():
    rng = random.Random(7)
    ours = ChatWords(fold_case=False)
    compared = 0
    for _ in range(1500):
        tier = f"{phrase(rng)} {rng.choice(TERMINATORS)}"
        theirs = spoken_by_rustling(tier)
        if theirs is not None:
            assert ours.speech(tier) == (tuple(theirs), ""), tier
            compared += 1
    assert compared > 1400
