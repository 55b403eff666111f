"""The training of cases, alone or as one stack; an error becomes the status of the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latentbench.analysis.core.data_context import DataContext
from latentbench.bench.run.journal import TRAINING, Journal, JournalStep
from latentbench.bench.run.stages.progress import Progress, failed_by, now
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.cache import CacheError
from latentbench.models.checkpoint import Checkpoint
from latentbench.models.training.history import Diverged
from latentbench.models.zoo import can_stack, train_or_load, train_or_load_stack

HISTORY = "history/"
"""The beginning of the names of a training's arrays."""


@dataclass(frozen=True)
class TrainingOptions:
    """The options of training; none of them changes the identity of a case."""

    use_cache: bool = True
    stacked: bool = False
    """True if models that share a shape are trained as one."""


def train(
    progresses: Sequence[Progress], context: DataContext, *, options: TrainingOptions, journal: Journal
) -> list[Progress]:
    """Train the models of cases, or load them from the cache; models that share a shape as one stack.

    Raises CacheError if the models cannot be stored, and nothing else.
    """
    began = now()
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
        steps = [JournalStep(name=TRAINING, started=began, **failed_by(TRAINING, error))] * len(progresses)
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
