"""Composed pictures as files: what COCO's readers find in them is what was composed."""

import json

import pytest
from typer.testing import CliRunner

from groundscope.cli import app
from groundscope.corpus.album import Album, PhotographOptions
from groundscope.corpus.scene_files import write_scenes
from groundscope.corpus.scenes import SceneOptions, SceneWorld
from groundscope.errors import CorpusError
from groundscope.files import sha256_file


@pytest.fixture(scope="module")
def world(drawings):
    sizes = {"words": 6, "side": 80, "thing_side": (20, 30)}
    return SceneWorld(SceneOptions(sprites=drawings, styles=("bright",), held_out="dark", **sizes))


def test_an_album_of_them_holds_what_was_composed(world, tmp_path):
    out = write_scenes(world, tmp_path / "out", pictures=12, style="dark")
    files = {"images": (out / "images",), "boxes": (out / "instances.json",), "captions": (out / "captions.json",)}
    album = Album(PhotographOptions(**files, shown=1, said=1, held_out=0))
    assert not album.problems
    assert len(album.seen) == 12
    for number, one in enumerate(album.seen):
        scene = world.scene(f"file-dark-{number}", ("dark",), shows=world.words[number % 6])
        shown = [(thing.word, world.box(thing)) for thing in scene.things]
        assert [(thing.word, thing.box) for thing in one.photograph.objects] == shown
        said = [words for talk in one.photograph.talks for utterance in talk for words in [utterance.words]]
        assert set(said) == {utterance.words for utterance in scene.talk}
        assert one.photograph.open().tobytes() == world.render(scene).convert("RGB").tobytes()
    assert {one.photograph.objects[0].word for one in album.seen} == set(world.words)


def test_the_same_again(world, tmp_path):
    first, again = (write_scenes(world, tmp_path / name, pictures=3, style="bright") for name in ("a", "b"))
    files = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert len(files) == 5
    assert [sha256_file(first / file) for file in files] == [sha256_file(again / file) for file in files]


def test_nothing_is_written_over(world, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CorpusError, match="not empty"):
        write_scenes(world, tmp_path, pictures=1, style="bright")
    with pytest.raises(CorpusError, match="no style 'brigt'"):
        write_scenes(world, tmp_path / "out", pictures=1, style="brigt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command(drawings, tmp_path):
    common = ["corpus", "scenes", "--sprites", str(drawings), "--style", "bright", "--side", "80"]
    done = CliRunner().invoke(app, [*common, "--out", str(tmp_path / "out"), "--pictures", "4", "--words", "5"])
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "out" / "instances.json").read_text())["images"]) == 4
    refused = CliRunner().invoke(app, [*common, "--out", str(tmp_path / "no"), "--words", "zebu"])
    assert refused.exit_code != 0


@pytest.mark.parametrize("command", ["scenes", "toyworld", "ablate . --remove 50"])
def test_a_negative_seed_is_refused_where_it_is_given(command, tmp_path):
    refused = CliRunner().invoke(app, ["corpus", *command.split(), "--out", str(tmp_path / "no"), "--seed", "-1"])
    assert refused.exit_code == 2
    assert "--seed" in refused.output
    assert not (tmp_path / "no").exists()
