"""The same cells on a Ray cluster of several nodes in this machine: a node dies, and nothing is lost or doubled."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groundscope.errors import RunError, StudyError, TrainingError
from groundscope.progress import Progress
from groundscope.study.cell import Cell, Source, catalogue
from groundscope.study.engine import InThisProcess, run_cells

ray = pytest.importorskip("ray", reason="Ray is not installed (extra: ray)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own: sockets, deprecations
]
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for work and two nodes with two cores each."""
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module
    options = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **options})
    for _ in range(2):
        cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def on_ray(cluster: Any) -> Any:
    from groundscope.study.ray_engine import OnRay, RayOptions

    return OnRay(RayOptions(threads=1), {"MARK": "passed on"}, quiet=True)


def noted(folder: Path, event: str) -> None:
    """Append an event to the run's log, one file per event, with the node and the moment it happened."""
    node = ray.get_runtime_context().get_node_id()
    (folder.parents[1] / "log" / f"{event}-{time.time_ns()}").write_text(node)


def steps(folder: Path, progress: Progress, upstream: Any) -> dict[str, str]:
    """A training in small: ten steps, each kept, gone on from where an earlier attempt was stopped."""
    noted(folder, f"{folder.name}.begun")
    for step in range(len(list(folder.glob("step-*"))), 10):
        time.sleep(0.3)
        noted(folder, f"{folder.name}.step-{step}")
        (folder / f"step-{step}").write_text(str(step))
    return {"": "".join(path.read_text() for path in sorted(folder.glob("step-*")))}


def whole(folder: Path, progress: Progress, upstream: Any) -> dict[str, str]:
    """A cell that cannot go on from a half: it refuses to see one."""
    noted(folder, f"{folder.name}.begun")
    assert not list(folder.iterdir())
    (folder / "half").write_text("half")
    time.sleep(3.0)
    (folder / "result").write_text("+".join(made[""] for made in upstream.values()))
    return {"": (folder / "result").read_text()}


def study() -> list[Cell]:
    """Two resumable cells, two that stand on nothing and must begin anew, and one that reads them all."""
    trains = [Cell(f"train/{name}", ("tables",), {}, steps, resumable=True) for name in "ab"]
    others = [Cell(f"behaviour/{name}", ("tables",), {}, whole) for name in "cd"]
    reads = tuple(Source(cell.name) for cell in (*trains, *others))
    return [*trains, *others, Cell("statistics/all", ("tables",), {}, gather, reads)]


def gather(folder: Path, progress: Progress, upstream: Any) -> dict[str, str]:
    (folder / "all").write_text(repr(sorted(upstream.items())))
    return {"": (folder / "all").read_text()}


def results(run: Path) -> dict[str, bytes]:
    kept = [path for name in ("train", "behaviour", "statistics") for path in (run / name).rglob("*") if path.is_file()]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in kept}


def test_a_node_dies_in_mid_run_and_the_study_is_what_one_process_makes(
    cluster: Any, on_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four cells fill both nodes; one node is killed while all are at work, and another takes its place."""
    log = tmp_path / "run/log"
    log.mkdir(parents=True)
    killed: list[str] = []
    wait = type(on_ray).next_ended

    def kill_first(self: Any) -> Any:
        while not killed:
            time.sleep(0.1)
            begun = {path.name.split("-")[0]: path.read_text() for path in log.glob("*.begun-*")}
            if len(begun) == 4 and list(log.glob("*.step-1-*")):
                node = next(one for one in cluster.worker_nodes if one.node_id == begun["a.begun"])
                killed.append(begun["a.begun"])
                cluster.remove_node(node, allow_graceful=False)
                cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        return wait(self)

    monkeypatch.setattr(type(on_ray), "next_ended", kill_first)
    outcome = run_cells(study(), tmp_path / "run", QUIET, executor=on_ray)
    outcome.raise_if_failed()
    assert len(outcome.computed) == 5
    begun = [path.name.split("-")[0] for path in log.glob("*.begun-*")]
    assert 5 <= len(begun) <= 8  # what ran on the dead node was begun again, and nothing more than twice
    assert all(begun.count(name) <= 2 for name in begun)
    taken = [path.name.rsplit("-", 1)[0] for path in log.glob("*.step-*")]
    assert len(taken) - len(set(taken)) <= 2  # at most the step during which each training was killed is taken again
    assert all(record.finished for record in catalogue(tmp_path / "run").values())
    assert not (tmp_path / "run/.superseded").exists()

    (tmp_path / "alone/log").mkdir(parents=True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(sys.modules[__name__], "noted", lambda *_: None)
    run_cells(study(), tmp_path / "alone", QUIET, executor=InThisProcess(QUIET)).raise_if_failed()
    assert results(tmp_path / "run") == results(tmp_path / "alone")


def failing(folder: Path, progress: Progress, upstream: Any) -> dict[str, str]:
    raise TrainingError("the loss is not a number")


def crashing(folder: Path, progress: Progress, upstream: Any) -> dict[str, str]:
    import os

    os._exit(3)


def refusing(folder: Path, progress: Progress, upstream: Any) -> dict[str, str]:
    raise StudyError("no such words")


def environment(folder: Path, progress: Progress, upstream: Any) -> dict[str, str]:
    import os

    import torch

    return {"": f"{os.environ['MARK']}, {torch.get_num_threads()} thread"}


def test_failures_cross_the_cluster_as_they_are(on_ray: Any, tmp_path: Path) -> None:
    fine = Cell("words", ("tables",), {}, environment)
    bad = [Cell("behaviour/x", ("tables",), {}, failing), Cell("behaviour/y", ("tables",), {}, crashing)]
    outcome = run_cells([*bad, fine], tmp_path, QUIET, executor=on_ray)
    assert outcome.failed["behaviour/x"] == "the loss is not a number"
    assert "its worker died" in outcome.failed["behaviour/y"]
    assert catalogue(tmp_path)["words"].digests == {"": "passed on, 1 thread"}
    with pytest.raises(RunError, match="2 cells failed"):
        outcome.raise_if_failed()
    refused = run_cells([Cell("words", ("tables",), {"other": 1}, refusing)], tmp_path, QUIET, executor=on_ray)
    with pytest.raises(StudyError, match="no such words"):
        refused.raise_if_refused()


def test_what_no_machine_has_is_said(cluster: Any) -> None:
    from groundscope.study.ray_engine import OnRay, RayOptions

    with pytest.raises(StudyError, match=r"no machine has more than 2\. Set --threads"):
        OnRay(RayOptions(threads=64), {})
    with pytest.raises(StudyError, match=r"no machine has more than 0\. Set --gpus"):
        OnRay(RayOptions(threads=1, gpus=1.0), {})
