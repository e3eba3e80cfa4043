"""A study of pictures end to end, small: generated drawings, a tiny encoder and its random twin, two checkpoints."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
import transformers as hf

from groundscope.behaviour.picture_worlds import PictureTest, drawings
from groundscope.behaviour.pictures import exchange_p, picture_prompts, read_pictures
from groundscope.corpus.boxes import Box, Size
from groundscope.errors import AnalysisError, ModelError, StudyError
from groundscope.files import read_json, write_json
from groundscope.mechanism.inspect_picture import inspect_picture
from groundscope.mechanism.picture_questions import PictureQuestion, ready, spoken
from groundscope.models.grounded_vlm import GroundedVLM
from groundscope.models.vision import EncoderOptions
from groundscope.picture_verbs import inspect_image, refuse_options_of_text
from groundscope.progress import Progress
from groundscope.study.cells.seeing import _as_text
from groundscope.study.cells.seeing_corpus import PictureCorpus
from groundscope.study.encoders import ENCODERS, keep_records, load_encoders, read_record, same_encoder
from groundscope.study.engine import run_cells
from groundscope.study.feature_disk import feature_need
from groundscope.study.load import load_study
from groundscope.study.plan import plan
from groundscope.study.run import plan_run
from groundscope.study.selection import EVERYTHING, Selection
from groundscope.study.sight import is_ours, open_sight
from groundscope.study.worlds import open_world
from groundscope.tables import SCHEMAS, read_table
from groundscope.training.memory import size

STUDY = """
name: tiny
corpus:
  source: scenes
  scenes: {{sprites: "{drawings}", styles: [bright], held_out: dark, words: 6, pictures: 24, side: 56,
    thing_side: [14, 20], remarks: 2}}
  encoders:
    vit: {{name: "{vit}", canvas: 28}}
    blind: {{name: "{vit}", canvas: 28, random_weights: true}}
  length: 40
  tests: {{pictures: 2, mismatches: 2}}
