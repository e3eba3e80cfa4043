import pytest
import torch
import transformers as hf
from PIL import Image

from groundscope.corpus.boxes import Box
from groundscope.mechanism.inspect_picture import inspect_picture
from groundscope.mechanism.picture_questions import PictureQuestion, ready
from groundscope.models.pretrained_vlm import vlm_from_pretrained
from groundscope.models.small_llava import IMAGE, assemble


@pytest.mark.real
def test_a_small_llava_of_real_parts_sees_says_and_is_inspected(real_data, tmp_path):
    weights = real_data / "weights"
    model, processor = assemble(weights / "dinov2-small", weights / "stories15M", canvas=56)
    eye = hf.AutoModel.from_pretrained(weights / "dinov2-small", dtype=torch.float32).eval()
    inputs = processor(images=[Image.new("RGB", (40, 40), (200, 30, 30))], text=[f"{IMAGE}\nA"], return_tensors="pt")
    with torch.no_grad():
        theirs = eye(pixel_values=inputs["pixel_values"]).last_hidden_state
        ours = model.eval().model.vision_tower(pixel_values=inputs["pixel_values"]).last_hidden_state
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
        # without a picture it is the language model it was made of
        speaker = hf.AutoModelForCausalLM.from_pretrained(weights / "stories15M", dtype=torch.float32).eval()
        ids = processor.tokenizer("Once upon a time", return_tensors="pt")["input_ids"]
        size = speaker.config.vocab_size
        torch.testing.assert_close(model(input_ids=ids).logits[..., :size], speaker(ids).logits[..., :size])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = vlm_from_pretrained(str(tmp_path))
    question = PictureQuestion(Image.new("RGB", (80, 60), (90, 160, 90)), "This is a", "dog", Box(10, 10, 30, 30))
    _, ((batch, patches, _),) = ready(loaded, [question])
    assert len(patches) == 16 == int(batch.scene.sum())
    found = inspect_picture(loaded, batch)
    assert len(found.names) == 36
    assert found.maps.shape == (36, 16)
