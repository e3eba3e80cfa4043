"""Pictures on the page: every head's map comes back from its bytes, and the page stays within its size."""

import base64

import numpy as np
import polars as pl
import pytest

from groundscope.mechanism.picture_saliency import PICTURE_SALIENCY, PICTURES_SHOWN
from groundscope.report import picture_viewer
from groundscope.report.picture_viewer import picture_data
from groundscope.report.run import open_run
from groundscope.tables import write_table

WHO = {"arch": "vlm.dino", "seed": 42, "tokens_seen": 0, "weight_hash": "h"}
CORNERS = [[0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20], [10, 10, 20, 20]]
RANDOM = np.random.default_rng(0)


def head_rows(step, picture):
    for layer in (0, 1):
        for head in (None, 0, 1):
            values = np.zeros(4) if (layer, head) == (1, 1) else RANDOM.random(4) * 10.0**-layer
            yield {
                **WHO,
                "step": step,
                "picture": picture,
                "layer": layer,
                "head": head,
                "box_share": 0.75,
                "box_nats": 0.25,
                "surprisal_nats": 1.5,
                "saliency_nats": values.tolist(),
            }


def shown(picture):
    return {
        "arch": "vlm.dino",
        "picture": picture,
        "word": "dog",
        "sentence": "look at the",
        "style": "b" if picture else "a",
        "held_out": picture > 0,
        "width": 20,
        "height": 20,
        "box": [2.0, 3.0, 9.0, 10.0],
        "patches": ((1 + picture) * np.ravel(CORNERS)).tolist(),  # pictures of different sizes
        "jpeg": base64.b64encode(b"12345678").decode(),
    }


@pytest.fixture
def run(tmp_path):
    rows = [row for step in (0, 9) for picture in (0, 7) for row in head_rows(step, picture)]
    write_table(tmp_path / "tables/picture_saliency.parquet", PICTURE_SALIENCY.frame(rows[::-1]), PICTURE_SALIENCY)
    pictures = PICTURES_SHOWN.frame([shown(0), shown(7)])
    write_table(tmp_path / "tables/pictures_shown.parquet", pictures, PICTURES_SHOWN)
    (tmp_path / "resolved.json").write_text('{"models": {"vlm.dino": {}}, "corpus": {"criterion": {"threshold": 0.7}}}')
    return tmp_path, rows


def test_maps_come_back_from_their_bytes(run):
    folder, rows = run
    data = picture_data(open_run(folder))
    model = data["models"]["vlm.dino"]
    assert (data["order"], model["steps"], data["threshold"]) == ([0, 7], [0, 9], 0.7)
    assert (model["layers"], model["heads"]) == ([0, 0, 0, 1, 1, 1], [None, 0, 1, None, 0, 1])
    assert model["patches"] == [CORNERS, (8 * np.array(CORNERS)).tolist()]
    maps = model["maps"][1][1]  # step 9, picture 7
    values = np.frombuffer(base64.b64decode(maps["bytes"]), np.uint8).reshape(6, 4)
    asked = np.array([row["saliency_nats"] for row in rows if row["step"] == 9 and row["picture"] == 7])
    most = np.maximum(asked.max(axis=1, keepdims=True), 1e-12)
    assert np.abs(values / 255 - asked / most).max() <= 0.5 / 255 + 1e-9
    assert (values[-1] == 0).all()
    assert maps["share"] == [0.75] * 6
    assert data["pictures"][7] == {
        **{name: shown(7)[name] for name in ("word", "sentence", "style", "width", "height", "box")},
        "heldOut": True,
        "src": "data:image/jpeg;base64,MTIzNDU2Nzg=",
    }


def test_pictures_are_left_out_where_they_are_too_large(run, monkeypatch):
    monkeypatch.setattr(picture_viewer, "BUDGET", 2 * 6 * 4 + 9)  # the maps of one picture, and its bytes
    assert picture_data(open_run(run[0]))["order"] == [0]
    monkeypatch.setattr(picture_viewer, "BUDGET", 10)
    assert picture_data(open_run(run[0])) == {}


@pytest.mark.parametrize("name", ["picture_saliency", "pictures_shown"])
def test_tables_of_another_version_count_as_missing(run, name):
    path = run[0] / "tables" / f"{name}.parquet"
    pl.read_parquet(path).drop("arch").write_parquet(path)
    assert picture_data(open_run(run[0])) == {}


def test_a_run_without_pictures_shows_none(tmp_path):
    (tmp_path / "tables").mkdir()
    assert picture_data(open_run(tmp_path)) == {}
