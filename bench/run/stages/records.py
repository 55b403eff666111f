"""The record of a case that went through all stages."""

from __future__ import annotations

from pathlib import Path

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.core.metric import base_name
from latentbench.bench.provenance.code import code
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import TRAINING, JournalStep
from latentbench.bench.run.stages.progress import Progress
from latentbench.bench.run.stages.training import HISTORY
from latentbench.bench.store.records.record import Record, Seconds
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.data.errors import LatentbenchError
from latentbench.models import checkpoint as checkpoints
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.training.convergence import still_falling
from latentbench.models.training.history import History
from latentbench.models.zoo import takes_seed


def record(
    progress: Progress, image_shape: ImageShape, *, suite: str, run: str, environment: str, threads: int
) -> Record:
    """Return the record of a case on images `(C, H, W)`, its metrics in the order of the tables."""
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
        still_falling=_still_falling(case, _history(training), image_shape),
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


def _still_falling(case: Case, history: History, image_shape: ImageShape) -> bool | None:
    loss = history.terms.get("loss")
    if loss is None:
        return None
    return still_falling(case.spec.loss_from_zero(loss, image_shape), case.recipe)


def _history(training: JournalStep) -> History:
    """Return what was recorded of a training."""
    recorded = training.arrays.items()
    return History.of_arrays({name.removeprefix(HISTORY): array for name, array in recorded})
