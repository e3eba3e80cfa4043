import pytest
import torch

from groundscope.behaviour.contexts import SLOT, Context
from groundscope.behaviour.prompts import Direction, render, targets
from groundscope.errors import StudyError, VocabularyError

CONTEXT = Context("pick", "CHI", ("picks", "up", "the", SLOT, "and", "holds", "it"), ("i", "like", "this"))


def spell(prompts, vocabulary):
    return [" ".join(vocabulary.tokens[number] for number in row) for row in prompts.ids.tolist()]


def test_scene_then_speech(vocabulary):
    prompts = render(CONTEXT, ["horse", "cow"], vocabulary)
    assert spell(prompts, vocabulary) == [
        f"<CHI> picks<ENV> up<ENV> the<ENV> {noun}<ENV> and<ENV> holds<ENV> it<ENV> <CHI> i<LAN> like<LAN> this<LAN>"
        for noun in ("horse", "cow")
    ]
    assert (prompts.slot, prompts.distance) == (4, 8)
    assert [vocabulary.tokens[i] for i in targets(["horse", "cow"], vocabulary)] == ["horse<LAN>", "cow<LAN>"]


def test_speech_then_scene(vocabulary):
    prompts = render(CONTEXT, ["horse"], vocabulary, Direction.LAN2ENV)
    assert spell(prompts, vocabulary) == [
        "<CHI> i<LAN> like<LAN> this<LAN> horse<LAN> <CHI> picks<ENV> up<ENV> the<ENV>"
    ]
    assert prompts.slot == 4
    assert vocabulary.tokens[targets(["horse"], vocabulary, Direction.LAN2ENV)[0]] == "horse<ENV>"


def test_one_vocabulary_has_the_form_itself_as_cue(vocabulary):
    (text,) = spell(render(CONTEXT, ["horse"], vocabulary, Direction.LAN2LAN), vocabulary)
    assert "horse<LAN>" in text
    assert "<ENV>" not in text


def test_prompts_differ_in_the_scene_word_alone(vocabulary, nouns, contexts):
    for context in contexts.shared:
        prompts = render(context, [noun.form for noun in nouns], vocabulary)
        differing = (prompts.ids != prompts.ids[:1]).any(dim=0).nonzero()[:, 0]
        assert differing.tolist() == [prompts.slot]


def test_the_same_cue_twice_is_no_contrast(vocabulary):
    with pytest.raises(StudyError, match="must differ in the scene word"):
        render(CONTEXT, ["horse", "horse"], vocabulary)


def test_a_cue_that_does_not_exist_is_named(vocabulary):
    with pytest.raises(VocabularyError, match="horsy<ENV>"):
        render(CONTEXT, ["horse", "horsy"], vocabulary)


def test_ids_are_what_the_vocabulary_says(vocabulary):
    ids = render(CONTEXT, ["horse"], vocabulary).ids
    assert ids.dtype == torch.int64
    (scene, said) = vocabulary.decode(ids[0].tolist())
    assert scene.words == ("picks", "up", "the", "horse", "and", "holds", "it")
    assert said.words == CONTEXT.lan
