"""The runner: turns a suite into a finished run. It does not train or measure anything itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch

from latentbench import data as datasets
from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.features.extractors import Absent, Feature, Network, load_all
from latentbench.analysis.features.judge import LARGEST_SIDE
from latentbench.analysis.features.stored_judges import load_judges
from latentbench.analysis.generation.feature_distances import OF_FEATURES
from latentbench.analysis.performance.cores import threads, usable_cores
from latentbench.analysis.performance.memory import free_memory
from latentbench.analysis.protocols.by_protocol import OF_PROTOCOLS, requested
from latentbench.bench.executors.local import LocalProcesses, ThisProcess, default_jobs, threads_of
from latentbench.bench.executors.protocol import Executor
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.run.case import Case, cases
from latentbench.bench.run.job import Job
from latentbench.bench.run.journal import Journal
from latentbench.bench.run.resumable import OpenRun, Request, Watcher, run_resumable
from latentbench.bench.run.stages import contexts
from latentbench.bench.run.stages.training import TrainingOptions
from latentbench.bench.run.suite import Suite, resolved
from latentbench.bench.run.team import Team, local_team, remote_team
from latentbench.bench.store.records.record import FeatureReference
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.resolver import Resolver
from latentbench.models.zoo import check_fits, prepare_cache

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
    executor: ExecutorSettings | None = None
    """Where the work runs; as the suite says if None."""


def run_suite(suite: Suite, store: Store, options: Options, watcher: Watcher) -> Run:
    """Run the cases of a suite that earlier runs lack, one record per case; return the finished run.

    The same call resumes an interrupted run, with the models that were already trained.
    """
    store.prepare()
    prepare_cache()
    settings = options.executor or suite.executor or ExecutorSettings()
    if settings.is_remote and options.jobs is not None:
        raise LatentbenchError(f"--jobs has no effect here: the executor {settings.name} counts its workers")
    # Remote workers find their own devices.
    device = find_device("auto" if settings.is_remote else options.device)
    data = _load(suite, watcher)
    for note in data.notes:
        watcher.note(note)
    suite = resolved(suite, data, allow_pickle=options.allow_pickle)
    for entry in suite.entries:
        check_fits(entry.spec, data.image_shape, entry.where)
    judged = any(ANALYSES[name].needs_judge for name in suite.analyses)
    resolver = Resolver(suite.folder, options.allow_pickle)
    features = _load_features(suite, resolver, watcher)
    protocols = requested(suite.protocols, suite.data, suite.data_folder) * (OF_PROTOCOLS in suite.analyses)
    requests = suite.features if features else ()
    open_features = contexts.features_opener(features, requests, resolver, protocols)
    request = Request(
        suite.name,
        "cases",
        cases(suite, data, options.seeds or suite.seeds, tuple(map(_reference, (*features, *protocols)))),
        device,
        fresh=options.fresh,
        judges=partial(_prepare_judges, data, device, watcher) if judged else tuple,
        elsewhere=settings.is_remote,
    )

    def open_team(run: OpenRun[Case], journal: Journal) -> AbstractContextManager[Team]:
        if settings.is_remote:
            judges = load_judges(data, device=device) if judged and not data.test_only else ()
            context = contexts.remote_context(
                data,
                suite.data,
                suite.data_folder,
                judges,
                options.device,
                settings.name,
                open_features,
            )
            return remote_team(settings, context, journal, store.remember_environment, watcher.note)
        open_data = contexts.data_opener(data, suite.data, suite.data_folder)
        open_context = partial(
            contexts.open_context, open_data, str(device), judged=judged, open_features=open_features
        )
        jobs = options.jobs or default_jobs(device)
        size = min(jobs, max(len(run.todo), settings.shards))
        if options.this_process:
            here: Executor = ThisProcess(threads_of(jobs), open_context)
        else:
            here = LocalProcesses(size, threads_of(jobs), open_context)
        return local_team(here, size, threads_of(jobs), free_memory(device), journal)

    def produce(run: OpenRun[Case]) -> None:
        on_gpu = settings.gpus > 0 if settings.is_remote else device.type == "cuda"
        stacked = on_gpu if options.stack is None else options.stack
        # What nodes did is not taken for the work of this machine.
        place = settings.name if settings.is_remote else run.origin.environment
        journal = Journal(replace(run.origin, environment=place))
        journal.prune()
        for case in run.todo if options.fresh else ():
            journal.drop(case)
        with open_team(run, journal) as team:
            training = TrainingOptions(options.use_cache and not options.fresh, stacked)
            job = Job(run, team, training, journal, data, settings.shards)
            # Complete seeds, so that an interrupted run has some; but one stack trains all seeds well, and
            # many machines are to be busy.
            together = stacked or settings.is_remote
            for _, group in groupby(run.todo, key=lambda case: None if together else case.seed):
                job.run_cases(list(group))

    return run_resumable(request, store, watcher, produce)


def _load_features(suite: Suite, resolver: Resolver, watcher: Watcher) -> tuple[Network, ...]:
    """Load the features if an analysis needs them, and note those that are absent."""
    if not {*OF_FEATURES, OF_PROTOCOLS} & set(suite.analyses):
        return ()
    features = load_all(suite.features, resolver)
    for feature in features:
        if isinstance(feature, Absent):
            watcher.note(f"metrics of {feature.name} are null: {feature.reason}")
    return features


def _reference(feature: Feature) -> FeatureReference:
    return FeatureReference(name=feature.name, weights=feature.sha256)


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

    return datasets.load(suite.data, relative_to=suite.data_folder, mapped=True, progress=progress)


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
