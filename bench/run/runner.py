"""The runner: turns a suite into a finished run. It does not train or measure anything itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch

from latentbench import data as datasets
from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.features.judge import LARGEST_SIDE
from latentbench.analysis.features.stored_judges import load_judges
from latentbench.analysis.performance.cores import threads, usable_cores
from latentbench.analysis.performance.memory import free_memory
from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.local import LocalProcesses, ThisProcess, default_jobs, threads_of
from latentbench.bench.executors.protocol import Died
from latentbench.bench.run import stages
from latentbench.bench.run.case import Case, cases
from latentbench.bench.run.journal import TRAINING, Journal
from latentbench.bench.run.resumable import OpenRun, Request, Watcher, run_resumable
from latentbench.bench.run.stages import Progress, TrainingOptions
from latentbench.bench.run.suite import Suite, resolved
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.data.images import ImageData
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.zoo import check_fits, prepare_cache, stacks

STACK_SHARE = 0.5
"""The share of the free memory for training stacks; the rest is for the data and as a reserve."""

JUDGE_BATCH = 256
FEW_PIXELS = 100_000
"""The size of a batch below which several threads wait for each other longer than they compute."""


@dataclass(frozen=True)
class Options:
    """The way in which a suite is run. No option changes the identity of a case."""

    seeds: tuple[int, ...] | None = None
    """The seeds to run; the suite's own if None."""
    device: str = "auto"
    jobs: int | None = None
    fresh: bool = False
    """True if everything is trained and measured again: no earlier result and no cached model is used."""
    use_cache: bool = True
    stack: bool | None = None
    """True if models that share a shape are trained as one; None: on a GPU, where it is faster."""
    allow_pickle: bool = False
    """True if weights of imported models may come from a pickle."""
    this_process: bool = False
    """True if everything runs in this process, as a debugger needs it."""


def run_suite(suite: Suite, store: Store, options: Options, watcher: Watcher) -> Run:
    """Run the cases of a suite that earlier runs lack, one record per case; return the finished run.

    The same call resumes an interrupted run, with the models that were already trained.
    """
    store.prepare()
    prepare_cache()
    device = find_device(options.device)
    jobs = options.jobs or default_jobs(device)
    data = _load(suite, watcher)
    for note in data.notes:
        watcher.note(note)
    suite = resolved(suite, data, allow_pickle=options.allow_pickle)
    for entry in suite.entries:
        check_fits(entry.spec, data.image_shape, entry.where)
    judged = any(ANALYSES[name].needs_judge for name in suite.analyses)
    request = Request(
        suite.name,
        "cases",
        cases(suite, data, options.seeds or suite.seeds),
        device,
        fresh=options.fresh,
        judges=partial(_prepare_judges, data, device, watcher) if judged else tuple,
    )

    def produce(run: OpenRun[Case]) -> None:
        open_data = stages.data_opener(data, suite.data, suite.folder)
        open_context = partial(stages.open_context, open_data, str(device), judged=judged)
        stacked = device.type == "cuda" if options.stack is None else options.stack
        size, each = min(jobs, len(run.todo)), threads_of(jobs)
        executor = (
            ThisProcess(each, open_context)
            if options.this_process
            else LocalProcesses(size, each, open_context)
        )
        with stopped_at_the_end(executor):
            team = _Team(Crew(executor, key=stages.key), size, each, free_memory(device) * STACK_SHARE / size)
            journal = Journal(run.origin)
            journal.prune()
            for case in run.todo if options.fresh else ():
                journal.drop(case)
            training = TrainingOptions(options.use_cache and not options.fresh, stacked)
            job = _Job(run, team, training, journal, data.image_shape)
            # Complete seeds, so that an interrupted run has some; but one stack trains all seeds well.
            for _, group in groupby(run.todo, key=lambda case: None if stacked else case.seed):
                job.run_cases(list(group))

    return run_resumable(request, store, watcher, produce)


def _load(suite: Suite, watcher: Watcher) -> ImageData:
    """Load the data; images from files are decoded once, into a file that all workers map."""
    shown = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal shown
        if done == 0:
            watcher.stage_started(what, total, "images")
            shown = 0
        for _ in range(shown, done):
            watcher.stage_advanced(str(suite.data))
        shown = done

    return datasets.load(suite.data, relative_to=suite.folder, mapped=True, progress=progress)


