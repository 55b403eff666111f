"""Takes one case through its steps: training, timing and measuring; an error becomes a status.

Each step may run in a worker process, and is in the journal when it is finished. Timing needs the machine
to itself, so `exclusive` analyses run one case at a time, between the other two. The file is long because it
has every step of a case, and what a record contains of each.
"""

from __future__ import annotations

import copy
import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from latentbench import data as datasets
from latentbench.analysis.catalogue import ANALYSES, METRICS
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.metric import base_name
from latentbench.analysis.core.registry import Measurement
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.core.test_pass import TestPass
from latentbench.analysis.features.extractors import Absent, Feature
from latentbench.analysis.features.extractors import load as load_feature
from latentbench.analysis.features.request import FeatureRequest
from latentbench.analysis.performance.memory import is_out_of_memory
from latentbench.bench.executors.protocol import Died
from latentbench.bench.provenance.code import code
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import TRAINING, Arrays, Journal, JournalStep
from latentbench.bench.store.per_example import packed
from latentbench.bench.store.record import JudgeReference, Record, RecordedModel, Seconds, Status
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.reading.pixel_file import MappedSplit
from latentbench.data.request import DataRequest
from latentbench.data.storage.cache import CacheError
from latentbench.models import checkpoint as checkpoints
from latentbench.models.checkpoint import Checkpoint
from latentbench.models.protocols import Encoder, ImageCodec, ImageTextModel
from latentbench.models.resolver import Resolver
from latentbench.models.seeds import derive
from latentbench.models.training.convergence import still_falling
from latentbench.models.training.history import Diverged, History
from latentbench.models.zoo import can_stack, takes_seed, train_or_load, train_or_load_stack

HISTORY = "history/"
"""The beginning of the names of a training's arrays."""


@dataclass(frozen=True)
class TrainingOptions:
    """The options of training; none of them changes the identity of a case."""

    use_cache: bool = True
    stacked: bool = False
    """True if models that share a shape are trained as one."""


