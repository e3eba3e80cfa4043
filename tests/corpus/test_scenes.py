"""Composed pictures: exact boxes, exact repainting, talk that is true of the picture, and the same bytes again."""

import numpy as np
import pytest
from PIL import Image

from groundscope.corpus.picture_stream import picture_chunks, vocabulary_of
from groundscope.corpus.scenes import SceneOptions, SceneWorld
from groundscope.corpus.sprites import emoji_sprites, folder_sprites
from groundscope.errors import CorpusError


@pytest.fixture(scope="module")
def world(drawings):
    sizes = {"words": 6, "pictures": 30, "side": 80, "thing_side": (20, 30)}
    return SceneWorld(SceneOptions(sprites=drawings, styles=("bright",), held_out="dark", **sizes))


def pixels(world, scene):
    return np.asarray(world.render(scene)).astype(int)


def test_a_box_holds_all_that_a_thing_changes_and_fits_it(world):
    for scene in list(world.scenes())[:10]:
        for which, thing in enumerate(scene.things):
            other = next(word for word in world.words if word not in scene.words)
            changed = np.argwhere((pixels(world, scene) != pixels(world, scene.repainted(which, other))).any(axis=2))
            boxes = [world.box(thing).corners, world.box(scene.repainted(which, other).things[which]).corners]
            left, top = np.minimum(boxes[0][:2], boxes[1][:2])
            right, bottom = np.maximum(boxes[0][2:], boxes[1][2:])
            (y0, x0), (y1, x1) = changed.min(axis=0), changed.max(axis=0)
            assert left <= x0
            assert top <= y0
            assert x1 < right
            assert y1 < bottom
            assert (x1 + 1 - x0) * (y1 + 1 - y0) > 0.6 * (right - left) * (bottom - top)


def test_things_do_not_touch_and_lie_inside(world):
    for scene in world.scenes():
        corners = [world.box(thing).corners for thing in scene.things]
        assert len({*scene.words}) == len(scene.things) in (2, 3)
        for i, (left, top, right, bottom) in enumerate(corners):
            assert min(left, top) >= 0
            assert max(right, bottom) <= 80
            for other in corners[:i]:
                assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_what_is_said_is_so(world):
    named, absent = 0, 0
    for scene in world.scenes():
        shown = {thing.word: thing for thing in scene.things}
        for utterance in scene.talk:
            words = utterance.words
            about = [word for word in words if word in world.words]
            if "not" in words:
                assert not {*about} & {*shown}
                absent += 1
            elif words[-1] in ("left", "right"):
                thing = shown[about[0]]
                assert (2 * thing.left + thing.side < 80) == (words[-1] == "left")
            elif utterance.speaker == "A" and about:
                assert {*about} <= {*shown}
                named += 1
    assert named > 60
    assert absent > 5


def test_a_scene_is_a_function_of_its_name_and_the_options(world):
    again = SceneWorld(world.options)
    first, second = world.scene("test-x", ("dark",), shows="ring"), again.scene("test-x", ("dark",), shows="ring")
    assert first == second
    np.testing.assert_array_equal(pixels(world, first), pixels(again, second))
    assert first.things[0].word == "ring"
    assert {thing.style for thing in first.things} == {"dark"}
    assert world.scene("test-y", ("dark",), shows="ring").background != first.background


def test_a_chunk_is_a_picture_and_its_talk(world):
    scenes = list(world.scenes())[:4]
    vocabulary = vocabulary_of([scene.talk for scene in scenes])
    chunks = picture_chunks([scene.talk for scene in scenes], range(len(scenes)), 5, vocabulary, 40)
    assert chunks.shape == (4, 40)
    assert chunks[2, :6].tolist() == [0, *(len(vocabulary) + 10 + k for k in range(5))]
    said = vocabulary.encode(scenes[2].talk)[:34]
    assert chunks[2, 6 : 6 + len(said)].tolist() == said
    assert (chunks[2, 6 + len(said) :] == vocabulary.document_id).all()
    with pytest.raises(CorpusError, match="no room for talk"):
        picture_chunks([scene.talk for scene in scenes], range(len(scenes)), 40, vocabulary, 44)


def test_what_cannot_be_shown_is_refused(drawings, tmp_path):
    def world(**options):
        return SceneWorld(SceneOptions(**{"sprites": drawings, "styles": ("bright",), "held_out": None, **options}))

    with pytest.raises(CorpusError, match="Did you mean 'bright'"):
        world(styles=("brigth",))
    with pytest.raises(CorpusError, match="draw 6"):
        world(words=7)
    with pytest.raises(CorpusError, match="3 words are too few"):
        world(words=("disc", "disc", "ring", "bar"))
    with pytest.raises(CorpusError, match="do not all draw 'dog'"):
        world(words=("dog", "disc", "ring", "bar"))
    with pytest.raises(ValueError, match="also one of the styles"):
        SceneOptions(styles=("a",), held_out="a")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        SceneOptions(words=-5)
    with pytest.raises(ValueError, match="room for at most 60"):
        SceneOptions(things=(2, 61))
    with pytest.raises(CorpusError, match="holds no drawings"):
        folder_sprites(tmp_path)
    Image.new("RGBA", (8, 8)).save(tmp_path / "air.png")
    with pytest.raises(CorpusError, match="transparent all over"):
        folder_sprites(tmp_path).drawing("air", "plain", 4)


def test_emoji_are_found_by_their_code_points(tmp_path):
    for style, names in (("One", ("U+1F436", "U+2B50-U+FE0F")), ("Two", ("U+1F436",))):
        (tmp_path / style).mkdir()
        for name in names:
            Image.new("RGBA", (8, 4), (255, 0, 0, 255)).save(tmp_path / style / f"{name}.png")
    sprites = emoji_sprites(tmp_path)
    assert sprites.words(("One",)) == ("dog", "star")
    assert sprites.words(sprites.styles) == ("dog",)
    assert sprites.categories["dog"] == "animals"
    assert sprites.drawing("dog", "One", 20).size == (20, 10)
