"""Inspecting by name: our trainings as trajectories, Hugging Face folders, and what people get wrong."""

import gc
import json
import weakref

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from groundscope.cli import main
from groundscope.corpus.utterance import Channel
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import ModelError
from groundscope.mechanism import inspect_models
from groundscope.mechanism.criteria import CriterionOptions
from groundscope.mechanism.inspect_models import Question, Subject, inspect_subjects, subjects_of
from groundscope.mechanism.lens import LogitLens, lens_surprisal
from groundscope.models import GroundedLMConfig
from groundscope.models.hub import from_pretrained
from groundscope.models.pretrained import PretrainedLM
from groundscope.training.config import TrainConfig
from groundscope.training.loop import train
from groundscope.trajectory.revisions import split_revisions

PROMPT = "<CHI> sees<ENV> horse<ENV> <CHI> a<LAN>"


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A run's folder as a study leaves it: a corpus with its vocabulary, and below train/ a training."""
    run = tmp_path_factory.mktemp("run")
    words = {
        ("sees", Channel.ENV): 3,
        ("horse", Channel.ENV): 3,
        ("dog", Channel.ENV): 3,
        ("a", Channel.LAN): 3,
        ("horse", Channel.LAN): 3,
    }
    vocabulary = Vocabulary.from_counts(documents=1, speakers={"CHI": 9}, words=words)
    (run / "corpus").mkdir()
    vocabulary.save(run / "corpus" / "vocabulary.json")
    chunks = np.random.default_rng(0).integers(0, len(vocabulary), (16, 8)).astype(np.int32)
    config = GroundedLMConfig(
        vocab_size=len(vocabulary), mixers=("attention",) * 2, d_model=16, n_heads=2, n_positions=8, dropout=0.0
    )
    settings = TrainConfig.model_validate(
        {"steps": 4, "batch_size": 2, "warmup_steps": 1, "checkpoints": [0, 2, 4], "precision": "fp32"}
    )
    train(chunks, config, settings, 1, run / "train" / "tiny" / "seed-1", arch="tiny")
    return run / "train" / "tiny" / "seed-1"


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A Hugging Face folder: a random GPT-2 and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("gpt2")
    words = {word: i for i, word in enumerate(["the", "red", "ball", "rolls", "cat", "[UNK]"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=6, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def inspect(*arguments, **options):
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    with pytest.raises(SystemExit) as done:
        main(["inspect", *arguments, *flags])
    return int(done.value.code or 0)


def test_a_training_is_a_trajectory(training, tmp_path, capsys):
    status = inspect(
        "--json", model=training, prompt=PROMPT, target="horse<LAN>", ground="horse<ENV>", draws=2, out=tmp_path
    )
    assert status == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["revision"] for entry in found] == ["step0", "step2", "step4"]
    layers = pl.read_parquet(tmp_path / "inspect_layers.parquet")
    heads = pl.read_parquet(tmp_path / "inspect_heads.parquet")
    assert layers.height == 3 * 3
    assert heads.height == 3 * 4
    assert (tmp_path / "inspect_removals.parquet").is_file()
    model = from_pretrained(training / "checkpoints" / "step-00000004")
    vocabulary = Vocabulary.load(training.parents[2] / "corpus" / "vocabulary.json")
    ids = torch.tensor([[vocabulary.tokens.index(token) for token in PROMPT.split()]])
    target = torch.tensor([vocabulary.tokens.index("horse<LAN>")])
    expected = lens_surprisal(model, LogitLens.from_model(model), ids, target)[0].tolist()
    last = layers.filter(revision="step4").sort("layer")
    assert last["surprisal_nats"].to_list() == pytest.approx(expected, abs=1e-5)
    assert found[-1]["surprisal"] == pytest.approx(expected[-1], abs=1e-5)


def test_some_steps_are_told_as_lines_and_the_last_in_full(training, capsys):
    assert (
        inspect(model=training, prompt=PROMPT, target="horse<LAN>", ground="horse<ENV>", revisions="4,0", draws=2) == 0
    )
    out = capsys.readouterr().out
    assert out.index("step0") < out.index("step4")
    assert "embedding" in out
    assert "step2" not in out


def test_equal_weights_under_two_names_are_told(training, tmp_path, capsys):
    import shutil

    copy = tmp_path / "seed-1"
    shutil.copytree(training, copy)
    first, last = copy / "checkpoints" / "step-00000000", copy / "checkpoints" / "step-00000004"
    shutil.copy(first / "model.safetensors", last / "model.safetensors")
    vocabulary = training.parents[2] / "corpus"
    assert inspect(model=copy, prompt=PROMPT, target="horse<LAN>", vocabulary=vocabulary) == 0
    assert "step4 and step0 have the same unembedding" in capsys.readouterr().out


def test_a_training_is_inspected_where_and_as_it_is_asked(training):
    (subject,) = subjects_of(str(training), revisions=["4"], device="auto", dtype="bfloat16")
    assert subject.load().unembedding.dtype == torch.bfloat16


def test_what_is_inspected_is_on_the_gpu_where_there_is_one_and_its_float32_is_whole(gpt2, monkeypatch):
    asked, whole = [], []

    def opened(model, name, *, device, dtype):
        asked.append(device)
        whole.append(not torch.backends.cudnn.allow_tf32)
        return from_pretrained(model)

    monkeypatch.setattr(inspect_models, "from_pretrained", opened)
    for given in ({}, {"device": "cpu"}):
        assert inspect(model=gpt2, prompt="the red ball rolls the", target="ball", ground="ball", draws=2, **given) == 0
    assert asked == ["auto", "cpu"]
    assert all(whole)
    assert torch.backends.cudnn.allow_tf32


def test_a_model_that_a_device_has_no_room_for_is_told_to(gpt2, monkeypatch):
    def full(self, *_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr(PretrainedLM, "to", full)
    with pytest.raises(ModelError, match=r"does not fit into the memory of cpu \(CUDA out of memory.*dtype bfloat16"):
        from_pretrained(gpt2)


def test_so_many_published_revisions_are_taken_in_the_order_of_training(monkeypatch):
    names = ["main", "step0", "step1", "step1000", "step16", "step2"]  # as the hub lists them
    monkeypatch.setattr(inspect_models, "list_revisions", lambda repository: split_revisions(names))
    assert [subject.revision for subject in subjects_of("some/series", count=3)] == ["step0", "step2", "step1000"]
    names[1:] = []
    with pytest.raises(ModelError, match="No revision of 'some/series' says where in training"):
        subjects_of("some/series", count=3)


def test_some_of_the_checkpoints_of_a_training(training):
    for count, steps in ((1, [4]), (2, [0, 4]), (9, [0, 2, 4])):
        assert [subject.revision for subject in subjects_of(str(training), count=count)] == [f"step{n}" for n in steps]


def test_one_model_is_in_memory_at_a_time(gpt2):
    alive = []

    def load():
        gc.collect()
        assert not any(model() for model in alive)
        model = from_pretrained(gpt2)
        alive.append(weakref.ref(model.model))
        return model

    question = Question("the red ball rolls the", "ball", "ball", CriterionOptions(), draws=2)
    answers = list(inspect_subjects([Subject("m", f"step{step}", load) for step in range(3)], question))
    assert len(answers) == len(alive) == 3


def test_a_hugging_face_folder(gpt2, capsys):
    assert inspect(model=gpt2, prompt="the red ball rolls the", target="ball", ground="ball", draws=2) == 0
    assert "the red [ball] rolls the" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": "nowhere/at/all"}, "no such folder"),
        ({"target": "hores<LAN>"}, "Did you mean 'horse<LAN>'?"),
        ({"ground": "dog<ENV>"}, "does not hold the ground"),
        ({"revisions": "3"}, "no checkpoint of step 3"),
        ({"revisions": "main"}, "its steps"),
        ({"vocabulary": "nowhere"}, "no vocabulary"),
        ({"lens": "nowhere"}, "belongs to one checkpoint"),
        ({"lens": "nowhere", "revisions": "4"}, "There is no lens at nowhere"),
        ({"threshold": "7"}, "threshold"),
        ({"device": "cuda:63"}, "no device 'cuda:63'"),
        ({"dtype": "float23"}, "Did you mean 'float32'"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": f"{PROMPT} {PROMPT}"}, "n_positions=8"),
        ({"revision": "2", "revisions": "2,4"}, "revision and revisions are each a way"),
        ({"revisions": "2,4", "count": "2"}, "revisions and count are each a way"),
    ],
)
def test_mistakes_are_one_line_and_status_2(training, changes, complaint, capsys):
    asked = {"model": training, "prompt": PROMPT, "target": "horse<LAN>", "ground": "horse<ENV>", "draws": 2, **changes}
    assert inspect(**asked) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"target": "dog"}, "does not know 'dog'"),
        ({"ground": "the"}, "ground"),
        ({"prompt": "the red ball " * 8}, "cannot read 24 tokens"),
        ({"prompt": ""}, "prompt is empty"),
        ({"vocabulary": "some/corpus"}, "has its own tokenizer"),
    ],
)
def test_mistakes_with_a_hugging_face_folder(gpt2, changes, complaint, capsys):
    assert inspect(**{"model": gpt2, "prompt": "the red ball rolls the", "target": "ball", **changes}) == 2
    assert complaint in capsys.readouterr().err


def test_a_mamba2_of_hugging_faces_has_its_heads_read(gpt2, tmp_path, capsys):
    torch.manual_seed(0)
    config = transformers.Mamba2Config(
        vocab_size=6, hidden_size=16, num_hidden_layers=2, expand=2, head_dim=8, num_heads=4, state_size=4, n_groups=1,
        chunk_size=8, pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.Mamba2ForCausalLM(config)
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(gpt2).save_pretrained(tmp_path)
    assert inspect(model=tmp_path, prompt="the red ball rolls the", target="ball", ground="ball", draws=2) == 0
    text = capsys.readouterr().out
    assert "L1H3" in text
    assert "the skip D x" in text
    with torch.no_grad():
        expected = -model.eval()(torch.tensor([[0, 1, 2, 3, 0]])).logits[0, -1].log_softmax(-1)[2].item()
    assert f"ball: {expected:.3f} nats" in text


def test_revisions_of_one_folder_make_no_sense(gpt2, capsys):
    assert inspect(model=gpt2, prompt="the", target="ball", revisions="step0,step1") == 2
    assert "revisions are those of a repository" in capsys.readouterr().err
