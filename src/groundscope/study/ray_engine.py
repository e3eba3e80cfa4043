"""The cells of a study as Ray tasks, on a cluster that is there or on one started for the length of the run.

What a cell computes is what it computes in one process: it is given as many threads as every other cell, wherever it
lands. All machines must see the run's folder, and what the corpus is read from, at the same paths.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from groundscope.errors import RunError, StudyError
from groundscope.study.attempt import Attempt, Job
from groundscope.study.config import PicturesSource, Study
from groundscope.study.engine import Executor
from groundscope.study.paths import variables_in

LIGHT = ("corpus", "words", "statistics", "tables", "report")
"""Kinds of cells that run no model: one core, no accelerator."""

PATIENCE = 10.0
"""Seconds for a cluster's head to answer."""

PASSED_ON = ("HF_HUB_OFFLINE", "HF_HOME", "TOKENIZERS_PARALLELISM")


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where the cluster is, and what each cell that runs a model asks of it."""

    address: str = "auto"  # "local" starts one here; "auto" finds the one that runs here; or HOST:PORT
    threads: int = 1
    gpus: float | None = None  # None: one, where the cluster has any
    light: tuple[str, ...] = LIGHT
    retries: int = 3  # how often a cell is given to another worker when its worker or machine dies


class OnRay(Executor):
    """An executor that hands jobs to Ray; raises StudyError where there is no Ray, no cluster or no room for a cell."""

    def __init__(self, options: RayOptions, environment: Mapping[str, str], quiet: bool = False):
        try:
            ray = import_module("ray")  # an extra: type checkers need not find it
        except ImportError:
            raise StudyError("--engine ray needs Ray: pip install 'groundscope[ray]'.") from None
        self._ray, self._options, self._quiet = ray, options, quiet
        self._environment = dict(environment)
        self._tasks: dict[Any, Job] = {}
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, options)
        self._gpus = self._check_room()

    def has_room(self) -> bool:
        """Ray itself queues what does not fit at once."""
        return True

    def start(self, job: Job) -> None:
        """Hand the job over; Ray places it where its needs are met."""
        from groundscope.study.worker import work_on

        light = job.cell.kind in self._options.light
        task = self._ray.remote(work_on).options(
            name=job.cell.name,
            num_cpus=1 if light else self._options.threads,
            num_gpus=0 if light else self._gpus,
            max_retries=self._options.retries,
            retry_exceptions=False,
        )
        reference = task.remote(self._ray.cloudpickle.dumps(job), self._environment, self._options.threads, self._quiet)
        self._tasks[reference] = job

    def next_ended(self) -> tuple[str, Attempt]:
        """Wait for any task; one whose workers died more often than it is retried ends with an error."""
        (reference, *_), _ = self._ray.wait(list(self._tasks), num_returns=1)
        job = self._tasks.pop(reference)
        try:
            return job.cell.name, self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            return job.cell.name, Attempt(error=RunError(f"its worker died ({first})"))

    def stop(self) -> None:
        """Cancel what is not ended, and leave the cluster if we joined it."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._tasks.clear()
        if self._ours:
            self._ray.shutdown()

    def _check_room(self) -> float:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        threads, most = self._options.threads, int(max((node.get("CPU", 0) for node in nodes), default=0))
        if threads > most:
            raise StudyError(f"A cell asks for {threads} threads, but no machine has more than {most}. Set --threads.")
        gpus = float(max((node.get("GPU", 0) for node in nodes), default=0))
        wanted = min(1.0, gpus) if self._options.gpus is None else self._options.gpus
        if wanted > gpus:
            raise StudyError(f"A cell asks for {wanted:g} GPUs, but no machine has more than {gpus:g}. Set --gpus.")
        return wanted


def light_kinds(study: Study) -> tuple[str, ...]:
    """Return the kinds of cells of ``study`` that run no model; a corpus of pictures is seen through its encoders."""
    return tuple(kind for kind in LIGHT if kind != "corpus" or not isinstance(study.corpus, PicturesSource))


def environment_of(study: Study) -> dict[str, str]:
    """Return what the workers' environment needs of ours: variables that paths name, ours, and Hugging Face's."""
    named = set(variables_in(study.model_dump_json()))
    named |= {name for name in os.environ if name.startswith("GROUNDSCOPE_")}
    return {name: os.environ[name] for name in sorted({*named, *PASSED_ON}) if name in os.environ}


def _refuse_silent(address: str) -> None:
    """Raise StudyError for a HOST:PORT that nothing answers at: Ray itself would try for a minute and more."""
    host, _, port = address.rpartition(":")
    if "/" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise StudyError(
            f"Nothing answers at '{address}' ({error}). Give the address that `ray start --head` has named, or use "
            "--address local."
        ) from None


def _connect(ray: Any, options: RayOptions) -> None:
    _refuse_silent(options.address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a cell without a GPU keeps its environment
    try:
        ours = {"include_dashboard": False} if options.address == "local" else {}
        ray.init(address=options.address, logging_level="ERROR", **ours)
    except (ConnectionError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise StudyError(
            f"There is no Ray cluster at '{options.address}' ({why}). Start one with `ray start --head`, or use "
            "--address local."
        ) from None