models: {{vlm: {{preset: vlm-4, n_layers: 2, d_model: 16, n_heads: 2, projector: linear}}}}
seeds: [1]
training: {{steps: 4, batch_size: 4, warmup_steps: 1, checkpoints: [0, 4], precision: fp32, device: cpu}}
mechanism: {{causal: {{draws: 2, permutations: 99, resamples: 100}}}}
statistics: {{resamples: 100}}
"""


def no_page(run, out):
    out.write_text("")
    return out


@pytest.fixture(scope="module")
def run(drawings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 7, "image_size": 28}
    hf.Dinov2Model(hf.Dinov2Config(**sizes)).save_pretrained(folder / "vit")
    (folder / "study.yaml").write_text(STUDY.format(drawings=drawings, vit=folder / "vit"))
    study = load_study(folder / "study.yaml")

    outcome = run_cells(plan(study, folder / "run", no_page), folder / "run", Progress(quiet=True), Selection())
    outcome.raise_if_failed()
    return folder / "run"


def world_of(run):
    return open_world(load_study(run.parent / "study.yaml").corpus, {})


def test_mechanism_asks_for_checkpoints_as_in_text(run):
    def measured(at):
        study = load_study(run.parent / "study.yaml", (f"mechanism.at={at}", "training.checkpoints=[0, 1, 2, 3, 4]"))
        names = [cell.name for cell in plan(study, run, lambda _, out: out)]
        return [int(name[-8:]) for name in names if name.startswith("mechanism/vlm.vit/")]

    assert measured("final") == [4]
    assert measured("few") == [4, 0, 1, 2, 3]
    assert measured("[2]") == [4, 2]
    with pytest.raises(StudyError, match=r"mechanism.at names step 7, which is no checkpoint"):
        measured("[7]")


def test_what_single_layers_keep_is_adjusted_over_checkpoints(run):
    keep = read_table(run / "tables/keep.parquet", SCHEMAS["keep"])
    assert keep["p_holm"].null_count() == keep["p"].null_count()


def test_every_table_of_behaviour_and_mechanism_is_there(run):
    for name in (
        "gain",
        "surprisal",
        "evidence",
        "pictures",
        "words",
        "loss",
        "causal",
        "head_roles",
        "saliency_heads",
        "mechanism_conclusions",
    ):
        table = read_table(run / "tables" / f"{name}.parquet", SCHEMAS[name])
        assert len(table), name
        if name != "words":
            assert {*table["arch"].cast(pl.String)} == {"vlm.vit", "vlm.blind"}, name


def test_the_tables_of_pictures_agree_with_those_of_text(run):
    pictures = read_table(run / "tables/pictures.parquet", SCHEMAS["pictures"])
    gain = read_table(run / "tables/gain.parquet", SCHEMAS["gain"])
    assert len(pictures) == 2 * 2 * 6 * 2  # archs, checkpoints, words, styles
    shown = pictures.filter(~pl.col("held_out")).sort("arch", "step", "word")
    text = gain.sort("arch", "step", "word")
    assert shown["gain_nats"].to_list() == pytest.approx(text["gain_nats"].to_list())
    assert {*pictures["encoder"]} == {"vit", "vit (random weights)"}
    assert {*pictures["projector"]} == {"linear"}
    first = text.filter(pl.col("step") == 0)
    assert first["cooccurring_chunks"].sum() == 0  # nothing was read yet
    assert text.filter(pl.col("step") == 4)["seen_env"].sum() > 0


def test_pictures_of_tests_alone_are_no_part_of_what_training_showed():
    def tested(word, style, instead):
        return PictureTest(
            name=f"{word} {style} {instead}", word=word, style=style, held_out=style == "dark", sentence="look at the",
            size=Size(8, 8), box=Box(0, 0, 4, 4), instead=(instead,)
        )  # fmt: skip

    styles = ["bright", "dark", "pale", "bright", "pale", "bright", "pale"]
    tests = [tested("dog", style, "cow" if style == "dark" else "cat") for style in styles]
    tests += [tested("cat", style, "dog") for style in ("dark", "bright", "pale")]
    gain = np.array([0.3, 9.0, 0.1, -0.1, 0.4, 0.2, 0.5, -9.0, 0.2, 0.1])
    readings, compared = _as_text(tests, np.ones(10), 1 + gain, ("cat", "cow", "dog"))
    assert readings.context == [test.name for test in tests if not test.held_out]
    assert compared.mismatches.tolist() == [[False, False, True], [False] * 3, [True, False, False]]
    assert {*readings.p[readings.word == 2]} == {exchange_p(gain[[0, 2, 3, 4, 5, 6]])} == {3 / 64}  # one of them a tie
    assert {*readings.p[readings.word == 0]} == {1 / 4}


def test_the_criterion_is_that_of_boxes(run):
    roles = read_table(run / "tables/head_roles.parquet", SCHEMAS["head_roles"])
    assert {*roles["threshold"]} == {0.5, 0.7, 0.9}
    assert "gather" not in {*roles["criterion"]}


def test_a_checkpoint_is_inspected_by_the_pixels_as_it_was_measured_by_its_bank(run):
    corpus, drawn = PictureCorpus(run), world_of(run).tests[3]
    asked = corpus.tests[3]
    assert asked == drawn.test
    for encoder in ("vit", "blind"):
        sight = open_sight(run / "train" / f"vlm.{encoder}" / "seed-1", "step4")
        question = PictureQuestion(drawn.match(), asked.sentence, asked.word, asked.box)
        model, (prompt,) = ready(sight, [question])
        found = inspect_picture(model, prompt.prompt)
        model.show(torch.from_numpy(corpus.bank(encoder, "tests")))
        groups = picture_prompts(corpus.tests, corpus.vocabulary, corpus.looks(encoder))
        assert found.surprisal == pytest.approx(read_pictures(model, groups).match[3], abs=1e-5)
        assert prompt.prompt.ground.sum() == next(
            group.ground[group.numbers.tolist().index(3)].sum() for group in groups if 3 in group.numbers
        )


def test_an_encoder_is_where_its_model_is(run, monkeypatch):
    """Over thousands of photographs the encoder is most of the work."""
    asked = []
    monkeypatch.setattr("groundscope.study.sight.same_encoder", lambda *what: asked.append(what[1:]) or encoder)
    encoder = same_encoder(run / "corpus", "vit")
    open_sight(run / "train/vlm.vit/seed-1")
    monkeypatch.setattr(GroundedVLM, "device", torch.device("cuda:1"))
    open_sight(run / "train/vlm.vit/seed-1")
    assert asked == [("vit", "cpu"), ("vit", "cuda:1")]


def test_pictures_are_inspected_from_the_command_line(run, tmp_path):
    test, match, _ = world_of(run).tests[0]
    match().save(tmp_path / "a.png")
    box = ",".join(str(side) for side in (test.box.x, test.box.y, test.box.width, test.box.height))
    asked = {"revision": None, "device": "cpu", "dtype": "float32", "threshold": 0.01, "draws": 2}
    final = run / "train/vlm.vit/seed-1/checkpoints/step-00000004"
    assert is_ours(str(final))
    assert not is_ours(str(run.parent / "vit"))
    page = tmp_path / "page.html"
    lines = inspect_image(
        str(final), tmp_path / "a.png", box, "look at the", "disc", page=page, vocabulary=run / "corpus", **asked
    )
    assert "[16 positions of the picture] <A> look<LAN> at<LAN> the<LAN>" in lines
    assert "target    disc<LAN>" in lines
    assert page.read_text().count("<img") == 1 + 4 + 2  # the picture, heads, layers
    final, asked = str(final), {**asked, "page": None, "out": tmp_path}
    told = json.loads(inspect_image(final, tmp_path / "a.png", box, "look at the", "disc", as_json=True, **asked))
    table = read_table(tmp_path / "inspect_picture.parquet", SCHEMAS["inspect_picture"])
    assert [head["name"] for head in told["heads"]] == table["name"].to_list()
    assert f"surprisal {told['surprisal_nats']:.3f} nats" in lines
    assert len(told["heads"][0]["saliency_nats"]) == 16
    refuse_options_of_text(ground=None)
    with pytest.raises(AnalysisError, match="--lens is for prompts of words"):
        refuse_options_of_text(ground=None, lens=tmp_path)


def test_words_about_pictures_are_spoken(run):
    vocabulary = PictureCorpus(run).vocabulary
    assert spoken(vocabulary, "look at the", "disc").pieces == ("<A>", "look<LAN>", "at<LAN>", "the<LAN>")
    assert spoken(vocabulary, "<Q> where<LAN> is", "the<LAN>").pieces == ("<Q>", "where<LAN>", "is<LAN>")
    with pytest.raises(ModelError, match="Did you mean 'disc<LAN>'"):
        spoken(vocabulary, "look at the", "disk")


def test_an_encoder_that_cannot_be_found_is_told(run, tmp_path):
    training = run / "train/vlm.vit/seed-1"
    with pytest.raises(
        ModelError, match=r"is a run; name one of its trainings: .*vlm\.blind/seed-1, .*vlm\.vit/seed-1\."
    ):
        open_sight(run)
    with pytest.raises(ModelError, match="is none"):
        open_sight(training, "last")
    shutil.copytree(training / "checkpoints/step-00000004", tmp_path / "a" / "b" / "alone")
    with pytest.raises(ModelError, match="where its training left it"):
        open_sight(tmp_path / "a" / "b" / "alone")
    with pytest.raises(StudyError, match="which encoders"):
        read_record(tmp_path, "vit")
    with pytest.raises(StudyError, match=r"knows no encoder 'vti'.*Did you mean 'vit'"):
        read_record(run / "corpus", "vti")
    write_json(tmp_path / ENCODERS, {"vit": "vit"})
    with pytest.raises(StudyError, match="in a form that is read here"):
        read_record(tmp_path, "vit")


def test_the_disk_of_features_is_known_before_a_picture_is_seen(run, tmp_path):
    source = load_study(run.parent / "study.yaml").corpus
    need = feature_need(source, tmp_path)
    for encoder in ("vit", "blind"):
        written = [np.load(run / "corpus" / f"{part}-{encoder}.npy").nbytes for part in ("training", "tests")]
        assert need.by_encoder[encoder] == sum(written)
    assert need.total == sum(need.by_encoder.values())
    assert need.assumed == ()
    world, encoder = world_of(run), load_encoders(source.encoders)["vit"]
    pictures = [one.draw() for one in world.training] + [draw() for draw in drawings(world.tests)]
    assert len(pictures) == need.pictures
    assert len(list(encoder.encode(pictures, tmp_path / "cache"))) == need.pictures
    assert sum(np.load(file).nbytes for file in (tmp_path / "cache").rglob("*.npy")) == need.by_encoder["vit"]


def test_an_encoder_that_is_not_here_is_assumed_to_be_like_dinov2_base(run, tmp_path):
    source = load_study(run.parent / "study.yaml").corpus
    gone = EncoderOptions(name=str(tmp_path / "gone"), canvas=224)
    need = feature_need(source.model_copy(update={"encoders": {"gone": gone}}), tmp_path)
    assert need.total == 2 * need.pictures * 256 * 768
    assert need.assumed == (f"'{gone.name}', which is not on this machine, is 768 wide with patches of 14",)


def test_the_plan_counts_features_until_they_are_there(run, tmp_path):
    study = load_study(run.parent / "study.yaml", (f"corpus.cache={tmp_path}",))
    need = feature_need(study.corpus, tmp_path)
    (line,) = [line for line in plan_run(study, tmp_path / "new", no_page, EVERYTHING) if line.startswith("Disk:")]
    told = ", ".join(f"{name} {size(count)}" for name, count in need.by_encoder.items())
    assert f"features of {need.pictures} pictures ({told}) and as much again in corpus.cache" in line
    assert not [line for line in plan_run(study, run, no_page, EVERYTHING) if "features" in line]


def test_another_encoder_in_the_place_of_the_first_is_refused(run, tmp_path):
    other = tmp_path / "corpus"
    shutil.copytree(run / "corpus", other)
    records = read_json(other / ENCODERS)
    records["vit"]["identity"] = "0" * 64
    write_json(other / ENCODERS, records)
    with pytest.raises(ModelError, match="is not the one through which this corpus was seen"):
        open_sight(run / "train/vlm.vit/seed-1", vocabulary=other)


def test_a_record_of_an_encoder_tells_no_home(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    asked = load_study(run.parent / "study.yaml").corpus.encoders
    loaded = load_encoders(asked)
    keep_records(tmp_path, asked, loaded)
    assert read_record(tmp_path, "vit").options.name == "${HOME}/vit"
    assert same_encoder(tmp_path, "vit").identity == loaded["vit"].identity


def test_encoders_must_agree_on_positions(run):
    options = read_record(run / "corpus", "vit").options
    with pytest.raises(StudyError, match="different numbers of positions"):
        load_encoders({"a": options, "b": options.model_copy(update={"canvas": 14})})


def test_lenses_read_the_tests_of_behaviour_and_end_at_what_the_model_says(run):
    lens = read_table(run / "tables/lens.parquet", SCHEMAS["lens"])
    assert {*lens["lens"]} == {"logit", "tuned"}
    assert {*lens["step"]} == {0, 4}
    last = lens.filter(pl.col("layer") == pl.col("layer").max(), lens="tuned")
    surprisal = read_table(run / "tables/surprisal.parquet", SCHEMAS["surprisal"])
    by = ["arch", "step", "word", "condition"]
    said = surprisal.group_by(by).agg(pl.col("surprisal_nats").mean().alias("said"))
    both = last.join(said, on=by)
    assert len(both) == len(last) == 2 * 2 * 6 * 2  # models, checkpoints, words, conditions
    assert both["surprisal_nats"].to_list() == pytest.approx(both["said"].to_list(), abs=1e-5)
    fit = read_table(run / "tables/lens_fit.parquet", SCHEMAS["lens_fit"])
    assert 0 < fit["trained_tokens"].max() <= 24 * (40 - 16)  # pictures x what is not before a patch


def test_the_viewer_holds_what_an_inspection_of_the_same_picture_finds(run):
    world = world_of(run)
    shown = read_table(run / "tables/pictures_shown.parquet", SCHEMAS["pictures_shown"]).filter(arch="vlm.vit")
    assert shown["word"].to_list() == [*world.words, *world.words[:4]]
    assert shown["held_out"].to_list() == [False] * 6 + [True] * 4
    saliency = read_table(run / "tables/picture_saliency.parquet", SCHEMAS["picture_saliency"])
    assert len(saliency) == 2 * 2 * 10 * 2 * 3  # models, checkpoints, pictures, layers, heads and all together
    number = shown["picture"][7]
    asked, match, _ = world.tests[number]
    sight = open_sight(run / "train/vlm.vit/seed-1")
    model, (question,) = ready(sight, [PictureQuestion(match(), asked.sentence, asked.word, asked.box)])
    found = inspect_picture(model, question.prompt)
    here = saliency.filter(arch="vlm.vit", step=4, picture=number)
    assert here["surprisal_nats"].to_list() == pytest.approx([found.surprisal] * 6, abs=1e-5)
    heads = here.drop_nulls("head").sort("layer", "head")
    assert np.array(heads["saliency_nats"].to_list()) == pytest.approx(np.abs(found.maps), abs=1e-7)
    known = {head.name: head for head in found.heads}
    for row in heads.iter_rows(named=True):
        head = known[f"L{row['layer']}H{row['head']}"]
        assert (row["box_share"], row["box_nats"]) == pytest.approx((head.share, head.flow), abs=1e-5)
    whole = here.filter(pl.col("head").is_null(), layer=1)["saliency_nats"][0]
    assert whole.to_list() == pytest.approx(np.abs(found.maps[2:].sum(axis=0)).tolist(), abs=1e-7)
