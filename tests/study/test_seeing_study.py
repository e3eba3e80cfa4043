"""A study of pictures end to end, small: generated drawings, a tiny encoder and its random twin, two checkpoints."""

import polars as pl
import pytest
import torch
import transformers as hf

from groundscope.errors import StudyError
from groundscope.progress import Progress
from groundscope.study.engine import run_cells
from groundscope.study.load import load_study
from groundscope.study.plan import plan
from groundscope.study.selection import Selection
from groundscope.tables import SCHEMAS, read_table

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


@pytest.fixture(scope="module")
def run(drawings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 7, "image_size": 28}
    hf.Dinov2Model(hf.Dinov2Config(**sizes)).save_pretrained(folder / "vit")
    (folder / "study.yaml").write_text(STUDY.format(drawings=drawings, vit=folder / "vit"))
    study = load_study(folder / "study.yaml")

    def no_page(run, out):
        out.write_text("")
        return out

    outcome = run_cells(plan(study, folder / "run", no_page), folder / "run", Progress(quiet=True), Selection())
    outcome.raise_if_failed()
    return folder / "run"


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


def test_the_criterion_is_that_of_boxes(run):
    roles = read_table(run / "tables/head_roles.parquet", SCHEMAS["head_roles"])
    assert {*roles["threshold"]} == {0.5, 0.7, 0.9}
    assert "gather" not in {*roles["criterion"]}
