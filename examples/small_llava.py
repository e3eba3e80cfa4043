"""Train a small LLaVA on composed pictures and photographs with captions, so that it really sees.

    python examples/small_llava.py ENCODER LANGUAGE_MODEL OUT [--steps 2000] [--photographs IMAGES CAPTIONS]

The encoder is frozen, so every picture passes it once. The same command goes on where an earlier one was stopped. Then
`groundscope inspect --model OUT --image ...` and `groundscope detect --model OUT ...` run on it.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from groundscope.corpus.captions import CaptionOptions, read_captions
from groundscope.corpus.scenes import SceneOptions, SceneWorld
from groundscope.models.small_llava import IMAGE, assemble

PHRASES = ("This is a {}.", "There is a {} in the picture.", "Look at the {}.")
KEPT_EVERY = 250  # steps
STATE, DONE = "adamw.safetensors", "training.json"


class Seen(NamedTuple):
    """Pictures as the encoder gives them to the projector, and what may be said about each."""

    features: torch.Tensor  # picture position d_vision
    said: list[list[str]]
    photographs: int  # the last so many


def composed(world: SceneWorld, pictures: int) -> Iterator[tuple[Image.Image, list[str]]]:
    """Yield pictures of emoji with every order of phrases about what they show."""
    for number in range(pictures):
        scene = world.scene(f"train-{number}", world.options.styles)
        turns = range(len(PHRASES))
        yield (
            world.render(scene),
            [" ".join(PHRASES[(i + turn) % 3].format(word) for i, word in enumerate(scene.words)) for turn in turns],
        )


def captioned(images: Path, captions: Path) -> Iterator[tuple[Image.Image, list[str]]]:
    """Yield the photographs of a folder that a caption file of COCO's kind speaks of."""
    said: dict[int, list[str]] = {}
    for document in read_captions([captions], CaptionOptions(scene=0)):
        number = int(document.name.split("#")[1])
        said.setdefault(number, []).extend(" ".join(u.words).capitalize() + "." for u in document.utterances)
    for path in sorted(images.rglob("*.jpg")):
        if int(path.stem) in said:
            with Image.open(path) as opened:
                yield opened.convert("RGB"), said[int(path.stem)]


def see(model: Any, processor: Any, sources: Sequence[Iterator[tuple[Image.Image, list[str]]]]) -> Seen:
    """Pass every picture through the encoder once."""
    features, said, counts = [], [], []
    for source in sources:
        pairs = list(source)
        for start in range(0, len(pairs), 16):
            pictures = [picture for picture, _ in pairs[start : start + 16]]
            pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
            features.append(states[model.config.vision_feature_layer][:, 1:].half())
        said += [texts for _, texts in pairs]
        counts.append(len(pairs))
        print(f"{len(pairs)} pictures seen", flush=True)
    return Seen(torch.cat(features), said, sum(counts[1:]))


def draw(seen: Seen, batch: int, step: int) -> tuple[torch.Tensor, list[str]]:
    """Return the features and texts of a step: a quarter photographs where there are any."""
    random = np.random.default_rng((0, step))
    drawings = len(seen.said) - seen.photographs
    real = batch // 4 if seen.photographs else 0
    chosen = [*random.integers(0, drawings, batch - real), *random.integers(drawings, len(seen.said), real)]
    texts = [seen.said[i][random.integers(len(seen.said[i]))] for i in chosen]
    return seen.features[chosen].float(), texts


