"""Train a small LLaVA on composed pictures and photographs with captions, so that it really sees.

    python benchmarks/small_llava.py ENCODER LANGUAGE_MODEL OUT [--steps 400] [--photographs IMAGES CAPTIONS]

Then `groundscope inspect --model OUT --image ...` and `groundscope detect --model OUT ...` run on it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from groundscope.corpus.captions import CaptionOptions, read_captions
from groundscope.corpus.scenes import SceneOptions, SceneWorld
from groundscope.models.small_llava import IMAGE, assemble

PHRASES = ("This is a {}.", "There is a {} in the picture.", "Look at the {}.")


def composed(world: SceneWorld, number: int) -> tuple[Image.Image, str]:
    scene = world.scene(f"train-{number}", world.options.styles)
    said = " ".join(PHRASES[(number + i) % len(PHRASES)].format(word) for i, word in enumerate(scene.words))
    return world.render(scene), said


def captioned(images: Path, captions: Path) -> list[tuple[Path, str]]:
    there = {int(path.stem): path for path in images.glob("*.jpg")}
    pairs = []
    for document in read_captions([captions], CaptionOptions(scene=0)):
        path = there.get(int(document.name.split("#")[1]))
        pairs += [(path, " ".join(u.words).capitalize() + ".") for u in document.utterances] if path else []
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder")
    parser.add_argument("language_model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--canvas", type=int, default=112)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, whatever the steps")
    parser.add_argument("--photographs", type=Path, nargs=2, metavar=("IMAGES", "CAPTIONS"))
    asked = parser.parse_args()
    model, processor = assemble(asked.encoder, asked.language_model, canvas=asked.canvas)
    world = SceneWorld(SceneOptions(words=asked.words))
    pairs = captioned(*asked.photographs) if asked.photographs else []
    projector = list(model.model.multi_modal_projector.parameters())
    rest = [w for w in model.parameters() if w.requires_grad and all(w is not p for p in projector)]
    adamw = torch.optim.AdamW([{"params": projector, "lr": 2e-3}, {"params": rest, "lr": 2e-4}], weight_decay=0.01)
    random, began = np.random.default_rng(0), time.monotonic()
    for step in range(asked.steps):
        examples = [composed(world, step * asked.batch + i) for i in range(asked.batch)]
        for i in range(asked.batch // 4 if pairs else 0):
            path, text = pairs[int(random.integers(len(pairs)))]
            with Image.open(path) as opened:
                examples[i] = (opened.convert("RGB"), text)
        inputs = processor(
            images=[picture for picture, _ in examples],
            text=[f"{IMAGE}\n{text}" for _, text in examples],
            return_tensors="pt",
            padding=True,
            padding_side="right",
        )
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        labels = ids.masked_fill(~mask | (ids == model.config.image_token_id), -100)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
        late = time.monotonic() - began > asked.seconds
        if step % 20 == 0 or late or step == asked.steps - 1:
            print(f"step {step}: loss {float(loss):.3f} nats, {time.monotonic() - began:.0f} s", flush=True)
        if late:
            break
    model.save_pretrained(asked.out)
    processor.save_pretrained(asked.out)


if __name__ == "__main__":
    main()
