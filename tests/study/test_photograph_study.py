"""A study of photographs end to end, small: generated pictures of many sizes, a tiny encoder and its random twin."""

import json
import math
import shutil

import numpy as np
import polars as pl
import pytest
import torch
import transformers as hf

from groundscope.behaviour.pictures import picture_prompts, read_pictures
from groundscope.cli import main
from groundscope.corpus.picture_files import pictures_in
from groundscope.files import read_json
from groundscope.mechanism.inspect_picture import inspect_picture
from groundscope.mechanism.picture_questions import PictureQuestion, ready
from groundscope.progress import Progress
from groundscope.report.page import write_page
from groundscope.study.cell import Record
from groundscope.study.cells.seeing_corpus import PictureCorpus
from groundscope.study.encoders import load_encoders
from groundscope.study.engine import run_cells
from groundscope.study.feature_disk import feature_need
from groundscope.study.load import load_study
from groundscope.study.plan import plan
from groundscope.study.selection import Selection
from groundscope.study.sight import open_sight
from groundscope.study.worlds import open_world
from groundscope.tables import SCHEMAS, read_table

STUDY = """
name: tiny-photographs
corpus:
  source: photographs
  photographs: {{images: ["{photographs}/all.tar/images"], boxes: ["{photographs}/names.yaml"],
    labels: ["{photographs}/labels"], captions: ["{photographs}/captions.json"],
    dialogues: ["{photographs}/dialogues.json"], shown: 4, said: 4}}
  encoders:
    vit: {{name: "{vit}", canvas: 28}}
    blind: {{name: "{vit}", canvas: 28, random_weights: true}}
  length: 40
  tests: {{pictures: 2, mismatches: 1, box: [0.02, 0.6]}}
models: {{vlm: {{preset: vlm-4, n_layers: 2, d_model: 16, n_heads: 2, projector: linear}}}}
seeds: [1]
training: {{steps: 4, batch_size: 4, warmup_steps: 1, checkpoints: [0, 4], precision: fp32, device: cpu}}
mechanism: {{causal: {{draws: 2, permutations: 99, resamples: 100}}}}
statistics: {{resamples: 100}}
"""


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 7, "image_size": 28}
    folder = tmp_path_factory.mktemp("encoder") / "vit"
    hf.Dinov2Model(hf.Dinov2Config(**sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(photographs, vit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographed")
    (folder / "study.yaml").write_text(STUDY.format(photographs=photographs, vit=vit))
    study = load_study(folder / "study.yaml")
    outcome = run_cells(plan(study, folder / "run", write_page), folder / "run", Progress(quiet=True), Selection())
    outcome.raise_if_failed()
    return folder / "run"


def world_of(run):
    source = load_study(run.parent / "study.yaml").corpus
    return open_world(source, load_encoders(source.encoders))


def test_the_disk_of_features_is_bounded_before_and_known_when_they_were_built(run, tmp_path):
    source = load_study(run.parent / "study.yaml").corpus
    written = sum(np.load(run / "corpus" / f"{part}-vit.npy").nbytes for part in ("training", "tests"))
    before = feature_need(source, tmp_path)
    assert before.by_encoder["vit"] > written
    there = len(pictures_in(source.photographs.images, []))
    assert before.pictures == math.ceil(there * (1 - source.photographs.held_out)) + 80 * 2 * 2 * 2
    assert before.assumed[0].startswith(f"all {there} photographs have boxes and talk, and 80 words are tested")
    after = feature_need(source, run)
    assert after.by_encoder["vit"] == written
    assert after.assumed == ("there are as many pictures as when the corpus was last built",)


def test_every_table_is_there_and_tells_seen_photographs_from_new_ones(run):
    for name in ("gain", "surprisal", "evidence", "words", "loss", "causal", "head_roles", "lens", "picture_saliency"):
        table = read_table(run / "tables" / f"{name}.parquet", SCHEMAS[name])
        assert len(table), name
    pictures = read_table(run / "tables/pictures.parquet", SCHEMAS["pictures"])
    assert {*pictures.select("style", "held_out").iter_rows()} == {("seen", False), ("new", True)}
    assert {*pictures["encoder"]} == {"vit", "vit (random weights)"}
    gain = read_table(run / "tables/gain.parquet", SCHEMAS["gain"]).sort("arch", "step", "word")
    seen = pictures.filter(~pl.col("held_out")).sort("arch", "step", "word")
    assert seen["gain_nats"].to_list() == pytest.approx(gain["gain_nats"].to_list())
    problems = read_table(run / "corpus/problems.parquet", SCHEMAS["problems"])
    assert problems.is_empty()


def test_what_is_read_back_is_what_the_world_holds(run):
    world, corpus = world_of(run), PictureCorpus(run)
    assert corpus.tests == [drawn.test for drawn in world.tests]
    assert {test.size for test in corpus.tests} > {corpus.tests[0].size}  # photographs have different sizes
    assert tuple(corpus.categories) == world.words
    assert (
        len(corpus.chunks) == len(corpus.shown) == sum(len(one.talks) for one in world.training) > len(world.training)
    )
    for patches, test in zip(corpus.looks("vit"), corpus.tests, strict=True):
        whole = test.size.whole.corners
        assert np.nanmin(patches.corners, axis=0)[:2] == pytest.approx(whole[:2])
        assert np.nanmax(patches.corners, axis=0)[2:] == pytest.approx(whole[2:])
    row = 0
    for number, one in enumerate(world.training):
        for talk in one.talks:
            patches = range(number * 16, number * 16 + 16)
            assert corpus.chunks[row, 1:17].tolist() == [len(corpus.vocabulary) + patch for patch in patches]
            said = corpus.vocabulary.encode(talk)
            assert corpus.chunks[row, 17 : 17 + len(said)].tolist() == said
            assert [word for word, is_shown in zip(world.words, corpus.shown[row], strict=True) if is_shown] == sorted(
                one.words
            )
            row += 1


def test_a_photograph_is_inspected_by_its_pixels_as_it_was_measured_by_the_bank(run):
    corpus, world = PictureCorpus(run), world_of(run)
    sight = open_sight(run / "train/vlm.vit/seed-1", "step4")
    for number in (0, len(corpus.tests) - 1):  # a seen one and a new one
        test, match, mismatches = world.tests[number]
        model, asked = ready(
            sight, [PictureQuestion(draw(), test.sentence, test.word, test.box) for draw in (match, *mismatches)]
        )
        found = [inspect_picture(model, one.prompt).surprisal for one in asked]
        model.show(torch.from_numpy(corpus.bank("vit", "tests")))
        groups = picture_prompts(corpus.tests, corpus.vocabulary, corpus.looks("vit"))
        readings = read_pictures(model, groups)
        assert found[0] == pytest.approx(readings.match[number], abs=1e-5)
        assert np.mean(found[1:]) == pytest.approx(readings.mismatch[number], abs=1e-5)


def test_the_viewer_shows_photographs_with_their_own_boxes_and_patches(run):
    shown = read_table(run / "tables/pictures_shown.parquet", SCHEMAS["pictures_shown"]).filter(arch="vlm.vit")
    corpus = PictureCorpus(run)
    for row in shown.iter_rows(named=True):
        test = corpus.tests[row["picture"]]
        assert (row["width"], row["height"]) == (test.size.width, test.size.height)
        assert row["box"] == test.box.corners.tolist()
        assert max(row["patches"]) == pytest.approx(max(test.size.width, test.size.height))
    page = (run / "report/index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == len(shown)


def corpus_cell(study, run):
    return next(cell for cell in plan(load_study(study), run, write_page) if cell.name == "corpus")


def test_another_place_of_the_same_files_changes_nothing_and_another_caption_does(run, photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "copy")
    moved = (run.parent / "study.yaml").read_text().replace(str(photographs), str(tmp_path / "copy"))
    (tmp_path / "study.yaml").write_text(moved)

    def stale():
        return Record.load(run, "corpus").why_stale(Record.of(corpus_cell(tmp_path / "study.yaml", run), {}))

    assert stale() is None
    captions = read_json(tmp_path / "copy/captions.json")
    captions["annotations"][0]["caption"] = "Nothing."
    (tmp_path / "copy/captions.json").write_text(json.dumps(captions))
    assert "upstream changed" in stale()


def test_labels_that_lie_beside_their_yaml_count_as_those_that_are_named(photographs, vit, tmp_path):
    shutil.copytree(photographs, tmp_path / "copy")
    study = STUDY.format(photographs=tmp_path / "copy", vit=vit)
    (tmp_path / "study.yaml").write_text(study.replace(f'labels: ["{tmp_path}/copy/labels"], ', ""))
    assert not load_study(tmp_path / "study.yaml").corpus.photographs.labels
    before = corpus_cell(tmp_path / "study.yaml", tmp_path).files
    (tmp_path / "copy/run.json").write_text("{}")  # not a label
    assert corpus_cell(tmp_path / "study.yaml", tmp_path).files == before
    (tmp_path / "copy/labels/000000000001.txt").write_text("0 .5 .5 .5 .5")
    assert corpus_cell(tmp_path / "study.yaml", tmp_path).files != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('photographs.images=["{tmp}/none"]', "There is no file or folder"),
        ('photographs.images=["{data}/all.tar/pictures"]', "They lie in images"),
        ('photographs.boxes=["{tmp}/none.yaml"]', "There is no file or folder"),
        ('photographs.labels=["{data}/images"]', "holds no .txt files"),
        ('photographs.captions=["{data}/instances.json"]', "speak of none of the 28 photographs"),
        ('photographs.captions=["{data}/instances.json"]', "it holds no captions of COCO's kind"),
        ("photographs.words=[disc, dick]", "No photograph shows a 'dick'. Did you mean 'disc'"),
        ("photographs.shown=400", "At least two words are needed"),
        ("photographs.held_out=0.999999", "are held out of training"),
        ("photographs.say={{dog: [puppy]}}", "say names the class 'dog'"),
        ("photographs.say={{disc: [saucer]}}", "Nobody says 'saucer'"),
        ("tests.box=[0.9, 1.0]", "any head would reach the threshold of 0.7"),
        ("tests.box=[0.59, 0.6]", "At least two words are needed"),
        ("tests.mismatches=4", "Lower corpus.tests.mismatches"),
        ("tests.sentences=[behold the]", "training never hears 'behold'"),
        ("tests.repaint={{inpaint: {tmp}/none}}", "npaint"),
        ("tests.box=[0.9, 0.1]", "box is (least, most)"),
        ("photographs.captions=[]", "name captions or dialogues"),
        ("photographs.imges=[a]", "Did you mean"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_without_a_traceback(change, said, photographs, vit, tmp_path, capsys):
    study = STUDY.format(photographs=photographs, vit=vit)
    if "captions" in change:
        study = study.replace(f'dialogues: ["{photographs}/dialogues.json"], ', "")
    if "saucer" in change:
        study = study.replace("shown: 4", "words: [saucer, ring], shown: 4").replace("ring]", "square]")
    (tmp_path / "study.yaml").write_text(study)
    setting = f"corpus.{change.format(tmp=tmp_path, data=photographs)}"
    asked = ["run", str(tmp_path / "study.yaml"), "--set", setting, "--out", str(tmp_path / "run"), "--only", "corpus"]
    with pytest.raises(SystemExit) as left:
        main([*asked, "--quiet"])
    told = capsys.readouterr().err
    assert left.value.code == 2
    assert said in told
    assert "Traceback" not in told
