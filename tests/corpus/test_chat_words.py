"""Word by word: what each mark of CHAT does to the words. The examples are written for the test."""

import pytest

from groundscope.corpus.chat_words import ChatWords


@pytest.mark.parametrize(
    ("tier", "words"),
    [
        # nothing to clean
        ("play checkers .", "play checkers"),
        ("", ""),
        (".", ""),
        # punctuation, alone and glued; terminators, linkers, quotes, tags
        ("well, you know? yes!", "well you know yes"),
        ("+^ well +< ok , „ you ‡ +...", "well ok you"),
        ('+" hello +"/. she said “go” .', "hello she said go"),
        ("yes;no", "yes no"),
        # pauses, lengthening, stress, syllables, overlap, intonation, bullets
        ("a (.) b (..) c (1.5) d (1:02.3) .", "a b c d"),
        ("o:h ba^nana ˈnice ⌈hi⌉ ⌊2there⌋2 ↑up .", "oh banana nice hi there up"),
        ("come \x15123_456\x15 here . \x15456_789\x15", "come here"),
        ("come here . \x15456_7", "come here"),
        # shortenings, contractions, apostrophes
        ("(be)cause an(d) n(o)t .", "because and not"),
        ("don't he's kids' jumpin' 'cause 'hi' .", "don't he's kids' jumpin' 'cause hi"),
        ("it-'has gone, she-'had what-'does .", "it's gone she'd what's"),
        # compounds and links
        ("ice+cream peek_a_boo mm-hm wait- .", "ice_cream peek_a_boo mm-hm wait"),
        # & and 0
        ("&+fr &~gaga friend &-um &=laughs &*MOT:hm yes .", "friend um yes"),
        ("&-uh-&-huh &-um,well .", "uh huh um well"),
        ("&um &d dog &a:h &noise .", "um dog ah"),
        ("he 0is going 0 .", "he going"),
        # unintelligible
        ("xxx yyy www xx xxx's &xxx .", "<unk> <unk> <unk> <unk> <unk> <unk>"),
        ("wow ww2x ex .", "wow ww2x ex"),
        # forms
        ("woof@o b@l b@l-s hola@s:spa tiny@c dog$n cat@n$adj .", "woof b b hola tiny dog cat"),
        ("gaga@b bʌbə@u baba@b-s bee@bx .", "<unk> <unk> <unk> bee"),
        # taken back
        ("the [/] the dog .", "the dog"),
        ("<I want> [/] I want <the> [//] <the big> [?] dog .", "i want the big dog"),
        ("<<a b> [/] c> [//] d .", "d"),
        ("<he went [//] he> [/] she .", "she"),
        ("I [///] you [/-] we [/?] they .", "they"),
        ("&+w [/] want &-um [//] it .", "want it"),
        ("the (.) [/] the dog .", "the dog"),
        ("one two , [/] two .", "one two"),
        ("a b [/] [/] c .", "a c"),
        # replaced, annotated
        ("doggie [: dog] <over dere> [: over there] .", "dog over there"),
        ("wanna [: want to] go .", "want to go"),
        ("bʌ@u [: ball] .", "ball"),
        ("isn't [:: wasn't] it .", "isn't it"),
        ("dog [=? cat] [* m:0] [!] [!!] [= a pet] [=! shouts] [% com] [x 3] [^ c] [- spa] .", "dog"),
        ("<you there> [<] yes [>1] . [+ IMP]", "you there yes"),
        ("right[>] ?", "right"),
    ],
)
def test_speech(tier, words):
    assert ChatWords(fold_case=True).speech(tier) == (tuple(words.split()), "")


@pytest.mark.parametrize(
    ("tier", "words", "stray"),
    [
        ("I <want it .", "i want it", "<"),
        ("I want> it .", "i want it", ">"),
        ("I want [/ it .", "i want it", "["),
        ("I want] it .", "i want it", "]"),
        ("<I want [/] it .", "i it", "<"),
    ],
)
def test_brackets_without_a_partner_cost_no_words(tier, words, stray):
    assert ChatWords(fold_case=True).speech(tier) == (tuple(words.split()), f"'{stray}' without its partner")


@pytest.mark.parametrize(
    ("tier", "before", "after"),
    [
        ("puts the doll down , smiles .", "puts the doll down smiles", ""),
        ("<aft> leaves the room", "", "leaves the room"),
        ("<bef> opens box <aft> closes it . sits", "opens box", "closes it sits"),
        ("<aft> sits <dur> eats . <bef> opens lid", "opens lid eats", "sits"),
        ("<bef> a <1w> b <aft> c <2w-3w> d", "a b d", "c"),
        ("<$=1> looks <1-3> points <2u .> waves < .5> nods", "looks points waves nods", ""),
        ("<bef , aft> hums <after> stops <before> sang", "hums sang", "stops"),
        ("<now through next 3 turns> holds cup <aft 2> drops it", "holds cup", "drops it"),
        ("aft hands it over", "", "hands it over"),
        ("doll says <feed me .> twice", "doll says feed me twice", ""),
        ("writes <And> on <paper", "writes and on paper", ""),
        ("takes spoon [?] to [= table?] chair", "takes spoon to chair", ""),
        ("goes to table/chair; Peter|s \"car\"", "goes to table chair peter's car", ""),
        ("(ouch) b(a)rrette r@l", "ouch barrette r", ""),
        ("3 cups , box 2 (10.9) 45b j2_49_36 12:30 $LAN:x", "cups box", ""),
        ("CHI says xxx to INV2", "chi says <unk> to inv2", ""),
        ("jack+in+the+box Big_Bird", "jack_in_the_box big_bird", ""),
    ],
)  # fmt: skip
def test_scene(tier, before, after):
    assert ChatWords(fold_case=True).scene(tier) == (tuple(before.split()), tuple(after.split()))


def test_case_is_kept_when_asked():
    words = ChatWords(fold_case=False)
    assert words.speech("Mommy [: Mother] saw XXL , xxx &-Um") == (("Mother", "saw", "XXL", "<unk>", "Um"), "")
    assert words.scene("CHI Waves") == (("CHI", "Waves"), ())


def test_speech_and_scene_do_not_share_what_they_remember():
    words = ChatWords(fold_case=True)
    assert words.speech("0is &d x|y")[0] == ("xy",)
    assert words.scene("0is &d x|y")[0] == ("d", "x'y")
    assert words.speech("0is &d x|y")[0] == ("xy",)