def loss_of(model: Any, tokenizer: Any, features: torch.Tensor, texts: list[str]) -> torch.Tensor:
    """Return the mean surprisal in nats of what is said behind each picture."""
    said = [f"{IMAGE}\n{text}" for text in texts]
    inputs = tokenizer(said, return_tensors="pt", padding=True, padding_side="right")
    seeing = inputs["input_ids"] == model.config.image_token_id
    times = torch.where(seeing[0], features.shape[1], 1)  # the picture's one token stands for all its positions
    ids, mask = (inputs[name].repeat_interleave(times, dim=1) for name in ("input_ids", "attention_mask"))
    seeing = ids == model.config.image_token_id
    with torch.autocast("cpu", torch.bfloat16):
        embedded = model.get_input_embeddings()(ids)
        patches = model.model.multi_modal_projector(features).to(embedded.dtype)
        embedded = embedded.masked_scatter(seeing[..., None], patches)
        states = model.model.language_model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        asked = mask[:, 1:].bool() & ~seeing[:, 1:]  # only these positions need logits
        logits = model.lm_head(states[:, :-1][asked])
    return cross_entropy(logits.float(), ids[:, 1:][asked])


def adamw_of(model: Any) -> torch.optim.AdamW:
    """Return the optimiser: the projector, which begins from nothing, ten times as fast as the language model."""
    projector = list(model.model.multi_modal_projector.parameters())
    rest = [w for w in model.parameters() if w.requires_grad and all(w is not p for p in projector)]
    groups = [{"params": projector, "fastest": 3e-3}, {"params": rest, "fastest": 3e-4}]
    return torch.optim.AdamW(groups, weight_decay=0.01)


def set_rate(adamw: torch.optim.AdamW, step: int, steps: int) -> None:
    """Let the rates rise over 50 steps and fall to 0 at the end."""
    for group in adamw.param_groups:
        group["lr"] = group["fastest"] * min((step + 1) / 50, 1 - step / steps)


def keep(out: Path, model: Any, adamw: torch.optim.AdamW, step: int) -> None:
    """Keep weights and optimiser behind ``step`` steps."""
    model.save_pretrained(out)
    moments = {
        f"{number}.{name}": value
        for number, state in adamw.state_dict()["state"].items()
        for name, value in state.items()
    }
    save_file(moments, out / STATE)
    (out / DONE).write_text(json.dumps({"steps": step}))


def go_on(out: Path, adamw: torch.optim.AdamW) -> int:
    """Put the optimiser where `keep` left it, and return its step."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in load_file(out / STATE).items():
        number, moment = name.split(".")
        state.setdefault(int(number), {})[moment] = value
    adamw.load_state_dict({**adamw.state_dict(), "state": state})
    return json.loads((out / DONE).read_text())["steps"]


def main() -> None:
    """Train, or go on training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder")
    parser.add_argument("language_model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--canvas", type=int, default=112)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--photographs", type=Path, nargs=2, metavar=("IMAGES", "CAPTIONS"))
    asked = parser.parse_args()
    model, processor = assemble(asked.encoder, asked.language_model, canvas=asked.canvas)
    if there := (asked.out / DONE).is_file():
        model = LlavaForConditionalGeneration.from_pretrained(asked.out, dtype=torch.float32)
        processor = LlavaProcessor.from_pretrained(asked.out)
        model.model.vision_tower.requires_grad_(False)
    processor.save_pretrained(asked.out)
    world = SceneWorld(SceneOptions(words=asked.words, things=(1, 2)))
    sources = [composed(world, asked.pictures), *([captioned(*asked.photographs)] if asked.photographs else [])]
    seen = see(model, processor, sources)
    adamw = adamw_of(model)
    first = go_on(asked.out, adamw) if there else 0
    began, lately = time.monotonic(), []
    for step in range(first, asked.steps):
        set_rate(adamw, step, asked.steps)
        loss = loss_of(model, processor.tokenizer, *draw(seen, asked.batch, step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
        lately.append(loss.item())
        if (step + 1) % 50 == 0:
            print(
                f"step {step + 1}: loss {np.mean(lately[-50:]):.3f} nats, {time.monotonic() - began:.0f} s", flush=True
            )
        if (step + 1) % KEPT_EVERY == 0 or step + 1 == asked.steps:
            keep(asked.out, model, adamw, step + 1)


if __name__ == "__main__":
    main()
