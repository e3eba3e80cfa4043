"""`groundscope run` in several processes: stopped in any manner it goes on, and ends with the bits of one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundscope.study.cell import catalogue

STUDY = """
name: small
seeds: [1, 2]
corpus: {source: toyworld, world: {documents: 300}, chunks: {length: 32}}
models: {lm: {preset: transformer-4, n_layers: 1, d_model: 32, n_heads: 2, dropout: 0.1}}
training: {steps: 900, batch_size: 4, warmup_steps: 5, checkpoints: [0, 900], state_every: 10, device: cpu}
behaviour: {minimum: 60}
mechanism: null
lens: null
"""
COMMAND = (sys.executable, "-c", "from groundscope.cli import main; main()", "run", "study.yaml", "--threads", "1")


def _begin(folder: Path, out: str, jobs: int) -> subprocess.Popen:
    return subprocess.Popen(
        (*COMMAND, "--only", "behaviour", "--out", out, "--jobs", str(jobs)),
        cwd=folder,
        stderr=subprocess.PIPE,
        start_new_session=True,  # as a terminal does, so that Ctrl-C can reach all of its processes
        text=True,
    )


def _states(run: Path) -> set[str]:
    return {f"{path.parents[1].name}/{path.name}" for path in run.glob("train/lm/*/state/step-*")}


def _alive(session: int) -> bool:
    """Whether any process of a session is left; zombies, which wait for their parent's parent, are not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended just now
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
def test_stopped_by_any_signal_it_goes_on_to_the_bits_of_one_process(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    run = tmp_path / "several"
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before = _states(run)
        process = _begin(tmp_path, "several", 2)
        deadline = time.monotonic() + 90
        while not _states(run) - before:  # a training went on
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)
        else:
            process.send_signal(stop)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (130 if stop == signal.SIGINT else -stop), said
        assert "Traceback" not in said
        while _alive(process.pid):
            assert time.monotonic() < deadline + 30, "a process outlived the command"
            time.sleep(0.05)
    for out, jobs in (("several", 2), ("one", 1)):
        process = _begin(tmp_path, out, jobs)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    found, wanted = catalogue(run), catalogue(tmp_path / "one")
    assert found.keys() == wanted.keys()
    assert {name: record.digests for name, record in found.items()} == {
        name: record.digests for name, record in wanted.items()
    }
