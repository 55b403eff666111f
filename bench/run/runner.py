"""The runner: a suite in, a finished run out. It trains nothing and measures nothing itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from latentbench import data as datasets
from latentbench.analysis.performance.memory import free_memory
from latentbench.bench.run import stages
from latentbench.bench.run.case import Case, cases
from latentbench.bench.run.stages import Place, Progress
from latentbench.bench.run.suite import Suite, resolved
from latentbench.bench.run.workers import Workers, default_jobs, threads_of, workers
from latentbench.bench.store.environment import code, environment, environment_hash
from latentbench.bench.store.record import Record, Status
from latentbench.bench.store.store import Run, Store, Writer, read
from latentbench.data.errors import LatentbenchError
from latentbench.models.spec import ModelSpec
from latentbench.models.zoo import check_fits, prepare_cache, stacks

STACK_SHARE = 0.5
"""Of the free memory, for training stacks; the rest is for the data and for what was not foreseen."""


class Watcher(Protocol):
    """Is told how a run goes; draws the progress."""

    def run_started(self, path: Path, total: int, done: int) -> None:
        """`done` of `total` cases are in the run already."""

    def stage_started(self, name: str, total: int) -> None:
        """A stage of `total` cases begins, such as `training`."""

    def stage_advanced(self, case: Case) -> None:
        """A case is through the stage."""

    def case_finished(self, record: Record, details: str | None) -> None:
        """A case is on disk; `details` is the traceback of one that failed unexpectedly."""

    def note(self, message: str) -> None:
        """Something worth knowing."""


@dataclass(frozen=True)
class Options:
    """How a suite is run. None of it changes what a case is."""

    seeds: int | None = None
    device: str = "auto"
    jobs: int | None = None
    fresh: bool = False
    use_cache: bool = True
    stack: bool | None = None
    """Whether models that share a shape are trained as one; None: on a GPU, where it is faster."""
    allow_pickle: bool = False
    """Whether weights of imported models may come from a pickle."""


class Wanted(Protocol):
    """What a record is the result of: a case, or a point of a sweep."""

    @property
    def id(self) -> str:
        """The same on every machine."""

    @property
    def spec(self) -> ModelSpec:
        """The model."""

    @property
    def analyses(self) -> tuple[str, ...]:
        """What is measured of it."""


AnyWanted = TypeVar("AnyWanted", bound=Wanted)


@dataclass(frozen=True)
class Origin:
    """What must agree for an earlier result to stand in for a new one."""

    environment: str
    source: str
    results: tuple[Status, ...] = ("ok",)
    """What counts as a result; anything else is tried again."""

    def vouches_for(self, record: Record, case: Wanted) -> bool:
        """Whether the record is a good result of the case, measured by this code in this environment.

        The model's own code, where it is the user's, is part of its spec.
        """
        return (
            record.status in self.results
            and record.case == case.id
            and record.model == case.spec
            and record.environment == self.environment
            and record.code.source == self.source
            and record.analyses == case.analyses
        )


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; anything else is taken at its word, or refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    allowed = "auto, cpu, cuda, cuda:N"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LatentbenchError(f"unknown device {name!r}; allowed: {allowed}") from None
    if device.type not in ("cpu", "cuda"):
        raise LatentbenchError(f"device {name!r} is not supported; allowed: {allowed}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise LatentbenchError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def run_suite(suite: Suite, store: Store, options: Options, watcher: Watcher) -> Run:
    """Run what is not yet done of a suite, a line on disk for each case; returns the finished run.

    A case that is `ok` in an earlier run by the same code, in the same environment and with the same
    analyses is taken over, not measured again, unless `options.fresh`. Whatever stops the run leaves it
    resumable: the same call goes on from there, with the models that were trained.
    """
    store.prepare()
    prepare_cache()
    device = resolve_device(options.device)
    jobs = options.jobs or default_jobs(device)
    data = datasets.load(suite.data)
    for warning in data.warnings:
        watcher.note(warning)
    suite = resolved(suite, data, allow_pickle=options.allow_pickle)
    for entry in suite.entries:
        check_fits(entry.spec, data.image_shape, entry.where)
    wanted = cases(suite, data, options.seeds or suite.seeds)
    here = environment(device, threads=threads_of(jobs))
    origin = Origin(environment_hash(here), code().source)
    store.remember_environment(origin.environment, here)

    earlier = [] if options.fresh else [read(path) for path in store.paths(suite.name)]
    if complete := complete_run(earlier, wanted, origin):
        watcher.note(f"all {len(wanted)} cases are done already; --fresh measures them again")
        return complete
    with store.writer(suite.name, code().commit, unfinished(earlier, store, origin)) as writer:
        if writer.note:
            watcher.note(writer.note)
        todo = take_over(earlier, wanted, origin, writer)
        watcher.run_started(writer.path, len(wanted), len(wanted) - len(todo))
        place = Place(
            suite=suite.name,
            run=writer.run_id,
            data=suite.data,
            device=str(device),
            environment=origin.environment,
            use_cache=options.use_cache,
            stacked=device.type == "cuda" if options.stack is None else options.stack,
        )
        if todo:
            # Here, before there are workers: a judge that has to be trained is trained once.
            stages.data_context(suite.data, str(device))
            with workers(min(jobs, len(todo)), threads_of(jobs)) as crew:
                # Whole seeds, so that an interrupted run has some; but seeds are trained well in one stack.
                for _, group in groupby(todo, key=lambda case: None if place.stacked else case.seed):
                    _run_cases(list(group), place, crew, writer, watcher)
        return read(writer.finish())


def _run_cases(todo: list[Case], place: Place, crew: Workers, writer: Writer, watcher: Watcher) -> None:
    """Cases through the three steps; a record is written as soon as it is complete."""
    train = partial(stages.train, place=place)
    groups = crew.map(train, _training_groups(todo, place, crew.jobs))
    trained = _stage("training", chain.from_iterable(groups), len(todo), watcher)
    alone = partial(stages.measure, place=place, exclusive=True)
    timed = _stage("timing", map(alone, _in_order(trained, todo)), len(todo), watcher)
    measure = partial(stages.measure, place=place, exclusive=False)
    watcher.stage_started("measuring", len(todo))
    for progress in crew.map(measure, timed):
        record = writer.append(stages.record(progress, place), progress.arrays)
        watcher.stage_advanced(progress.case)
        watcher.case_finished(record, progress.details)


def _training_groups(todo: list[Case], place: Place, jobs: int) -> list[list[Case]]:
    """What a worker trains at once: one case, or as large a stack as there is memory for."""
    if not place.stacked:
        return [[case] for case in todo]
    data = stages.data_context(place.data, place.device).data
    positions = stacks(
        [case.training for case in todo],
        data.image_shape,
        memory_bytes=free_memory(torch.device(place.device)) * STACK_SHARE / jobs,
        largest=math.ceil(len(todo) / jobs),
    )
    return [[todo[position] for position in stack] for stack in positions]


def _stage(name: str, results: Iterable[Progress], total: int, watcher: Watcher) -> list[Progress]:
    watcher.stage_started(name, total)
    done = []
    for progress in results:
        watcher.stage_advanced(progress.case)
        done.append(progress)
    return done


def _in_order(progresses: list[Progress], todo: list[Case]) -> list[Progress]:
    """Workers finish in any order; the suite's own is kept."""
    position = {case.id: index for index, case in enumerate(todo)}
    return sorted(progresses, key=lambda progress: position[progress.case.id])


