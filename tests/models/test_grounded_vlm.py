"""Pictures in the stream: ids beyond the vocabulary are patches, and nothing else about the model changes."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from groundscope.errors import ModelError
from groundscope.models import GroundedVLMConfig, build, load_model, preset
from groundscope.models.presets import own_fields
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train
from groundscope.training.objective import NextTokenLoss
from groundscope.training.run import read_run

VOCAB, PATCH = 20, 8
BANK = torch.randn(6, PATCH, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[0, VOCAB + 0, VOCAB + 1, 3, 4, 5], [0, VOCAB + 4, VOCAB + 5, 3, 4, 5]])


def config(projector="linear", **sizes):
    return preset("vlm-4", VOCAB, n_layers=2, n_heads=2, n_positions=6, **{"d_model": 16, **sizes}, projector=projector)


@pytest.fixture(scope="module")
def model():
    return build(config(d_patch=PATCH), 1).eval().show(BANK)


def test_patches_enter_where_their_ids_stand_and_words_as_ever(model):
    entering = model.embed(IDS) - model.positions.weight
    assert_close(entering[:, 1:3], model.projector(BANK[torch.tensor([[0, 1], [4, 5]])]))
    assert_close(entering[:, 3:], model.embedding(IDS[:, 3:]))
    assert not torch.equal(model(IDS).logits[0, -1], model(IDS).logits[1, -1])  # the pictures are seen


def test_without_a_projector_features_enter_as_they_are():
    model = build(config("none", d_model=PATCH), 1).eval().show(BANK.half())
    assert_close((model.embed(IDS) - model.positions.weight)[0, 1:3], BANK[:2].half().float())


class Narrow(TorchDispatchMode):
    """Notes what is done with numbers of two bytes."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float16:
            self.done.append((func, set(kwargs or ())))
        return func(*args, **(kwargs or {}))


def test_patches_are_taken_as_whole_rows_and_widened_where_they_arrive():
    """On their way to a GPU they would take twice as long, and picked number by number four times."""
    model = build(config("none", d_model=PATCH), 1).eval().show(BANK.half())
    with Narrow() as noted:
        model.embed(IDS)
    (picked, _), (widened, told) = noted.done
    assert (picked, widened) == (torch.ops.aten.index_select.default, torch.ops.aten._to_copy.default)
    assert "device" not in told


def test_a_random_projector_is_fixed_and_keeps_lengths():
    model = build(config("random", d_patch=400, d_model=400), 1)
    assert not model.projector.weight.requires_grad
    assert 0.9 < float(model.project(torch.randn(50, 400)).std()) < 1.1


def test_pictures_are_never_predicted(model):
    hidden = model.hidden(IDS)
    words = (IDS[:, 1:] < VOCAB).flatten()
    logits = (hidden[:, :-1] @ model.unembedding.T).flatten(0, 1)[words]
    assert_close(NextTokenLoss(model)(IDS), cross_entropy(logits, IDS[:, 1:].flatten()[words]))


def test_it_trains_resumes_and_loads_with_its_pictures_named(tmp_path):
    chunks = np.tile(IDS.numpy().astype(np.int32), (4, 1))
    settings = {"steps": 4, "batch_size": 2, "warmup_steps": 1, "checkpoints": (0, 4), "precision": "fp32"}
    asked = TrainConfig.model_validate({**settings, "device": "cpu"})
    bank = BANK.half().numpy()
    train(chunks, config(d_patch=PATCH), asked, 1, tmp_path, arch="vlm", patches=bank)
    loaded = load_model(tmp_path / "checkpoints/step-00000004").show(BANK)
    assert loaded.config.projector == "linear"
    assert not torch.equal(loaded.projector.weight, build(config(d_patch=PATCH), 1).projector.weight)
    card = read_run(tmp_path)
    assert card.model["d_patch"] == PATCH
    assert card.model["n_positions"] == 6
    with pytest.raises(Exception, match="patches_sha256"):
        train(chunks, config(d_patch=PATCH), asked, 1, tmp_path, arch="vlm", patches=bank + 1)


def test_own_fields_hold_the_parents():
    assert {"d_patch", "projector", "d_model", "mixers"} <= {*own_fields(GroundedVLMConfig)}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: config("liner"), "Did you mean 'linear'"),
        (lambda: config("none", d_patch=8), "do not fit a stream"),
        (lambda: config(d_patch=0), "d_patch should be"),
        (lambda: build(config(d_patch=PATCH), 1)(IDS), "was shown none"),
        (lambda: build(config(d_patch=PATCH), 1).show(BANK[:3])(IDS), "holds patch 5, but the bank"),
        (lambda: build(config(d_patch=PATCH), 1).show(BANK[:, :3]), "3 wide"),
    ],
)
def test_what_cannot_be_is_refused(act, message):
    with pytest.raises(ModelError, match=message):
        act()