@dataclass
class Progress:
    """A case and its finished steps, in order of completion."""

    case: Case
    steps: dict[str, JournalStep] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Notes for the user on its training."""
    shard: tuple[int, int] | None = None
    """For a pass over a part of the test images: the number of the part, and of how many."""
    passed: TestPass | None = None
    """The pass over that part, or over all test images, if other workers did it."""

    @property
    def failure(self) -> JournalStep | None:
        """The first step that failed."""
        return next((step for step in self.steps.values() if step.status != "ok"), None)

    @property
    def reason(self) -> str | None:
        """The reason why the case is not `ok`."""
        return self.failure.reason if self.failure else None

    @property
    def arrays(self) -> Arrays:
        """The arrays of all steps."""
        return {name: array for step in self.steps.values() for name, array in step.arrays.items()}

    def missing(self, *, exclusive: bool) -> list[str]:
        """Return the analyses that are not done yet, exclusive ones or the others."""
        return [
            name
            for name in self.case.analyses
            if ANALYSES[name].exclusive == exclusive and name not in self.steps
        ]


def data_opener(data: ImageData, request: DataRequest, folder: Path) -> Callable[[], ImageData]:
    """Return how a worker process gets the data: it maps the file that holds them, or reads them again."""
    if isinstance(data.test, MappedSplit):
        return partial(pickle.loads, pickle.dumps(data))
    return partial(datasets.load, request, relative_to=folder)


def open_context(
    open_data: Callable[[], ImageData],
    device: str,
    *,
    judged: bool,
    open_features: Callable[[], tuple[Feature, ...]] = tuple,
) -> DataContext:
    """Open the data, and load their judges and features if an analysis needs them. Once per process."""
    return DataContext.of(open_data(), torch.device(device), judged=judged, features=open_features())


def features_opener(
    loaded: Sequence[Feature], requests: Sequence[FeatureRequest], resolver: Resolver
) -> Callable[[], tuple[Feature, ...]]:
    """Return how a worker process gets features: it loads them, but does not seek absent weights again."""
    known = [each if isinstance(each, Absent) else each.sha256 for each in loaded]
    return partial(_open_features, known, requests, resolver)


def _open_features(
    known: Sequence[Absent | str], requests: Sequence[FeatureRequest], resolver: Resolver
) -> tuple[Feature, ...]:
    """Load features. Raises LatentbenchError for other weights than those that the run was started with."""
    found: list[Feature] = []
    for expected, request in zip(known, requests, strict=True):
        feature = expected if isinstance(expected, Absent) else load_feature(request, resolver)
        if not isinstance(expected, Absent) and feature.sha256 != expected:
            raise LatentbenchError(f"{request}: the weights here are not those where the run was started")
        found.append(feature)
    return tuple(found)


def train(
    progresses: Sequence[Progress], context: DataContext, *, options: TrainingOptions, journal: Journal
) -> list[Progress]:
    """Train the models of cases, or load them from the cache; models that share a shape as one stack.

    Raises CacheError if the models cannot be stored, and nothing else.
    """
    began = _now()
    try:
        outcomes = _trained(progresses, context, options)
        steps = [_training(outcome, began) for outcome in outcomes]
    except CacheError:
        raise
    except LatentbenchError as error:
        steps = [JournalStep(name=TRAINING, started=began, status="skipped", reason=str(error))] * len(
            progresses
        )
    except Exception as error:
        steps = [JournalStep(name=TRAINING, started=began, **_failure(TRAINING, error))] * len(progresses)
    for progress, step in zip(progresses, steps, strict=True):
        progress.steps[TRAINING] = journal.keep(progress.case, step)
    return list(progresses)


def _trained(
    progresses: Sequence[Progress], context: DataContext, options: TrainingOptions
) -> list[Checkpoint | Diverged]:
    trainings = [progress.case.training for progress in progresses]
    load_or_train: dict[str, Any] = {
        "device": context.device,
        "note": progresses[0].notes.append,
        "use_cache": options.use_cache,
    }
    if options.stacked and can_stack(trainings[0].spec):
        return train_or_load_stack(trainings, context.data, **load_or_train)
    try:
        (training,) = trainings
        return [train_or_load(training, context.data, **load_or_train)]
    except Diverged as diverged:
        return [diverged]


def _training(outcome: Checkpoint | Diverged, began: str) -> JournalStep:
    """Return the step for a training."""
    arrays = {f"{HISTORY}{name}": array for name, array in outcome.history.arrays().items()}
    if isinstance(outcome, Diverged):
        return JournalStep(
            name=TRAINING, started=began, status="diverged", reason=str(outcome), arrays=arrays
        )
    return JournalStep(
        name=TRAINING,
        started=began,
        seconds=outcome.card.train_seconds,
        checkpoint=outcome.folder,
        arrays=arrays,
    )


def key(progresses: Sequence[Progress]) -> str:
    """Name the unit of work on some cases."""
    shards = ["" if progress.shard is None else f"/{progress.shard[0]}" for progress in progresses]
    return "+".join(f"{progress.case.id}{shard}" for progress, shard in zip(progresses, shards, strict=True))


def measure_all(
    progresses: Sequence[Progress],
    context: DataContext,
    *,
    exclusive: bool,
    journal: Journal,
    most: int | None = None,
) -> list[Progress]:
    """Measure each of some cases, see `measure`."""
    return [
        measure(progress, context, exclusive=exclusive, journal=journal, most=most) for progress in progresses
    ]


def measure(
    progress: Progress, context: DataContext, *, exclusive: bool, journal: Journal, most: int | None = None
) -> Progress:
    """Add the results of the exclusive analyses, or of all others, for a trained case; of at most `most`.

    An analysis that fails leaves its metrics null and the others unchanged.
    """
    names = progress.missing(exclusive=exclusive)[:most]
    training = progress.steps[TRAINING]
    if not names:
        return progress
    if training.checkpoint is None:
        for name in names:
            progress.steps[name] = _without_numbers(name, progress.case, f"not measured: {progress.reason}")
        return progress
    try:
        subject = _subject(progress.case, training, context)
        if progress.passed is not None:
            subject.tested = progress.passed
    except Exception as error:
        failure = _failure("loading the trained model", error)
        for name in names:
            why = f"not measured: {failure['reason']}"
            progress.steps[name] = _without_numbers(name, progress.case, why, **failure)
        return progress
    for name in names:
        progress.steps[name] = journal.keep(progress.case, _analysed(name, subject))
    progress.passed = None
    return progress


def pass_over_shard(
    progresses: Sequence[Progress], context: DataContext, *, journal: Journal
) -> list[Progress]:
    """Encode and decode a part of the test images, for each case that names one.

    A case that fails has no pass: measuring it then fails in the same way, and says why.
    """
    del journal
    for progress in progresses:
        assert progress.shard is not None
        with suppress(Exception):
            subject = _subject(progress.case, progress.steps[TRAINING], context)
            progress.passed = subject.pass_over(*progress.shard)
    return list(progresses)


def _analysed(name: str, subject: Subject) -> JournalStep:
    started, began = _now(), time.perf_counter()
    failure: dict[str, Any] = {}
    try:
        measurement = ANALYSES[name].measure(subject)
    except Exception as error:
        measurement = ANALYSES[name].all_missing(f"failed: {_one_line(error)}", subject.context.feature_names)
        failure = _failure(name, error)
    return JournalStep(
        name=name,
        started=started,
        seconds=time.perf_counter() - began,
        metrics=measurement.metrics,
        judges=_judges(subject.context) if ANALYSES[name].needs_judge else (),
        arrays=_arrays(measurement, name),
        **failure,
    )


def _judges(context: DataContext) -> tuple[JudgeReference, ...]:
    return tuple(JudgeReference(hash=judge.hash, accuracy=judge.accuracy) for judge in context.judges)


def _arrays(measurement: Measurement, analysis: str) -> Arrays:
    """Name the arrays after their analysis, and the examples after their metric."""
    return packed(measurement.examples, measurement.clusters) | {
        f"{analysis}/{name}": array for name, array in measurement.arrays.items()
    }


def _without_numbers(name: str, case: Case, why: str, **failure: Any) -> JournalStep:
    """Return the step of an analysis that failed: every metric null for one reason."""
    missing = ANALYSES[name].all_missing(why, [feature.name for feature in case.features])
    return JournalStep(name=name, started=_now(), metrics=missing.metrics, **failure)


def killed(progress: Progress, died: Died, step: str, journal: Journal) -> Progress:
    """Record that the process of a step died, as the outcome of that step."""
    failure: dict[str, Any] = {
        "status": "out_of_memory" if died.out_of_memory else "failed",
        "reason": f"{step}: {died}",
    }
    outcome = (
        JournalStep(name=step, started=_now(), **failure)
        if step == TRAINING
        else _without_numbers(step, progress.case, f"failed: {died}", **failure)
    )
    progress.steps[step] = journal.keep(progress.case, outcome)
    return progress


def record(progress: Progress, *, suite: str, run: str, environment: str, threads: int) -> Record:
    """Return the record of a case, its metrics in the order of the tables."""
    case, training = progress.case, progress.steps[TRAINING]
    order = {name: position for position, name in enumerate(METRICS)}
    measured = [step for step in progress.steps.values() if step.name != TRAINING]
    metrics = [metric for step in measured for metric in step.metrics]
    return Record(
        suite=suite,
        run=run,
        case=case.id,
        model=RecordedModel.of(case.spec),
        data=case.data,
        recipe=case.recipe,
        seed=case.seed,
        analyses=case.analyses,
        weights=_weights_sha256(training.checkpoint) if training.checkpoint else None,
        trained=takes_seed(case.spec),
        still_falling=still_falling(_history(training)),
        status=progress.failure.status if progress.failure else "ok",
        reason=progress.reason,
        metrics=tuple(sorted(metrics, key=lambda metric: order[base_name(metric.name)])),
        judges=tuple(dict.fromkeys(judge for step in measured for judge in step.judges)),
        features=case.features,
        environment=next((step.environment for step in reversed(measured) if step.environment), environment),
        nodes=tuple(dict.fromkeys(step.node for step in progress.steps.values() if step.node)),
        family_code=case.family_code,
        threads=threads,
        code=code(),
        started=training.started,
        seconds=Seconds(train=training.seconds, evaluate=sum(step.seconds or 0.0 for step in measured)),
    )


def _weights_sha256(folder: Path) -> str | None:
    """Return the sha256 of a checkpoint's weights, None if its card was lost or changed meanwhile."""
    try:
        return checkpoints.read_card(folder).files[checkpoints.WEIGHTS]
    except LatentbenchError:
        return None


def _history(training: JournalStep) -> History:
    """Return what was recorded of a training."""
    recorded = training.arrays.items()
    return History.of_arrays({name.removeprefix(HISTORY): array for name, array in recorded})


def _subject(case: Case, training: JournalStep, context: DataContext) -> Subject:
    """Load the trained model, ready to be measured."""
    assert training.checkpoint is not None
    trained = checkpoints.load(training.checkpoint)
    model = trained.model.to(context.device)
    if not isinstance(model, Encoder | ImageCodec | ImageTextModel):
        raise TypeError(f"{type(model).__name__} has neither encode/decode nor encode_image/encode_text")
    return Subject(
        model,
        context,
        seed=derive(case.seed, "measure"),
        # Steps change the weights, so they run on a copy.
        train_step=copy.deepcopy(model).train_step(case.recipe),
        history=trained.history,
    )


def _failure(during: str, error: Exception) -> dict[str, Any]:
    """Return the fields of a step that failed unexpectedly."""
    status: Status = "out_of_memory" if is_out_of_memory(error) else "failed"
    details = "".join(traceback.format_exception(error))
    return {"status": status, "reason": f"{during}: {_one_line(error)}", "details": details}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
