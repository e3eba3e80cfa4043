import json

from groundscope.corpus.chunks import Corpus
from groundscope.progress import Progress
from groundscope.study.cells.corpus import cells
from groundscope.study.load import load_study

STUDY = """
name: tiny
corpus: {source: visdial, paths: [dialogues.json], captions: [captions.json], chunks: {length: 8}}
models: {one: {preset: transformer-4}}
"""


def test_dialogues_and_captions_become_one_corpus(tmp_path):
    dialogue = {"image_id": 1, "caption": "a dog", "dialog": [{"question": 0, "answer": 0}]}
    data = {"questions": ["what is it"], "answers": ["the dog"], "dialogs": [dialogue] * 3}
    (tmp_path / "dialogues.json").write_text(json.dumps({"data": data}))
    captions = [{"image_id": 1, "caption": text} for text in ["a red bus", "the bus is red"] * 3]
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": captions}))
    (tmp_path / "study.yaml").write_text(STUDY)
    (cell,) = cells(load_study(tmp_path / "study.yaml"))
    assert len(cell.files) == 2
    assert "captions.json" not in json.dumps(dict(cell.settings))  # contents count, not names
    cell.work(tmp_path / "corpus", Progress(quiet=True), {})
    vocabulary = Corpus.open(tmp_path / "corpus").vocabulary
    assert {"dog<ENV>", "dog<LAN>", "bus<ENV>", "bus<LAN>", "<Q>", "<A>"} <= {*vocabulary.tokens}
