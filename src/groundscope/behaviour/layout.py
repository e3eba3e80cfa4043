"""Where cue and target stand in each prompt, what stands beside them, and whether held-out frames are held out."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from jaxtyping import Int

from groundscope.behaviour.contexts import Context, ContextSet, unknown_words
from groundscope.behaviour.prompts import Direction, Shape, render
from groundscope.behaviour.words import Word, candidates
from groundscope.corpus.cooccurrence import blocks
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.tables import Column, TableSchema

CONTEXTS = TableSchema(
    "contexts",
    "one context in one direction and shape",
    (
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("context", pl.String(), "name of the context, within the kind"),
        Column("held_out", pl.Boolean(), "whether it is of the control with frames that are unlikely in any corpus"),
        Column("word", pl.String(), "the word whose own context it is; null: shared by all"),
        Column("direction", pl.String(), "cue to target"),
        Column("shape", pl.String(), "plain, single_word, filler_first or distant"),
        Column("speaker", pl.String(), "speaker code of both sentences"),
        Column("length", pl.Int64(), "tokens of the prompt, speaker tags included"),
        Column("cue_position", pl.Int64(), "position of the cue word in the prompt, from 0"),
        Column("distance", pl.Int64(), "tokens from the cue to the predicted word"),
        Column("distractors", pl.Int64(), "other listed words of the same kind in the cue sentence"),
        Column("unknown_share", pl.Float64(), "share of the context's tokens that the vocabulary lacks"),
        Column("frame", pl.String(), "the sentence up to the predicted word"),
        Column("frame_count", pl.Int64(), "times the whole frame stands in the training chunks"),
        Column("frame_overlap", pl.Float64(), "longest part of the frame in the training chunks, as a share of it"),
    ),
)


def contexts_table(
    contexts: ContextSet,
    vocabulary: Vocabulary,
    words: Sequence[Word],
    chunks: Int[np.ndarray, "n_chunks length"],
    directions: Iterable[Direction] = (Direction.ENV2LAN,),
    shapes: Iterable[Shape] = (Shape.PLAIN,),
    *,
    held_out: bool = False,
) -> pl.DataFrame:
    """Return table `CONTEXTS`: where cue and target stand, what else is there, what training has seen of the frame."""
    entries = [(context, None) for context in contexts.shared]
    entries += [(context, word) for word, own in contexts.own.items() for context in own]
    cases = [(d, s, context, word) for d in directions for s in shapes for context, word in entries]
    spoken = [_spoken(context, direction) for direction, _, context, _ in cases]
    frames = [_ids(frame, case[0].target, vocabulary) for frame, case in zip(spoken, cases, strict=True)]
    known = list(dict.fromkeys(map(tuple, frames)))  # shapes share their frames
    seen = dict(zip(known, zip(*overlap(chunks, known), strict=True), strict=True))
    listed = {word.form for word in candidates(words[0].kind)}
    rows = []
    for (direction, shape, context, word), frame, ids in zip(cases, spoken, frames, strict=True):
        longest, count = seen[tuple(ids)]
        prompts = render(context, [words[0].form], vocabulary, direction, shape)
        rows.append(
            {
                "kind": words[0].kind.value,
                "context": context.name,
                "held_out": held_out,
                "word": word,
                "direction": direction.value,
                "shape": shape.value,
                "speaker": context.speaker,
                "length": prompts.ids.shape[1],
                "cue_position": prompts.slot,
                "distance": prompts.distance,
                "distractors": sum(word in listed for word in _beside_cue(context, direction, shape)),
                "unknown_share": len(unknown_words(context, vocabulary)) / (len(context.env) + len(context.lan)),
                "frame": " ".join(frame),
                "frame_count": int(count),
                "frame_overlap": int(longest) / len(frame),
            }
        )
    return CONTEXTS.frame(rows)


def overlap(
    chunks: Int[np.ndarray, "n_chunks length"], frames: Sequence[Sequence[int]]
) -> tuple[Int[np.ndarray, " frame"], Int[np.ndarray, " frame"]]:
    """Return for each frame of ids the longest run of it that stands in a chunk, and how often all of it does."""
    longest, counts = np.zeros((2, len(frames)), dtype=np.int64)
    if not frames:
        return longest, counts
    codes = {number: code for code, number in enumerate(sorted({i for frame in frames for i in frame}), start=1)}
    lookup = np.zeros(max(codes) + 2, dtype=np.uint16)  # the last entry stands for all ids beyond
    lookup[list(codes)] = list(codes.values())
    for _, block in blocks(chunks):
        coded = lookup[np.minimum(block, len(lookup) - 1)]
        for at, frame in enumerate(frames):
            run = np.zeros_like(coded)  # length of the run of the frame that ends here, at the frame's current id
            for number in frame:
                grown = np.zeros_like(run)
                grown[:, 1:] = run[:, :-1]
                run = (grown + 1) * (coded == codes[number])
                longest[at] = max(longest[at], int(run.max(initial=0)))
            counts[at] += int((run == len(frame)).sum())
    return longest, counts


def _spoken(context: Context, direction: Direction) -> tuple[str, ...]:
    return context.env[: context.slot] if direction is Direction.LAN2ENV else context.lan


def _beside_cue(context: Context, direction: Direction, shape: Shape) -> tuple[str, ...]:
    if shape is Shape.SINGLE_WORD:
        return ()
    return context.lan if direction is Direction.LAN2ENV else context.env


def _ids(words: Sequence[str], channel: Channel, vocabulary: Vocabulary) -> list[int]:
    unknown = vocabulary.unknown_id(channel)
    return [number if (number := vocabulary.find(word, channel)) is not None else unknown for word in words]
