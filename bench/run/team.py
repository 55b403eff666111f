"""The workers of a run, here or on other machines, and what travels between them and the driver.

Remote workers receive the data by name and check their fingerprint. Judges travel from the driver, since a
judge that was trained elsewhere would be another one. Weights travel with a case, unless the worker sees the
driver's cache. Only the driver writes the store.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from typing_extensions import override

from latentbench.analysis.core.data_context import DataContext
from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.protocol import Executor
from latentbench.bench.executors.ray_tasks import RayTasks
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.slurm_jobs import SlurmJobs
from latentbench.bench.executors.worker import Setup
from latentbench.bench.provenance.environment import environment, environment_hash
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import TRAINING, Journal, JournalStep
from latentbench.bench.run.resumable import Origin
from latentbench.bench.run.stages.progress import Progress, key
from latentbench.data.storage.cache import cache_root, write_to_cache
from latentbench.models import checkpoint as checkpoints

Stage = Callable[..., Any]
"""A function of some cases, the context, and a journal."""

REMOTE: dict[str, type[RayTasks] | type[SlurmJobs]] = {"ray": RayTasks, "slurm": SlurmJobs}
STACK_SHARE = 0.5
"""The share of the free memory for training stacks; the rest is for the data and as a reserve."""


@dataclass(frozen=True)
class Team:
    """The workers of a run."""

    crew: Crew[list[Progress]]
    size: int
    """The number of workers when the run starts."""
    threads: int
    """The threads of each worker."""
    stack_bytes: Callable[[], float]
    """Finds out how much memory a worker has for training a stack."""
    stage: Callable[[Stage], Stage]
    """Prepares a function for the workers."""
    shares_journal: bool
    """True if the journal has what a worker finished before it died."""


@contextmanager
def local_team(
    executor: Executor, size: int, threads: int, memory_bytes: float, journal: Journal
) -> Iterator[Team]:
    """Provide the workers of this machine, which share its cache and so its journal."""
    crew: Crew[list[Progress]] = Crew(executor, key=key)
    stack_bytes = memory_bytes * STACK_SHARE / size
    with stopped_at_the_end(executor):
        yield Team(
            crew, size, threads, lambda: stack_bytes, lambda stage: partial(stage, journal=journal), True
        )


@contextmanager
def remote_team(
    settings: ExecutorSettings,
    open_context: Callable[[], DataContext],
    journal: Journal,
    remember: Callable[[str, dict[str, Any]], None],
    note: Callable[[str], None],
) -> Iterator[Team]:
    """Provide the workers of another engine; `remember` receives each environment after its hash."""
    mark = cache_root() / "shared" / uuid4().hex
    write_to_cache(mark, b"")
    driver = _Driver(journal, remember, mark.name)
    try:
        executor = REMOTE[settings.name](settings, Setup.of(settings.cpus, open_context), note)
        crew: Crew[list[Progress]] = Crew(
            executor, key=key, cases=len, pack=driver.pack, unpack=driver.unpack, note=note
        )
        with stopped_at_the_end(executor):
            yield Team(
                crew,
                executor.workers,
                settings.cpus,
                lambda: STACK_SHARE * _device_bytes(settings, crew, driver),
                lambda stage: partial(work, stage=stage),
                False,
            )
    finally:
        mark.unlink(missing_ok=True)


def _device_bytes(settings: ExecutorSettings, crew: Crew[list[Progress]], driver: _Driver) -> float:
    """Return the memory that a worker may use of its GPU, or of its node if it has no GPU."""
    if settings.gpu_memory_gb is not None:
        return settings.gpu_memory_gb * 1e9
    if settings.gpus and not driver.gpu_bytes:
        ask: Stage = partial(work, stage=no_work)
        crew.alone(ask, [])
    return driver.gpu_bytes * min(1, settings.gpus) or settings.memory_bytes


@dataclass(frozen=True)
class Parcel:
    """Cases on their way to a worker or back, with the weights that the other side may lack."""

    progresses: list[Progress]
    origin: Origin
    mark: str
    """The name of a file by which a worker knows that it shares the driver's cache."""
    weights: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The files of each checkpoint, by the name of its folder."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The worker's."""
    shared: bool = False
    """True if the worker sees the driver's cache."""


