"""Tests by repainted pictures: what differs, where the ground is, and what is read."""

import numpy as np
import pytest
import torch

from groundscope.behaviour.composed import composed_world
from groundscope.behaviour.picture_worlds import PictureTestOptions, drawings
from groundscope.behaviour.pictures import by_word, picture_prompts, pictures_table, read_pictures
from groundscope.corpus.boxes import Patches, Size, stretched
from groundscope.corpus.picture_stream import vocabulary_of
from groundscope.corpus.scenes import SceneOptions
from groundscope.models import build, preset

SIDE, CANVAS = 80, Size(64, 64)


@pytest.fixture(scope="module")
def setting(drawings):
    options = SceneOptions(
        sprites=drawings, styles=("bright",), held_out="dark", words=6, pictures=40, side=SIDE, thing_side=(20, 30)
    )
    world = composed_world(options, PictureTestOptions(pictures=3, mismatches=2))
    vocabulary = vocabulary_of([talk for one in world.training for talk in one.talks])
    patches = Patches.of(Size(SIDE, SIDE), [stretched(Size(SIDE, SIDE).whole, CANVAS, 8)], before=1)
    return world.tests, vocabulary, patches


def test_a_mismatch_is_the_same_picture_with_its_box_repainted(setting):
    tests, _, patches = setting
    assert len(tests) == 2 * 6 * 3
    for test, match, mismatches in tests:
        before = np.asarray(match()).astype(int)
        assert test.word not in test.instead
        for other in mismatches:
            changed = (np.asarray(other()) != before).any(axis=2)
            middle_x, middle_y = test.box.x + test.box.width / 2, test.box.y + test.box.height / 2
            outside = (
                changed.copy()
            )  # another thing of other proportions stands in the same square of at most 30 pixels
            outside[
                max(0, int(middle_y) - 15) : int(middle_y) + 16, max(0, int(middle_x) - 15) : int(middle_x) + 16
            ] = False
            assert changed.any()
            assert not outside.any()
        assert patches.inside(test.box).any()


def test_prompts_differ_in_the_picture_alone_and_hold_their_ground(setting):
    drawn, vocabulary, patches = setting
    tests = [one.test for one in drawn]
    groups = picture_prompts(tests, vocabulary, [patches] * len(tests))
    assert sorted(int(n) for group in groups for n in group.numbers) == list(range(len(tests)))
    for group in groups:
        positions = len(patches)
        for row in range(len(group)):
            test, first = tests[int(group.numbers[row])], int(group.numbers[row]) * 3
            for other, ids in enumerate((group.input_ids[row], *group.mismatch[row])):
                picture = ids[1 : 1 + positions] - len(vocabulary)
                assert picture.tolist() == list(range((first + other) * positions, (first + other + 1) * positions))
                said = vocabulary.decode(ids[1 + positions :].tolist())
                assert " ".join(said[0].words) == test.sentence
            inside = patches.inside(test.box)
            assert group.ground[row, 1 : 1 + positions].tolist() == inside.tolist()
            assert int(group.scene[row].sum()) == 64  # every patch, and neither the class token nor a word


def test_the_readings_are_the_models(setting):
    drawn, vocabulary, patches = setting
    tests = [one.test for one in drawn]
    sizes = {"n_layers": 1, "d_model": 8, "n_heads": 2, "d_patch": 4, "projector": "linear", "n_positions": 80}
    bank = torch.randn(len(drawings(drawn)) * len(patches), 4, generator=torch.Generator().manual_seed(0))
    model = build(preset("vlm-4", len(vocabulary), **sizes), 1).eval().show(bank)
    groups = picture_prompts(tests, vocabulary, [patches] * len(tests))
    found = read_pictures(model, groups, budget=1 << 20)
    for group in groups:
        for row in (0, len(group) - 1):
            number = int(group.numbers[row])
            target = int(group.targets[row])
            whole = torch.stack([group.input_ids[row], *group.mismatch[row]])
            with torch.no_grad():
                surprisal = -model(whole).logits[:, -1].log_softmax(-1)[:, target]
            assert found.match[number] == pytest.approx(float(surprisal[0]), abs=1e-5)
            assert found.mismatch[number] == pytest.approx(float(surprisal[1:].mean()), abs=1e-5)
    identity = {"arch": "a", "seed": 1, "step": 0, "tokens_seen": 0, "weight_hash": "h"}
    table = pictures_table(found, tests, {**identity, "encoder": "e", "projector": "linear"})
    for (style, word, chosen), row in zip(by_word(tests), table.iter_rows(named=True), strict=True):
        assert (row["style"], row["word"], row["held_out"]) == (style, word, style == "dark")
        assert row["gain_nats"] == pytest.approx((found.mismatch - found.match)[chosen].mean())
        assert row["p"] >= 1 / 8