def _vouched(records: Sequence[Record], case: Wanted, origin: Origin) -> Record | None:
    return next((record for record in reversed(records) if origin.vouches_for(record, case)), None)


def complete_run(earlier: list[Run], wanted: Sequence[Wanted], origin: Origin) -> Run | None:
    """The latest finished run that holds a good result of every wanted case."""
    for run in reversed(earlier):
        if run.finished and all(_vouched(run.records, case, origin) for case in wanted):
            return run
    return None


def unfinished(earlier: list[Run], store: Store, origin: Origin) -> Path | None:
    """The latest interrupted run that this code, in this environment, can go on with."""
    for run in reversed(earlier):
        origins = {(record.environment, record.code.source) for record in run.records}
        ours = origins <= {(origin.environment, origin.source)}
        if not run.finished and ours and not store.is_written_now(run.path):
            return run.path
    return None


def take_over(
    earlier: list[Run], wanted: Sequence[AnyWanted], origin: Origin, writer: Writer
) -> list[AnyWanted]:
    """Copy earlier good results into the run being written; returns the cases still to do."""
    todo = []
    for case in wanted:
        if _vouched(writer.records, case, origin):
            continue
        for run in reversed(earlier):
            if record := _vouched(run.records, case, origin):
                writer.append(record.reused_in(writer.run_id), run.arrays(record))
                break
        else:
            todo.append(case)
    return todo
