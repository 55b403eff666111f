"""One case, from spec to record: train or load, measure, and turn whatever goes wrong into a status."""

from __future__ import annotations

import copy
import time
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.judge import load_judge
from latentbench.analysis.measurement import Measurement
from latentbench.analysis.metric import Metric
from latentbench.analysis.subject import DataContext, Subject
from latentbench.bench.case import Case
from latentbench.bench.environment import code
from latentbench.bench.record import DataReference, Record, Seconds, Status
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.checkpoint import Checkpoint
from latentbench.models.history import Diverged, History
from latentbench.models.seeds import derive
from latentbench.models.zoo import train_or_load

Arrays = dict[str, np.ndarray]


class Watcher(Protocol):
    """Is told how a case goes."""

    def training(self, done: int, total: int) -> None:
        """Steps of training done."""

    def measuring(self, analysis: str) -> None:
        """An analysis begins."""

    def problem(self, message: str, details: str) -> None:
        """Something failed; `details` is the traceback."""


@dataclass(frozen=True)
class Place:
    """Where the cases of a run are trained and measured."""

    suite: str
    run: str
    context: DataContext
    environment: str
    use_cache: bool

    @property
    def data(self) -> ImageData:
        """The data set."""
        return self.context.data

    @property
    def device(self) -> torch.device:
        """The device everything runs on."""
        return self.context.device


def data_context(data: ImageData, device: torch.device) -> DataContext:
    """The data with its judge, which is trained first where none is shipped or cached."""
    return DataContext(data, load_judge(data), device)


@dataclass
class Outcome:
    """What has come of a case so far."""

    status: Status = "ok"
    reason: str | None = None
    metrics: list[Metric] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)
    train_seconds: float | None = None
    evaluate_seconds: float | None = None

    def fail(self, status: Status, reason: str) -> None:
        """Note the first thing that went wrong."""
        if self.status == "ok":
            self.status, self.reason = status, reason

    def add(self, measurement: Measurement, analysis: str) -> None:
        """Keep the metrics, and the arrays under the analysis's name."""
        self.metrics += measurement.metrics
        self.arrays.update({f"{analysis}/{name}": array for name, array in measurement.arrays.items()})


def execute(case: Case, place: Place, watcher: Watcher) -> tuple[Record, Arrays]:
    """Train or load the model of a case and measure it. Raises nothing but KeyboardInterrupt."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    outcome = Outcome()
    trained = _train(case, place, watcher, outcome)
    if trained is None:
        for name in case.analyses:
            outcome.add(ANALYSES[name].all_missing(f"not measured: {outcome.reason}"), name)
    else:
        _measure(trained, case, place, watcher, outcome)
    return _record(case, place, outcome, started), outcome.arrays


def _train(case: Case, place: Place, watcher: Watcher, outcome: Outcome) -> Checkpoint | None:
    """The trained model, or None with the reason in `outcome`."""
    try:
        trained = train_or_load(
            case.spec,
            place.data,
            case.recipe,
            seed=case.seed,
            device=place.device,
            progress=watcher.training,
            use_cache=place.use_cache,
        )
    except Diverged as diverged:
        outcome.fail("diverged", str(diverged))
        _keep_history(diverged.history, outcome)
        return None
    except LatentbenchError as error:
        outcome.fail("skipped", str(error))
        return None
    except Exception as error:
        _report(error, "training", watcher, outcome)
        return None
    outcome.train_seconds = trained.card.train_seconds
    _keep_history(trained.history, outcome)
    return trained


def _measure(trained: Checkpoint, case: Case, place: Place, watcher: Watcher, outcome: Outcome) -> None:
    """Every analysis in turn; one that fails leaves its metrics null and the others alone."""
    subject = Subject(
        trained.model,
        place.context,
        seed=derive(case.seed, "measure"),
        # A copy, since steps change the weights.
        train_step=copy.deepcopy(trained.model).train_step(case.recipe),
    )
    began = time.perf_counter()
    for name in case.analyses:
        watcher.measuring(name)
        try:
            outcome.add(ANALYSES[name].measure(subject), name)
        except Exception as error:
            _report(error, name, watcher, outcome)
            outcome.add(ANALYSES[name].all_missing(f"failed: {_one_line(error)}"), name)
    outcome.evaluate_seconds = time.perf_counter() - began


def _keep_history(history: History, outcome: Outcome) -> None:
    outcome.arrays.update({f"history/{name}": values for name, values in history.terms.items()})


def _report(error: Exception, during: str, watcher: Watcher, outcome: Outcome) -> None:
    status: Status = "out_of_memory" if _is_out_of_memory(error) else "failed"
    reason = f"{during}: {_one_line(error)}"
    outcome.fail(status, reason)
    watcher.problem(reason, "".join(traceback.format_exception(error)))


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has an exception of its own; torch's CPU allocator only a message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _record(case: Case, place: Place, outcome: Outcome, started: str) -> Record:
    return Record(
        suite=place.suite,
        run=place.run,
        case=case.id,
        model=case.spec,
        data=DataReference(
            name=place.data.name,
            fingerprint=place.data.fingerprint,
            train=len(place.data.train),
            test=len(place.data.test),
        ),
        recipe=case.recipe,
        seed=case.seed,
        analyses=case.analyses,
        status=outcome.status,
        reason=outcome.reason,
        metrics=tuple(outcome.metrics),
        environment=place.environment,
        code=code(),
        started=started,
        seconds=Seconds(train=outcome.train_seconds, evaluate=outcome.evaluate_seconds),
    )
