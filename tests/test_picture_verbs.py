import numpy as np
import pytest
import torch
from PIL import Image

from groundscope.corpus.boxes import Box
from groundscope.errors import AnalysisError, CorpusError
from groundscope.mechanism.causal import CausalOptions
from groundscope.mechanism.detect_pictures import DetectOptions, detect
from groundscope.mechanism.prompts import PromptBatch
from groundscope.models import build, preset
from groundscope.picture_verbs import detection_lines, inspect_image, open_picture, parse_box, photographs_of


def test_boxes_and_files_as_people_write_them(tmp_path):
    assert parse_box("1, 2,3.5,4") == Box(1.0, 2.0, 3.5, 4.0)
    for wrong in ("1,2,3", "a,b,c,d", ""):
        with pytest.raises(CorpusError, match="written x,y,w,h"):
            parse_box(wrong)
    (tmp_path / "cat.jpg").write_text("no picture")
    with pytest.raises(CorpusError, match="cannot be read as a picture"):
        open_picture(tmp_path / "cat.jpg")
    with pytest.raises(CorpusError, match="There is no file"):
        photographs_of(tmp_path, tmp_path / "boxes.json", [])
    asked = {"revision": None, "device": "cpu", "dtype": "float32", "threshold": 0.7, "draws": 2, "page": None}
    Image.new("RGB", (4, 4)).save(tmp_path / "dog.png")
    with pytest.raises(AnalysisError, match="Give both"):
        inspect_image("m", tmp_path / "dog.png", None, "a", "dog", **asked)


def test_a_detection_splits_its_pictures_and_says_what_it_found():
    vocabulary, positions = 12, 9
    bank = torch.randn(8 * positions, 6, generator=torch.Generator().manual_seed(0))
    sizes = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_patch": 6, "projector": "linear", "n_positions": 16}
    model = build(preset("vlm-4", vocabulary, **sizes), 1).eval().show(bank)
    prompts = []
    for number in range(8):
        patches = vocabulary + number * positions + torch.arange(positions)
        ids = torch.cat([torch.tensor([0]), patches, torch.tensor([3, 4])])[None]
        scene = ids >= vocabulary
        ground = scene & (torch.arange(12) < 4)
        targets, numbers = torch.tensor([5 + number % 3]), torch.tensor([number])
        prompts.append(PromptBatch(ids, targets, ground, scene=scene, numbers=numbers))
    options = DetectOptions(
        frequency=0.01, causal=CausalOptions(unit="prompt", draws=2, permutations=99, resamples=100)
    )
    criterion = options.criterion.model_copy(update={"threshold": 0.2})
    found = detect(model, prompts, "tiny", options.model_copy(update={"criterion": criterion}))
    heads = found.heads
    assert (heads["n_found"][0], heads["n_held_out"][0], heads["chance_share"][0]) == (4, 4, pytest.approx(1 / 3))
    assert np.array_equal(heads["stable"], heads["frequency_found"] > 0)
    assert heads["stable"].any()
    lines = list(detection_lines(found, len(prompts)))
    assert "held-out pictures" in lines[-3]
    assert lines[-1].count("nats") == 1
    with pytest.raises(AnalysisError, match="too few for two halves"):
        detect(model, prompts[:3], "tiny", options)
