"""The runner: a suite in, a finished run out. It trains nothing and measures nothing itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby

import torch

from latentbench import data as datasets
from latentbench.analysis.core.subject import DataContext
from latentbench.analysis.performance.memory import free_memory
from latentbench.bench.run import stages
from latentbench.bench.run.case import Case, cases
from latentbench.bench.run.resumable import OpenRun, Request, Watcher, resolve_device, run_resumable
from latentbench.bench.run.stages import Progress, TrainingOptions
from latentbench.bench.run.suite import Suite, resolved
from latentbench.bench.run.workers import Workers, default_jobs, threads_of, workers
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.zoo import check_fits, prepare_cache, stacks

STACK_SHARE = 0.5
"""Of the free memory, for training stacks; the rest is for the data and for what was not foreseen."""


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


def run_suite(suite: Suite, store: Store, options: Options, watcher: Watcher) -> Run:
    """Run what earlier runs do not hold of a suite, one record per case; returns the finished run.

    An interrupted run is resumed by the same call, with the models that were trained.
    """
    store.prepare()
    prepare_cache()
    device = resolve_device(options.device)
    jobs = options.jobs or default_jobs(device)
    data = datasets.load(suite.data, relative_to=suite.folder)
    for note in data.notes:
        watcher.note(note)
    suite = resolved(suite, data, allow_pickle=options.allow_pickle)
    for entry in suite.entries:
        check_fits(entry.spec, data.image_shape, entry.where)
    request = Request(
        suite.name,
        "cases",
        cases(suite, data, options.seeds or suite.seeds),
        device,
        threads_of(jobs),
        fresh=options.fresh,
    )

    def produce(run: OpenRun[Case]) -> None:
        open_context = partial(stages.open_context, suite.data, suite.folder, str(device))
        open_context()  # Before there are workers: a judge that has to be trained is trained once.
        stacked = device.type == "cuda" if options.stack is None else options.stack
        with workers(min(jobs, len(run.todo)), request.threads, open_context) as crew:
            job = _Job(run, crew, TrainingOptions(options.use_cache, stacked), data.image_shape, device)
            # Whole seeds, so that an interrupted run has some; but one stack trains all seeds well.
            for _, group in groupby(run.todo, key=lambda case: None if stacked else case.seed):
                job.run_cases(list(group))

    return run_resumable(request, store, watcher, produce)


@dataclass(frozen=True)
class _Job:
    """Takes cases through training, timing and measuring, and writes a record of each."""

    run: OpenRun[Case]
    crew: Workers[DataContext]
    training: TrainingOptions
    image_shape: ImageShape
    device: torch.device

    def run_cases(self, todo: list[Case]) -> None:
        """Complete every case; a record is written as soon as it is complete."""
        train = partial(stages.train, options=self.training)
        groups = self.crew.map(train, self._training_groups(todo))
        trained = self._stage("training", chain.from_iterable(groups), len(todo))
        timed = self._stage(
            "timing",
            (stages.measure(each, self.crew.context, exclusive=True) for each in _in_order(trained, todo)),
            len(todo),
        )
        measured = self.crew.map(partial(stages.measure, exclusive=False), list(timed))
        for progress in self._stage("measuring", measured, len(todo)):
            record = stages.record(
                progress,
                suite=self.run.suite,
                run=self.run.writer.run_id,
                environment=self.run.origin.environment,
            )
            self.run.write(record, progress.arrays, progress.details)

    def _training_groups(self, todo: list[Case]) -> list[list[Case]]:
        """What a worker trains at once: one case, or as large a stack as there is memory for."""
        if not self.training.stacked:
            return [[case] for case in todo]
        positions = stacks(
            [case.training for case in todo],
            self.image_shape,
            memory_bytes=free_memory(self.device) * STACK_SHARE / self.crew.jobs,
            largest=math.ceil(len(todo) / self.crew.jobs),
        )
        return [[todo[position] for position in stack] for stack in positions]

    def _stage(self, name: str, results: Iterable[Progress], total: int) -> Iterator[Progress]:
        """Pass the results of a stage on, and report each."""
        self.run.watcher.stage_started(name, total)
        for progress in results:
            self.run.watcher.stage_advanced(progress.case.label)
            yield progress


def _in_order(progresses: Iterable[Progress], todo: list[Case]) -> list[Progress]:
    """Sort cases as the suite has them: workers finish in any order."""
    position = {case.id: index for index, case in enumerate(todo)}
    return sorted(progresses, key=lambda progress: position[progress.case.id])
