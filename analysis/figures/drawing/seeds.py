"""Several seeds of one model: the one that a figure shows, or their mean with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.statistics import estimates
from latentbench.analysis.statistics.estimates import Estimate


def by_model(models: Sequence[ModelResult]) -> list[list[ModelResult]]:
    """Group the seeds of each model, lowest first; models in order of appearance."""
    groups: dict[str, list[ModelResult]] = {}
    for model in models:
        groups.setdefault(model.label, []).append(model)
    return [sorted(group, key=lambda model: model.seed) for group in groups.values()]


def lowest_seeds(models: Sequence[ModelResult], *arrays: str) -> list[ModelResult]:
    """Return each model once: its lowest seed that has all of `arrays`; other models are left out."""
    having = [model for model in models if all(name in model.arrays for name in arrays)]
    return [group[0] for group in by_model(having)]


def estimate(seeds: Sequence[ModelResult], metric: str) -> Estimate | None:
    """Estimate a metric over the seeds of one model; None if no seed has a value."""
    return estimates.estimate(model.metrics[metric] for model in seeds if metric in model.metrics)