@dataclass
class _Driver:
    """The driver's side of the journey."""

    journal: Journal
    remember: Callable[[str, dict[str, Any]], None]
    mark: str
    shared: bool = False
    """True if the last worker saw the driver's cache, so that weights need not travel."""
    gpu_bytes: int = 0
    """The memory of the last worker's GPU."""

    def pack(self, progresses: list[Progress]) -> Parcel:
        weights = {} if self.shared else _weights(progresses)
        return Parcel(progresses, self.journal.origin, self.mark, weights)

    def unpack(self, parcel: Parcel) -> list[Progress]:
        self.shared = parcel.shared
        self.gpu_bytes = parcel.environment["gpu_memory_bytes"] or 0
        _store(parcel.weights)
        self.remember(environment_hash(parcel.environment), parcel.environment)
        for progress in parcel.progresses:
            _find_checkpoint(progress)
            known = {} if not parcel.shared else progress.steps
            for name in progress.steps.keys() - known.keys():
                self.journal.keep(progress.case, progress.steps[name])
        return parcel.progresses


@dataclass(frozen=True)
class _WorkerJournal(Journal):
    """Signs steps with the machine that did them, and keeps them if the driver sees this cache."""

    shared: bool
    node: str
    environment: str

    @override
    def keep(self, case: Case, step: JournalStep) -> JournalStep:
        signed = step.model_copy(update={"node": self.node, "environment": self.environment})
        return super().keep(case, signed) if self.shared else signed

    @override
    def steps(self, case: Case) -> dict[str, JournalStep]:
        return super().steps(case) if self.shared else {}


def work(parcel: Parcel, context: DataContext, *, stage: Stage) -> Parcel:
    """Take the cases of a parcel through a stage, in a worker."""
    shared = (cache_root() / "shared" / parcel.mark).exists()
    here = environment(context.device)
    journal = _WorkerJournal(parcel.origin, shared, platform.node(), environment_hash(here))
    _store(parcel.weights)
    for progress in parcel.progresses:
        _find_checkpoint(progress)
        # What an earlier try finished, before its job was pre-empted or its process died.
        progress.steps = {**journal.steps(progress.case), **progress.steps}
    done = stage(parcel.progresses, context, journal=journal)
    weights = {} if shared else _weights(done, known=parcel.weights)
    return replace(parcel, progresses=done, weights=weights, environment=here, shared=shared)


def no_work(progresses: list[Progress], context: DataContext, *, journal: Journal) -> list[Progress]:
    """Return the cases as they are; the parcel tells about the worker's machine."""
    del context, journal
    return progresses


def _find_checkpoint(progress: Progress) -> None:
    """Let a case name its checkpoint in the cache of this machine."""
    training = progress.steps.get(TRAINING)
    if training is not None and training.checkpoint is not None:
        place = _folder(training.checkpoint.name)
        progress.steps[TRAINING] = training.model_copy(update={"checkpoint": place})


def _folder(name: str) -> Path:
    return cache_root() / "checkpoints" / name


def _weights(progresses: list[Progress], known: Collection[str] = ()) -> dict[str, dict[str, bytes]]:
    """Return the files of the cases' checkpoints, without those that the receiver is known to have."""
    trained = [progress.steps[TRAINING].checkpoint for progress in progresses if TRAINING in progress.steps]
    return {
        folder.name: {name: (folder / name).read_bytes() for name in checkpoints.FILES}
        for folder in trained
        if folder is not None and folder.name not in known and checkpoints.is_whole(folder)
    }


def _store(weights: dict[str, dict[str, bytes]]) -> None:
    """Write checkpoints that this machine lacks; the card is the last file, as in `checkpoint.save`."""
    for name, files in weights.items():
        if not checkpoints.is_whole(_folder(name)):
            for file in checkpoints.FILES:
                write_to_cache(_folder(name) / file, files[file])
