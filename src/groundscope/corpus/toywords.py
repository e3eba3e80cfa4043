"""Words and phrases of the toy world: what there is to talk about, and simple English to say it in.

All written for this purpose; phrases stand in the order of how common they are. Things, actions and properties never
serve as function words as well, so that a form which stands in both channels and in these lists is always a word with
a meaning in the scene.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    """Split phrases at '|', commonest first; an empty one is a phrase of no words."""
    return tuple(tuple(phrase.split()) for phrase in text.split("|"))


def _slotted(text: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Split phrases at '|' and each of them at its slot: the words before it and the words after it."""
    return tuple(
        (tuple(before.split()), tuple(after.split()))
        for before, after in (phrase.split("_") for phrase in text.split("|"))
    )


NOUNS = _words("""
    bear bee bird bunny butterfly cat chicken cow deer dog donkey duck elephant fish frog giraffe goat horse
    kitten lion monkey mouse owl penguin pig puppy rabbit sheep snail spider tiger turtle zebra dinosaur
    airplane bicycle boat bus car helicopter tractor truck wagon ball balloon block book bubble crayon doll
    pencil puzzle drum whistle apple banana bread butter cake candy carrot cereal cheese cookie corn cracker egg
    grape honey juice lollipop melon milk muffin noodle pancake peach pear pizza popcorn potato pumpkin sandwich
    soup spaghetti strawberry sugar tomato yogurt belt boot coat diaper glove hat jacket mitten necklace scarf
    shirt shoe sock sweater zipper basket blanket bottle bowl box broom bucket clock cup fork hammer jar key
    knife lamp mop napkin paper penny picture pillow plate purse soap spoon telephone towel umbrella mirror
    bathtub bed bench chair couch crib door drawer sofa stove table window desk cloud flag flower hose ladder
    moon rock shovel star stone tree
""")

VERBS = _words("""
    push throw cut write draw fix pour dump lift stack fold squeeze wipe wash hit catch climb jump run crawl eat
    bite kiss sing read blow cry build break hang
""")

ADJECTIVES = _words("""
    black yellow red blue green white purple brown pink big little tiny long round square empty new old clean
    dirty wet hot cold broken soft heavy loud wooden plastic
""")

SPEAKERS = _words("CHI MOT FAT INV SIS BRO GRA")
"""The first two take part in every document."""

ENV_SUBJECTS = _phrases("she | he | they | mommy | daddy | then | then she | and | and then")
"""Where none is named, the speaker's tag tells who acts."""

ENV_LEADS = _phrases("""
    looks at | points to | points at | picks up | takes | takes up | takes out | holds | holds up | holds out |
    puts | puts down | gives her | gives him | shows her | shows him | moves | pulls | turns to | turns around
    to | reaches for | is looking at | is looking for | is holding | is pointing at | gets | gets up and takes |
    looks over at | looks up and then at | looks up at | brings | brings her | finds | sees | has | has got |
    there is | sits with | sits in front of | goes to | goes over to | comes with | comes in with | walks over
    to | plays with | is playing with | leans over | stands in front of | wants | drops | touches | shakes |
    keeps | turns around and sees | goes back to | reaches over to
""")

ENV_DETERMINERS = _words("the a her this that his")

ENV_TAILS = _phrases("""
    down | up | out | over | back | away | again | to her | to him | with her | with him | with it
    | in front of her | in front of him | and holds it | and looks at it | and smiles | and laughs | and points
    to it | now | here | there | back down | again with her | then looks at her | and gives it to her | and puts
    it down | back to her
""")

ENV_ACTIONS = _slotted("""
    wants to _ it | tries to _ | tries to _ it | tries to _ again | starts to _ | starts to _ it | starts to _
    with her | is going to _ | is going to _ now | is going to _ it | begins to _ | begins to _ again | begins
    to _ with it | continues to _ | continues to _ with it | gets up to _ | turns around to _ | starts to _
    again with him | attempts to _ | attempts to _ it | comes over to _ | reaches out to _ it | goes back to _ |
    is about to _ it | sits down to _
""")
"""Words before and after the action."""

LAN_OPENERS = _phrases(
    "oh | no | yes | well | okay | now | and | so | hey | mommy | daddy | oh look | but | then | maybe"
)

LAN_LEADS = _phrases("""
    look at |  | that is | where is | this is | i see | here is | there is | i want | do you see | you like | i
    like | get | give me | what about | is that | where did you get | do you like | i want to see | do you want
    | you want | what is in | show me | is this | it is | i have | you have | we have | they have | do you have
    | she has | he has | who has | that one has | has she got | i have got | no that is not | that is not | it
    is not | i know | do you know | you know | i think that is | i think it is | she likes | he really likes |
    she really wants | we like | can you see | can i have | can you get | you can have | we can get | you can
    see | tell me about | tell her about | do not tell him about | what do you think about | say hello to | we
    say hello to | let us see | let us get | did you see | did you get | i am going to get | are you going to
    get | we are going to see | is he going to have | that was | it was | there was | i do not see | i do not
    like | i do not want | i do not have | they do not like | is it | all i see is | that one is | this one is
    like | it is like | you get | where do they have | what if we get | i have to see | would you like | could
    you get me | may i have | how about | who likes | who wants | whose is | that could be | put it on | put it
    in | it is under | it is with | it goes with | come and see | come to | go to
""")

LAN_DETERMINERS = _words("the my this your that a")

LAN_TAILS = _phrases("""
    now | please | again | here | there | too | is mine | okay | right | is here | is there | for
    me | for you | mommy | daddy | is nice | is so nice | all by myself | then | with me | like that | is not
    here | do you see it | and this
""")

LAN_ACTIONS = _slotted("""
    i want to _ | i want to _ it | i can _ | i can _ it | do you want to _ | do you want to _ it | are you going
    to _ | are you going to _ it now | i can _ too | now we can _ | we can _ it | what if we _ | what if we _ it
    | i have to _ | you have to _ it | you can _ | you can _ it now | i do not want to _ | do not _ it | let us
    _ | will you _ it | please _ it | i like to _ | who wants to _ | he is not going to _ | we all _ | did you _
    it | she can not _ it | let me _
""")

LAN_SMALL_TALK = _phrases("""
    oh yes | what is that | come here | okay | no no | i know | hello | hello you | thank you | let us see |
    what do you want | that is right | all right | what was that | is that so | who is it | where are you going
    | i am here | you are so nice | do you know what | what are you doing | i do not know | not now | maybe |
    what did she say | say it again | one more | you know what i think | tell me | where is it | there it is |
    here it is | how are you | that is all | would you like some more | yes please | oh no | really | i think so
    | she said no | they are all here | that is nice | we will see | go on | are you okay | what about you | you
    can do it | like this | i got it | is it mine | it is yours | look mommy | look daddy
""")
"""Nothing in it has a meaning in the scene."""