def _prepare_judges(data: ImageData, device: torch.device, watcher: Watcher) -> tuple[str, ...]:
    """Return the hashes of the data's judges.

    Judges that are missing are trained once, before there are workers that would each train them.
    """

    def progress(number: int, count: int) -> Callable[[int, int], None]:
        def step_done(done: int, total: int) -> None:
            if done == 1:
                watcher.stage_started(f"training judge {number} of {count}", total, "steps at most")
            watcher.stage_advanced(data.name)

        return step_done

    if data.test_only:
        return ()
    channels, *sides = data.image_shape
    small = JUDGE_BATCH * channels * math.prod(min(side, LARGEST_SIDE) for side in sides) < FEW_PIXELS
    with threads(1 if small else usable_cores()):
        judges = load_judges(data, device=device, progress=progress, note=watcher.note)
    return tuple(judge.hash for judge in judges)


@dataclass(frozen=True)
class _Team:
    """The workers of a run."""

    crew: Crew[list[Progress]]
    size: int
    threads: int
    """The threads of each worker."""
    stack_bytes: float
    """The memory that a worker has for training a stack."""


@dataclass(frozen=True)
class _Job:
    """Takes cases through training, timing and measuring, and writes a record of each."""

    run: OpenRun[Case]
    team: _Team
    training: TrainingOptions
    journal: Journal
    image_shape: ImageShape

    def run_cases(self, todo: list[Case]) -> None:
        """Complete every case; a record is written as soon as it is complete."""
        progresses = [Progress(case, self.journal.steps(case)) for case in todo]
        trained = self._stage("training", self._train(progresses), len(todo))
        timed = self._stage("timing", self._measure(_in_order(trained, todo), exclusive=True), len(todo))
        measured = self._measure(_in_order(timed, todo), exclusive=False)
        for progress in self._stage("measuring", measured, len(todo)):
            self._write(progress)

    def _train(self, progresses: list[Progress]) -> Iterator[Progress]:
        todo = [progress for progress in progresses if TRAINING not in progress.steps]
        yield from (progress for progress in progresses if TRAINING in progress.steps)
        train = partial(stages.train, options=self.training, journal=self.journal)
        for group, outcome in self.team.crew.map(train, self._training_groups(todo)):
            if not isinstance(outcome, Died):
                for note in (note for progress in outcome for note in progress.notes):
                    self.run.watcher.note(note)
                yield from outcome
                continue
            # Members of a stack whose process died are trained one by one, so that the others have results.
            for progress in group:
                alone = self.team.crew.alone(train, [progress]) if len(group) > 1 else outcome
                if isinstance(alone, Died):
                    yield stages.killed(progress, alone, TRAINING, self.journal)
                else:
                    yield from alone

    def _measure(self, progresses: list[Progress], *, exclusive: bool) -> Iterator[Progress]:
        measure = partial(stages.measure_all, exclusive=exclusive, journal=self.journal)
        todo = [[progress] for progress in progresses if progress.missing(exclusive=exclusive)]
        yield from (progress for progress in progresses if not progress.missing(exclusive=exclusive))
        for (progress,), first in self.team.crew.map(measure, todo, exclusive=exclusive):
            outcome = first
            while isinstance(outcome, Died):
                # The journal has the finished analyses; the process died in the next one.
                progress.steps.update(self.journal.steps(progress.case))
                in_hand = progress.missing(exclusive=exclusive)[0]
                stages.killed(progress, outcome, in_hand, self.journal)
                outcome = self.team.crew.alone(measure, [progress], exclusive=exclusive)
            yield from outcome

    def _write(self, progress: Progress) -> None:
        record = stages.record(
            progress,
            suite=self.run.suite,
            run=self.run.writer.run_id,
            environment=self.run.origin.environment,
            threads=self.team.threads,
        )
        self.run.write(record, progress.arrays, progress.failure.details if progress.failure else None)
        self.journal.drop(progress.case)

    def _training_groups(self, todo: list[Progress]) -> list[list[Progress]]:
        """Return the cases that a worker trains together: one, or the largest stack that fits the memory."""
        if not self.training.stacked or not todo:
            return [[progress] for progress in todo]
        positions = stacks(
            [progress.case.training for progress in todo],
            self.image_shape,
            memory_bytes=self.team.stack_bytes,
            largest=math.ceil(len(todo) / self.team.size),
        )
        return [[todo[position] for position in stack] for stack in positions]

    def _stage(self, name: str, results: Iterable[Progress], total: int) -> Iterator[Progress]:
        """Pass the results of a stage on, and report each."""
        self.run.watcher.stage_started(name, total, "models")
        for progress in results:
            self.run.watcher.stage_advanced(progress.case.label)
            yield progress


def _in_order(progresses: Iterable[Progress], todo: list[Case]) -> list[Progress]:
    """Sort cases in the order of the suite: workers finish in any order."""
    position = {case.id: index for index, case in enumerate(todo)}
    return sorted(progresses, key=lambda progress: position[progress.case.id])
