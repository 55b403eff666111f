"""One case in three steps: train it, time it, measure it; and what goes wrong becomes a status.

Training and measuring may happen in worker processes, many cases at once. Timing needs the machine to
itself, so the analyses that say so (`exclusive`) run alone, between the two.
"""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentbench import data as datasets
from latentbench.analysis.catalogue import ANALYSES, METRICS
from latentbench.analysis.core.metric import Metric
from latentbench.analysis.core.registry import Measurement
from latentbench.analysis.core.subject import DataContext, Subject
from latentbench.analysis.features.stored_judges import load_judge
from latentbench.analysis.performance.memory import is_out_of_memory
from latentbench.bench.run.case import Case
from latentbench.bench.store.environment import code
from latentbench.bench.store.per_example import packed
from latentbench.bench.store.record import Record, RecordedModel, Seconds, Status
from latentbench.data.errors import LatentbenchError
from latentbench.models import checkpoint as checkpoints
from latentbench.models.checkpoint import Checkpoint
from latentbench.models.protocols import Autoencoder, ImageTextModel
from latentbench.models.seeds import derive
from latentbench.models.training.history import Diverged
from latentbench.models.zoo import can_stack, takes_seed, train_or_load, train_or_load_stack

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class TrainingOptions:
    """How models are trained; none of it changes what a case is."""

    use_cache: bool = True
    stacked: bool = False
    """Whether models that share a shape are trained as one."""


@dataclass
class Progress:
    """What has come of a case so far. It travels between the processes."""

    case: Case
    status: Status = "ok"
    reason: str | None = None
    details: str | None = None
    """The traceback of an unexpected failure."""
    metrics: list[Metric] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    checkpoint: Path | None = None
    """Where the trained model lies."""
    train_seconds: float | None = None
    evaluate_seconds: float = 0.0

    def fail(self, status: Status, reason: str, details: str | None = None) -> None:
        """Note the first thing that went wrong."""
        if self.status == "ok":
            self.status, self.reason, self.details = status, reason, details

    def add(self, measurement: Measurement, analysis: str) -> None:
        """Keep the metrics, the arrays under the analysis's name, and the examples under their metric's."""
        self.metrics += measurement.metrics
        self.arrays.update(packed(measurement.examples))
        self.arrays.update({f"{analysis}/{name}": array for name, array in measurement.arrays.items()})


def open_context(data: str, folder: Path, device: str) -> DataContext:
    """Load the data with their judge, which is trained if none is shipped or cached. Once per process."""
    images = datasets.load(data, relative_to=folder)
    # A judge is trained on train images; without them there is no judge.
    judge = None if images.train is images.test else load_judge(images)
    return DataContext(images, judge, torch.device(device))


def train(cases: Sequence[Case], context: DataContext, options: TrainingOptions) -> list[Progress]:
    """Train the models of cases, or find them in the cache; many are trained as one stack where they can be.

    Raises nothing but KeyboardInterrupt.
    """
    progresses = [Progress(case) for case in cases]
    try:
        for progress, outcome in zip(progresses, _trained(cases, context, options), strict=True):
            _note(progress, outcome)
    except LatentbenchError as error:
        for progress in progresses:
            progress.fail("skipped", str(error))
    except Exception as error:
        for progress in progresses:
            _fail(progress, "training", error)
    return progresses


def _trained(
    cases: Sequence[Case], context: DataContext, options: TrainingOptions
) -> list[Checkpoint | Diverged]:
    trainings = [case.training for case in cases]
    load_or_train: dict[str, Any] = {"device": context.device, "use_cache": options.use_cache}
    if options.stacked and can_stack(trainings[0].spec):
        return train_or_load_stack(trainings, context.data, **load_or_train)
    try:
        (training,) = trainings
        return [train_or_load(training, context.data, **load_or_train)]
    except Diverged as diverged:
        return [diverged]


def _note(progress: Progress, outcome: Checkpoint | Diverged) -> None:
    """What became of a training."""
    if isinstance(outcome, Diverged):
        progress.fail("diverged", str(outcome))
    else:
        progress.checkpoint, progress.train_seconds = outcome.folder, outcome.card.train_seconds
    progress.arrays.update({f"history/{name}": array for name, array in outcome.history.arrays().items()})


def measure(progress: Progress, context: DataContext, *, exclusive: bool) -> Progress:
    """Add what the exclusive analyses, or all the others, measure of a trained case.

    An analysis that fails leaves its metrics null and the others alone.
    """
    names = [name for name in progress.case.analyses if ANALYSES[name].exclusive == exclusive]
    if progress.checkpoint is None:
        return _not_measured(progress, names)
    if not names:
        return progress
    began = time.perf_counter()
    try:
        subject = _subject(progress.case, progress.checkpoint, context)
    except Exception as error:
        _fail(progress, "loading the trained model", error)
        return _not_measured(progress, names)
    for name in names:
        try:
            progress.add(ANALYSES[name].measure(subject), name)
        except Exception as error:
            progress.add(ANALYSES[name].all_missing(f"failed: {_one_line(error)}"), name)
            _fail(progress, name, error)
    progress.evaluate_seconds += time.perf_counter() - began
    return progress


def _not_measured(progress: Progress, names: Sequence[str]) -> Progress:
    """Every metric of these analyses null, for the reason that the case has."""
    for name in names:
        progress.add(ANALYSES[name].all_missing(f"not measured: {progress.reason}"), name)
    return progress


def record(progress: Progress, *, suite: str, run: str, environment: str) -> Record:
    """Return the record that a case becomes, its metrics in the order of the tables."""
    case = progress.case
    order = list(METRICS)
    return Record(
        suite=suite,
        run=run,
        case=case.id,
        model=RecordedModel.of(case.spec),
        data=case.data,
        recipe=case.recipe,
        seed=case.seed,
        analyses=case.analyses,
        weights=checkpoints.weights_sha256(progress.checkpoint) if progress.checkpoint else None,
        trained=takes_seed(case.spec),
        status=progress.status,
        reason=progress.reason,
        metrics=tuple(sorted(progress.metrics, key=lambda metric: order.index(metric.name))),
        environment=environment,
        code=code(),
        started=progress.started,
        seconds=Seconds(train=progress.train_seconds, evaluate=progress.evaluate_seconds),
    )


def _subject(case: Case, folder: Path, context: DataContext) -> Subject:
    """The trained model, ready to be measured."""
    trained = checkpoints.load(folder)
    model = trained.model.to(context.device)
    if not isinstance(model, Autoencoder | ImageTextModel):
        raise TypeError(f"{type(model).__name__} has neither encode/decode nor encode_image/encode_text")
    return Subject(
        model,
        context,
        seed=derive(case.seed, "measure"),
        # Steps change the weights, so they are taken on a copy.
        train_step=copy.deepcopy(model).train_step(case.recipe),
        history=trained.history,
    )


def _fail(progress: Progress, during: str, error: Exception) -> None:
    status: Status = "out_of_memory" if is_out_of_memory(error) else "failed"
    details = "".join(traceback.format_exception(error))
    progress.fail(status, f"{during}: {_one_line(error)}", details)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
