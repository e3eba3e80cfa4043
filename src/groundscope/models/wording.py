"""Text to token ids for scoring, with the conventions said aloud: start token, space, words of several pieces."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from groundscope.errors import ModelError, did_you_mean

EMPTY = "The prompt is empty: a model that is told nothing predicts nothing."


@dataclass(frozen=True, slots=True)
class Wording:
    """A prompt and the word that should follow it, as the model reads them."""

    ids: tuple[int, ...]  # the prompt
    pieces: tuple[str, ...]  # the same as text, one per id
    ground: tuple[int, ...]  # positions of the ground's pieces; empty when no ground was named
    target: tuple[int, ...]  # the target's ids; several when the tokenizer cuts the word
    target_pieces: tuple[str, ...]
    convention: str  # what was put before the prompt and between it and the target, in words


def word_prompt(
    tokenizer: PreTrainedTokenizerBase | None,
    prompt: str,
    target: str,
    ground: str | None = None,
    *,
    target_pieces: Literal["refuse", "sum"] = "refuse",
) -> Wording:
    """Turn ``prompt`` and ``target`` into ids; the prompt stops right before the target.

    Special tokens are those that the tokenizer itself puts in front; none are put behind. Target and prompt are cut
    together, as running text, with one space between them unless the prompt ends in white space or is empty.
    ``ground`` is a piece of the prompt's text; where it stands there more than once, its last occurrence counts, and
    one that is a word by itself before one inside another word ("art" is not looked for in "party").

    A target of several pieces has the surprisal of their chain, ``sum_k -ln P(piece_k | prompt, pieces before)``:
    "sum" allows it, "refuse" raises ModelError that shows the pieces. Also raises ModelError for a model without
    tokenizer, an empty prompt where nothing is put in front, a target that is empty, unknown or merges with the
    prompt's end, and a ground that the prompt does not hold.
    """
    if not target:
        raise ModelError("The target is empty: name the word that should come next.")
    if tokenizer is None:
        raise ModelError("This model came without a tokenizer that can be read; text cannot be turned into tokens.")
    front = _specials_in_front(tokenizer)
    ids = front + _cut(tokenizer, prompt)
    if not ids:
        raise ModelError(EMPTY)
    space = "" if not prompt or prompt[-1].isspace() else " "
    whole = front + _cut(tokenizer, prompt + space + target)
    if whole[: len(ids)] != ids or len(whole) == len(ids):
        raise ModelError(
            f"The tokenizer does not cut '{target}' off the end of the prompt: it reads {_show(tokenizer, whole)}. "
            "End the prompt at a word, without the space."
        )
    following = whole[len(ids) :]
    if tokenizer.unk_token_id in following and target != tokenizer.unk_token:
        raise ModelError(f"The tokenizer does not know '{target}': it reads {_show(tokenizer, following)}.")
    if len(following) > 1 and target_pieces == "refuse":
        raise ModelError(
            f"The tokenizer cuts '{target}' into {len(following)} pieces, {_show(tokenizer, following)}. Choose a word "
            "that is one piece, or allow the sum over pieces."
        )
    return Wording(
        ids=tuple(ids),
        pieces=tuple(_show(tokenizer, ids)),
        ground=() if ground is None else _positions(tokenizer, prompt, ground, len(front)),
        target=tuple(following),
        target_pieces=tuple(_show(tokenizer, following)),
        convention=_convention(tokenizer, front, space),
    )


def word_listed(tokens: Sequence[str], prompt: str, target: str, ground: str | None = None) -> Wording:
    """Turn a prompt written as tokens of a vocabulary (``<CHI> a<ENV> horse<ENV> ...``, by spaces) into ids.

    ``tokens`` are the vocabulary's in the order of their ids. The last occurrence of ``ground`` counts. Raises
    ModelError for an empty prompt, a token that the vocabulary does not hold and a ground that the prompt does not.
    """
    ids = {token: position for position, token in enumerate(tokens)}
    pieces = prompt.split()
    if not pieces:
        raise ModelError(EMPTY)
    for token in (*pieces, target):
        if token not in ids:
            how = "" if "<" in token else " A word is written with its channel: horse<ENV> is shown, horse<LAN> said."
            raise ModelError(f"The vocabulary has no '{token}'.{did_you_mean(token, ids)}{how}")
    if ground is not None and ground not in pieces:
        raise ModelError(f"The prompt does not hold the ground '{ground}': {prompt!r}.")
    last = () if ground is None else (len(pieces) - 1 - pieces[::-1].index(ground),)
    return Wording(
        ids=tuple(ids[piece] for piece in pieces),
        pieces=tuple(pieces),
        ground=last,
        target=(ids[target],),
        target_pieces=(target,),
        convention="the prompt is as given: one token per word, nothing added",
    )


def _cut(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]


def _specials_in_front(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the special tokens that the tokenizer puts before a text by itself."""
    bare, dressed = _cut(tokenizer, "a"), list(tokenizer("a")["input_ids"])  # type: ignore[arg-type]
    at = next((i for i in range(len(dressed)) if dressed[i : i + len(bare)] == bare), 0)
    return dressed[:at]


def _positions(tokenizer: PreTrainedTokenizerBase, prompt: str, ground: str, shift: int) -> tuple[int, ...]:
    words = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(ground)}(?!\w)", prompt)]
    start = words[-1] if words else prompt.rfind(ground)
    if not ground or start < 0:
        raise ModelError(f"The prompt does not hold the ground '{ground}': {prompt!r}.")
    if not tokenizer.is_fast:
        raise ModelError("This tokenizer does not say where its tokens stand in the text, so no ground can be found.")
    spans: Sequence[tuple[int, int]] = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]  # type: ignore[assignment]
    end = start + len(ground)
    return tuple(shift + i for i, (low, high) in enumerate(spans) if low < end and high > start)


def _convention(tokenizer: PreTrainedTokenizerBase, front: list[int], space: str) -> str:
    begins = f"starts with {' '.join(_show(tokenizer, front))}" if front else "starts without a special token"
    return f"the prompt {begins}, as its tokenizer does; " + (
        "the target follows after one space" if space else "the target follows directly"
    )


def _show(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    return [tokenizer.decode([token]) or str(token) for token in ids]  # type: ignore[misc]
