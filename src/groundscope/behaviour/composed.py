"""The world of composed pictures: every style of drawing is tested, also the one that training never shows."""

from functools import partial

from groundscope.behaviour.picture_worlds import DrawnTest, PictureTest, PictureTestOptions, PictureWorld, Shown
from groundscope.corpus.scenes import SceneOptions, SceneWorld
from groundscope.errors import CorpusError
from groundscope.statistics.resampling import generator

FRAMES = ("look at the", "i see the", "here is the", "that is my", "i like this")
"""Neutral sentences of the composed world; they stop right before the word."""


def composed_world(options: SceneOptions, tests: PictureTestOptions) -> PictureWorld:
    """Return the world of some options; raises CorpusError for drawings that are not there and for too few words."""
    world = SceneWorld(options)
    if len(world.words) < options.things[1] + tests.mismatches:
        raise CorpusError(
            f"{len(world.words)} words are too few to repaint a thing as {tests.mismatches} others in pictures of up "
            f"to {options.things[1]} things. Lower corpus.tests.mismatches, or take more words."
        )
    return PictureWorld(
        {word: world.sprites.categories.get(word, "things") for word in world.words},
        [Shown(scene.words, (scene.talk,), partial(world.render, scene)) for scene in world.scenes()],
        picture_tests(world, tests),
    )


def picture_tests(world: SceneWorld, options: PictureTestOptions) -> list[DrawnTest]:
    """Return the tests of every word in every style, shown or held out; none of their pictures is in the training.

    A repainted thing is never one that the picture shows anyway, and is drawn in the same style.
    """
    styles = [*world.options.styles, *([world.options.held_out] if world.options.held_out else [])]
    return [
        _test(world, options, style, word, number)
        for style in styles
        for word in world.words
        for number in range(options.pictures)
    ]


def _test(world: SceneWorld, options: PictureTestOptions, style: str, word: str, number: int) -> DrawnTest:
    name = f"test-{style}-{word}-{number}"
    match = world.scene(name, (style,), shows=word)
    others = [other for other in world.words if other not in match.words]
    draw = generator(world.options.seed, f"mismatch {name}")
    chosen = tuple(others[int(i)] for i in draw.permutation(len(others))[: options.mismatches])
    return DrawnTest(
        PictureTest(
            name=name,
            word=word,
            style=style,
            held_out=style == world.options.held_out,
            sentence=FRAMES[number % len(FRAMES)],
            size=match.size,
            box=world.box(match.things[0]),
            instead=chosen,
        ),
        partial(world.render, match),
        tuple(partial(world.render, match.repainted(0, other)) for other in chosen),
    )
