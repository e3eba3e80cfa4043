"""Which cells of mechanism and lenses a study has, and what each waits for; nothing is computed."""

import itertools
from pathlib import Path

import pytest

from groundscope.errors import StudyError
from groundscope.study.cell import Cell
from groundscope.study.cells import lens, mechanism
from groundscope.study.load import load_study

SMALL = (
    "seeds=[1, 2]",
    'models={"t": {"preset": "transformer-4", "d_model": 32, "n_heads": 2}}',
    "training.steps=20",
    "training.checkpoints=[0, 10, 20]",
)


def cells(room, *settings: str) -> list[Cell]:
    return list(room.cells(load_study(None, (*SMALL, *settings)), Path("run")))


def steps(found: list[Cell], seed: int = 1) -> list[int]:
    return [int(cell.name[-8:]) for cell in found if f"seed-{seed}/" in cell.name]


def test_the_final_checkpoint_comes_first_and_the_others_read_its_heads() -> None:
    found = cells(mechanism)
    assert steps(found) == [20, 0, 10]
    first, *others = (cell for cell in found if "seed-2/" in cell.name)
    followed = f"{first.name}#heads_found"
    assert followed not in map(str, first.inputs)
    assert all(followed in map(str, cell.inputs) for cell in others)


def test_which_checkpoints_is_a_choice_and_the_final_one_is_always_there() -> None:
    assert steps(cells(mechanism, "mechanism.at=final")) == [20]
    assert steps(cells(mechanism, "mechanism.at=[10]")) == [20, 10]
    assert steps(cells(lens, "lens.at=[0]")) == [0, 20]
    with pytest.raises(StudyError, match=r"lens.at names step 7, which is no checkpoint. There are 0, 10, 20"):
        cells(lens, "lens.at=[7]")


def test_a_lens_can_go_on_from_the_one_before() -> None:
    alone = cells(lens)
    assert not any("lenses" in str(source) for cell in alone for source in cell.inputs)
    chained = [cell for cell in cells(lens, "lens.start=previous") if "seed-1/" in cell.name]
    assert not any("lenses" in str(source) for source in chained[0].inputs)
    for before, cell in itertools.pairwise(chained):
        assert f"{before.name}#lenses" in map(str, cell.inputs)


def test_null_switches_off() -> None:
    study = load_study(None, (*SMALL, "mechanism=null", "lens=null"))
    for room in (mechanism, lens):
        assert not list(room.cells(study, Path("run")))
        assert not list(room.statistics_cells(study, Path("run")))


def test_which_checkpoints_and_what_is_negligible_do_not_make_a_checkpoint_stale() -> None:
    plain = {cell.name: cell.settings for cell in cells(mechanism)}
    other = {cell.name: cell.settings for cell in cells(mechanism, "mechanism.at=final", "mechanism.negligible_nats=1")}
    assert all(plain[name] == settings for name, settings in other.items())
