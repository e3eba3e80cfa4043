"""The example that trains a small LLaVA: its loss is that of transformers, and a stopped training goes on the same."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from groundscope.corpus.scenes import SceneOptions, SceneWorld
from groundscope.models.small_llava import IMAGE, assemble

EXAMPLE = Path(__file__).parents[2] / "examples" / "small_llava.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("small_llava_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a NamedTuple's annotations are looked up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.real
def test_its_loss_is_that_of_transformers_and_it_goes_on_where_it_stopped(example, drawings, real_data, tmp_path):
    parts = real_data / "weights" / "dinov2-small", real_data / "weights" / "stories15M"
    sizes = {"words": 4, "things": (1, 2), "side": 56, "thing_side": (14, 20)}
    world = SceneWorld(SceneOptions(sprites=drawings, styles=("bright",), held_out=None, **sizes))
    pictures = list(example.composed(world, 6))
    model, processor = assemble(*parts, canvas=28)
    seen = example.see(model, processor, [iter(pictures)])
    assert len(seen.features) == 6

    texts = [said[0] for _, said in pictures]
    mine = example.loss_of(model, processor.tokenizer, seen.features.float(), texts)
    inputs = processor(
        images=[picture for picture, _ in pictures],
        text=[f"{IMAGE}\n{text}" for text in texts],
        return_tensors="pt",
        padding=True,
        padding_side="right",
    )
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    labels = ids.masked_fill(~mask | (ids == model.config.image_token_id), -100)
    with torch.no_grad():
        theirs = model(**inputs, labels=labels).loss
    assert mine.item() == pytest.approx(theirs.item(), abs=0.05)  # bfloat16 against float32, of some 8 nats

    def trained(out, stops):
        model, processor = assemble(*parts, canvas=28)
        first = 0
        for stop in stops:
            adamw = example.adamw_of(model)
            first = example.go_on(out, adamw) if first else 0
            for step in range(first, stop):
                example.set_rate(adamw, step, 4)
                example.loss_of(model, processor.tokenizer, *example.draw(seen, 2, step)).backward()
                adamw.step()
                adamw.zero_grad()
            example.keep(out, model, adamw, stop)
            first = stop
        return model.state_dict()

    whole, stopped = trained(tmp_path / "whole", (2,)), trained(tmp_path / "stopped", (1, 2))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
