"""A model whose states we set by hand: at which layer the next word becomes readable is known, and must be found."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PretrainedConfig

from groundscope.mechanism.lens import LinearLens, LogitLens, TunedLens, lens_surprisal
from groundscope.mechanism.lens_training import LensOptions, train_lens
from groundscope.models.base import LanguageModel

WORDS = 8
PRESENT, ALIGNED, LAYERS = 2, 3, 4


class Planted(LanguageModel):
    """The next word is always the context's first.

    Until layer `PRESENT` the last state knows the current word alone. Then it knows the first word too, but along
    directions that the unembedding does not read; from `ALIGNED` on along those that it does.
    """

    def __init__(self):
        nn.Module.__init__(self)
        self.config = PretrainedConfig(hidden_size=3 * WORDS)
        self.lm_head = nn.Linear(3 * WORDS, WORDS, bias=False)
        self.lm_head.weight.data = torch.cat([torch.zeros(WORDS, 2 * WORDS), 8 * torch.eye(WORDS)], dim=1)
        self.turn = torch.linalg.qr(torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(0)))[0]

    n_layers = LAYERS
    mixers = ()

    def residual_stream(self, input_ids):
        here = nn.functional.one_hot(input_ids, WORDS).float()
        first = here[:, :1].expand_as(here)
        nothing = torch.zeros_like(here)
        hidden = {0: (nothing, nothing), PRESENT: (first @ self.turn, nothing), ALIGNED: (nothing, first)}
        return [
            torch.cat([here, *hidden[max(since for since in hidden if since <= layer)]], dim=-1)
            for layer in range(LAYERS + 1)
        ]

    def final_norm(self, state):
        return state


@pytest.fixture(scope="module")
def planted():
    return Planted().eval()


def surprisal(model, lens):
    ids = torch.tensor([[first, (first + 3) % WORDS, (first + 5) % WORDS] for first in range(WORDS)])
    return lens_surprisal(model, lens, ids, ids[:, 0]).mean(dim=0)


def test_the_logit_lens_reads_the_word_where_it_is_aligned(planted):
    found = surprisal(planted, LogitLens.from_model(planted))
    torch.testing.assert_close(found[:ALIGNED], torch.full((ALIGNED,), math.log(WORDS)), atol=1e-6, rtol=0)
    assert (found[ALIGNED:] < 0.01).all()


@pytest.mark.parametrize("kind", ["tuned", "linear"])
def test_a_trained_lens_reads_the_word_where_it_is_present(planted, kind):
    chunks = np.random.default_rng(0).integers(0, WORDS, (1600, 6)).astype(np.int32)
    options = LensOptions(kind=kind, steps=100, tokens_per_step=96, learning_rate=0.03, weight_decay=0)
    lens, _ = train_lens(planted, chunks, options, seed=0)
    assert isinstance(lens, TunedLens if kind == "tuned" else LinearLens)
    found = surprisal(planted, lens)
    assert (found[:PRESENT] > 0.9 * math.log(WORDS)).all(), "what is not there cannot be read"
    assert (found[PRESENT:] < 0.1).all(), found
