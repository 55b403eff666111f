"""The measuring of trained cases; an error becomes the status of the step.

Timing needs the machine to itself, so `exclusive` analyses run one case at a time, before the others.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.registry import Measurement
from latentbench.analysis.core.subject import Subject
from latentbench.bench.executors.protocol import Died
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import TRAINING, Arrays, Journal, JournalStep
from latentbench.bench.run.stages.progress import Progress, failed_by, now, one_line
from latentbench.bench.store.records.per_example import packed
from latentbench.bench.store.records.record import JudgeReference
from latentbench.models import checkpoint as checkpoints
from latentbench.models.protocols import Encoder, ImageCodec, ImageTextModel
from latentbench.models.seeds import derive


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
        for shared, result in progress.passed:
            shared.give(subject, result)
    except Exception as error:
        failure = failed_by("loading the trained model", error)
        for name in names:
            why = f"not measured: {failure['reason']}"
            progress.steps[name] = _without_numbers(name, progress.case, why, **failure)
        return progress
    for name in names:
        progress.steps[name] = journal.keep(progress.case, _analysed(name, subject))
    progress.passed = []
    return progress


def pass_over_shard(
    progresses: Sequence[Progress], context: DataContext, *, journal: Journal
) -> list[Progress]:
    """Do a part of a pass over the test images, for each case that names one.

    A case that fails has no result: measuring it then fails in the same way, and says why.
    """
    del journal
    for progress in progresses:
        shard = progress.shard
        assert shard is not None
        with suppress(Exception):
            subject = _subject(progress.case, progress.steps[TRAINING], context)
            progress.shard = replace(shard, found=shard.shared.part(subject, shard.number, shard.of))
    return list(progresses)


def _analysed(name: str, subject: Subject) -> JournalStep:
    started, began = now(), time.perf_counter()
    failure: dict[str, Any] = {}
    try:
        measurement = ANALYSES[name].measure(subject)
    except Exception as error:
        measurement = ANALYSES[name].all_missing(f"failed: {one_line(error)}", subject.context.feature_names)
        failure = failed_by(name, error)
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
    return JournalStep(name=name, started=now(), metrics=missing.metrics, **failure)


def killed(progress: Progress, died: Died, step: str, journal: Journal) -> Progress:
    """Record that the process of a step died, as the outcome of that step."""
    failure: dict[str, Any] = {
        "status": "out_of_memory" if died.out_of_memory else "failed",
        "reason": f"{step}: {died}",
    }
    outcome = (
        JournalStep(name=step, started=now(), **failure)
        if step == TRAINING
        else _without_numbers(step, progress.case, f"failed: {died}", **failure)
    )
    progress.steps[step] = journal.keep(progress.case, outcome)
    return progress


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
