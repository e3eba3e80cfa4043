"""Many removals from few prompts: what runs have in common is computed once.

Two runs of a prompt are the same up to the first layer in which they lose different heads. So runs go through the
layers as the branches of a tree: before layer 0 there is one state per prompt, and a state divides where its runs
lose different heads. In the layer where it divides the mixing itself is still common, as heads are taken out after it.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from groundscope.mechanism.heads import HeadIndex, Outputs, removing, under
from groundscope.mechanism.readout import after_mixing
from groundscope.models.language_model import Block, GroundedLM


def last_states_without(
    model: GroundedLM,
    index: HeadIndex,
    input_ids: Int[Tensor, "prompt time"],
    which: Int[Tensor, " run"],
    removed: Bool[Tensor, "run head"],
    replacement: Outputs | None = None,
) -> Float[Tensor, "run d_model"]:
    """Return the last position's state after the final norm: run ``r`` is prompt ``which[r]`` without ``removed[r]``.

    Every prompt has a run. ``replacement`` holds outputs of the heads for each prompt, or for all; None: zeros.
    """
    state = model.embed(input_ids)
    prompt, branch = np.arange(len(input_ids)), which.numpy()  # of each state; of each run
    blocks = cast(Sequence[Block], model.blocks)
    for layer, block in enumerate(blocks):
        out = removed[:, index.of_layer(layer)].numpy()
        first, divided = distinct(branch, out)
        parent, branch = branch[first], divided
        prompt = prompt[parent]
        example = torch.from_numpy(parent).to(state.device)
        gates = {}
        if out.any():
            stand_in = None if replacement is None else replacement[layer]
            if stand_in is not None and len(stand_in) > 1:
                stand_in = stand_in[torch.from_numpy(prompt).to(state.device)]
            gates[layer] = removing(torch.from_numpy(out[first]).to(state.device), stand_in, example)
        mixer, normed = block.mixer, block.norm(state)
        with under(model, gates):
            if layer == model.n_layers - 1:
                state, mixed = state[:, -1], mixer.at_the_end(normed)
            else:
                mixed = mixer(normed)
        state = after_mixing(block, (state[example] if gates else state) + mixed)
    return model.final_norm(state)[torch.from_numpy(branch).to(state.device)]


def distinct(
    number: Int[np.ndarray, " run"], out: Bool[np.ndarray, "run head"]
) -> tuple[Int[np.ndarray, " distinct"], Int[np.ndarray, " run"]]:
    """The runs that differ, by rising number, then alike in their first heads; for each run which of them it is.

    They are compared as strings of bytes: as rows of numbers it takes several times as long, and the GPU waits for it
    in every layer.
    """
    key = np.concatenate([number.astype(">i8")[:, None].view(np.uint8), np.packbits(out, axis=1)], axis=1)
    _, first, back = np.unique(key.view(f"V{key.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    return first, back
