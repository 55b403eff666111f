"""The runner: turns a suite into a finished run. It does not train or measure anything itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.features.extractors import Absent, ByProtocol, Feature, Network, load_all
from latentbench.analysis.features.judge import LARGEST_SIDE
from latentbench.analysis.features.stored_judges import load_judges
from latentbench.analysis.generation.feature_distances import OF_FEATURES
from latentbench.analysis.performance.cores import default_jobs, threads, threads_of
from latentbench.analysis.performance.memory import free_memory
from latentbench.analysis.prompts.own_vectors import need_words_alone
from latentbench.analysis.protocols.by_protocol import OF_PROTOCOLS, requested
from latentbench.bench.executors.local import LocalProcesses, ThisProcess
from latentbench.bench.executors.protocol import Executor
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.run.case import Case, cases
from latentbench.bench.run.data_sets import DataSets, Part, refuse_equal
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
from latentbench.data.loading import request_for_words
from latentbench.data.request import DataRequest
from latentbench.models.external.open_clip import PretrainedSpec, check_size
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
    """The executor of the run; None for the suite's."""


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
    features = _load_features(suite, Resolver(suite.folder, options.allow_pickle), watcher)
    data_sets = DataSets(suite.data, suite.data_folder, watcher)
    parts = _parts(suite, data_sets, options, features)
    runner = _Runner(suite, options, settings, device, data_sets, features, store)
    request = Request(
        suite.name,
        "cases",
        [case for part in parts for case in part.cases],
        device,
        fresh=options.fresh,
        judges=partial(runner.judges, parts, watcher),
        elsewhere=settings.is_remote,
    )
    return run_resumable(request, store, watcher, partial(runner.produce, parts))


def _parts(suite: Suite, data_sets: DataSets, options: Options, features: tuple[Network, ...]) -> list[Part]:
    """Return the cases on each data set, after opening it and trying every model on it."""
    parts = []
    words_alone = need_words_alone(ANALYSES[name] for name in suite.analyses)
    originals_alone = words_alone and all(isinstance(entry.spec, PretrainedSpec) for entry in suite.entries)
    for given in suite.data:
        with data_sets.naming(given):
            request = request_for_words(given, relative_to=suite.data_folder) if originals_alone else given
            data = data_sets.open(request)
            here = resolved(suite, data, allow_pickle=options.allow_pickle)
            for entry in here.entries:
                check_fits(entry.spec, data.image_shape, entry.where)
                if isinstance(entry.spec, PretrainedSpec) and not words_alone:  # it sees pixels too
                    check_size(entry.spec, data)
        references = tuple(map(_reference, (*features, *_protocols(suite, request))))
        parts.append(Part(request, tuple(cases(here, data, options.seeds or suite.seeds, references))))
        del data
    refuse_equal(parts)
    return parts


@dataclass(frozen=True)
class _Runner:
    """Runs the missing cases of a suite, one data set after the other."""

    suite: Suite
    options: Options
    settings: ExecutorSettings
    device: torch.device
    data_sets: DataSets
    features: tuple[Network, ...]
    store: Store

    @property
    def judged(self) -> bool:
        """True if an analysis needs judges."""
        return any(ANALYSES[name].needs_judge for name in self.suite.analyses)

    def open_features(self, request: DataRequest) -> Callable[[], tuple[Feature, ...]]:
        """Return how a worker gets the networks and the protocols for a data set."""
        requests = self.suite.features if self.features else ()
        resolver = Resolver(self.suite.folder, self.options.allow_pickle)
        return contexts.features_opener(self.features, requests, resolver, _protocols(self.suite, request))

    def judges(self, parts: Sequence[Part], watcher: Watcher) -> list[tuple[str, ...]]:
        """Return the hashes of each data set's judges, trained if necessary."""
        requests = [part.request for part in parts] if self.judged else []
        return [_prepare_judges(self.data_sets.open(request), self.device, watcher) for request in requests]

    def produce(self, parts: Sequence[Part], run: OpenRun[Case]) -> None:
        """Write a record of every missing case."""
        # Results of remote nodes do not count as results of this machine.
        place = self.settings.name if self.settings.is_remote else run.origin.environment
        journal = Journal(replace(run.origin, environment=place))
        journal.prune()
        for case in run.todo if self.options.fresh else ():
            journal.drop(case)
        for part in parts:
            todo = [case for case in run.todo if case.data.fingerprint == part.fingerprint]
            if todo:
                on = f" on {part.request}" if len(parts) > 1 else ""
                self._produce_on(self.data_sets.open(part.request), part, todo, run, journal, on)

    def _produce_on(
        self, data: ImageData, part: Part, todo: list[Case], run: OpenRun[Case], journal: Journal, on: str
    ) -> None:
        on_gpu = self.settings.gpus > 0 if self.settings.is_remote else self.device.type == "cuda"
        stacked = on_gpu if self.options.stack is None else self.options.stack
        training = TrainingOptions(self.options.use_cache and not self.options.fresh, stacked)
        # One seed after the other, so that an interrupted run has complete seeds. All seeds together if they
        # are trained as one stack, or if many machines need work.
        together = stacked or self.settings.is_remote
        with self._team(data, part.request, len(todo), journal, run.watcher) as team:
            job = Job(run, team, training, journal, data, self.settings.shards, on)
            for _, group in groupby(todo, key=lambda case: None if together else case.seed):
                job.run_cases(list(group))

    def _team(
        self, data: ImageData, request: DataRequest, count: int, journal: Journal, watcher: Watcher
    ) -> AbstractContextManager[Team]:
        """Provide the workers for `count` cases on a data set."""
        if self.settings.is_remote:
            context = contexts.remote_context(
                data,
                request,
                self.suite.data_folder,
                load_judges(data, device=self.device) if self.judged and not data.test_only else (),
                self.options.device,
                self.settings.name,
                self.open_features(request),
            )
            return remote_team(self.settings, context, journal, self.store.remember_environment, watcher.note)
        open_context = partial(
            contexts.open_context,
            self.data_sets.opener(request),
            str(self.device),
            judged=self.judged,
            open_features=self.open_features(request),
        )
        jobs = self.options.jobs or default_jobs(self.device)
        size = min(jobs, max(count, self.settings.shards))
        if self.options.this_process:
            here: Executor = ThisProcess(threads_of(jobs), open_context)
        else:
            here = LocalProcesses(size, threads_of(jobs), open_context)
        return local_team(here, size, threads_of(jobs), free_memory(self.device), journal)


def _protocols(suite: Suite, request: DataRequest) -> tuple[ByProtocol, ...]:
    """Return the protocols by which reconstructions of a data set are measured."""
    if OF_PROTOCOLS not in suite.analyses:
        return ()
    return requested(suite.protocols, request, suite.data_folder)


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
    with threads(1 if small else threads_of(jobs=1)):
        judges = load_judges(data, device=device, progress=progress, note=watcher.note)
    return tuple(judge.hash for judge in judges)
