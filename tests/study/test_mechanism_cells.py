"""Which cells of mechanism and lenses a study has, and what each waits for; nothing is computed."""

import itertools
from pathlib import Path

import pytest

from groundscope.behaviour.audit import AUDIT
from groundscope.behaviour.contexts import Context, ContextSet
from groundscope.errors import StudyError
from groundscope.study.cell import Cell
from groundscope.study.cells import lens, mechanism
from groundscope.study.cells.frames import JUDGED, neutral
from groundscope.study.load import load_study
from groundscope.study.plan import plan
from groundscope.tables import write_table

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


def test_what_needs_neutral_frames_waits_for_their_audit() -> None:
    def order(*settings: str) -> list[str]:
        planned = plan(load_study(None, (*SMALL, *settings)), Path("run"), lambda run, page: page)
        names = [cell.name for cell in planned]
        for cell in planned:
            behind = set(names[: names.index(cell.name)])
            assert {source.cell for source in cell.inputs} <= behind, f"{cell.name} stands before what it reads"
        return names

    usual, waiting = order(), order("behaviour.neutral_within=0.5")
    assert sorted(usual) == sorted(waiting)
    for room in ("mechanism", "lens", "controls", "viewer"):
        of_room = [name for name in usual if name.startswith(f"{room}/")]
        assert usual.index(of_room[0]) < usual.index("train/t/seed-2"), "the first results come early"
        assert min(map(waiting.index, of_room)) > waiting.index("statistics/behaviour")
    plain, cut = (cells(mechanism, *extra)[0].settings for extra in ((), ("behaviour.neutral_within=0.5",)))
    assert cut == {**plain, "neutral_within": 0.5}, "another threshold makes it stale"


def test_only_the_frames_that_the_study_keeps_are_asked_about(tmp_path: Path) -> None:
    row = dict.fromkeys((column.name for column in AUDIT.columns), None) | {"arch": "t", "seed": 1, "kind": "noun"}
    judged = [("look", 100, 0.1), ("put", 100, 0.9), ("put", 0, 0.0), ("ball/own", 100, 0.2)]
    rows = [{**row, "context": name, "step": step, "preference_nats": nats} for name, step, nats in judged]
    (tmp_path / JUDGED).mkdir(parents=True)
    write_table(tmp_path / JUDGED / "audit.parquet", AUDIT.frame(rows), AUDIT)
    contexts = [Context(name, "CHI", ("the", "_"), ("the",)) for name in ("look", "put", "ball/own")]
    given = ContextSet(tuple(contexts[:2]), {"ball": (contexts[2],)})

    def kept(within: str) -> list[str]:
        study = load_study(None, (*SMALL, f"behaviour.neutral_within={within}"))
        return [context.name for context in neutral(study, tmp_path, given).all()]

    assert kept("null") == ["look", "put", "ball/own"]
    assert kept("0.5") == ["look", "ball/own"], "as they are at the end"
    with pytest.raises(StudyError, match=r"No frame of 'ball' favours words by at most 0\.15 nats"):
        kept("0.15")


def test_null_switches_off() -> None:
    study = load_study(None, (*SMALL, "mechanism=null", "lens=null"))
    for room in (mechanism, lens):
        assert not list(room.cells(study, Path("run")))
        assert not list(room.statistics_cells(study, Path("run")))


def test_which_checkpoints_and_what_is_negligible_do_not_make_a_checkpoint_stale() -> None:
    plain = {cell.name: cell.settings for cell in cells(mechanism)}
    other = {cell.name: cell.settings for cell in cells(mechanism, "mechanism.at=final", "mechanism.negligible_nats=1")}
    assert all(plain[name] == settings for name, settings in other.items())
