"""Several seeds of one model: the one a picture shows, or their mean with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentbench.analysis.figures.drawing.registry import Pictured
from latentbench.analysis.statistics.intervals import mean_interval


@dataclass(frozen=True)
class Estimate:
    """A value with half of its 95 % interval: 0 where there is no honest one."""

    value: float
    half_width: float


def by_model(models: Sequence[Pictured]) -> list[list[Pictured]]:
    """The seeds of each model together, lowest first; models in order of appearance."""
    groups: dict[str, list[Pictured]] = {}
    for model in models:
        groups.setdefault(model.label, []).append(model)
    return [sorted(group, key=lambda model: model.seed) for group in groups.values()]


def lowest_seeds(models: Sequence[Pictured], *arrays: str) -> list[Pictured]:
    """Each model once: its lowest seed that has all of `arrays`; models without are left out."""
    having = [model for model in models if all(name in model.arrays for name in arrays)]
    return [group[0] for group in by_model(having)]


def estimate(seeds: Sequence[Pictured], metric: str) -> Estimate | None:
    """A metric over the seeds of one model, None where no seed has it.

    The interval is Student's t over seeds; 1.96 standard errors of the one measurement for one seed.
    """
    measured = [m for model in seeds if (m := model.metrics.get(metric)) is not None and m.value is not None]
    values = [m.value for m in measured if m.value is not None]
    if not values:
        return None
    if len(values) == 1:
        return Estimate(values[0], 1.96 * (measured[0].se or 0.0))
    low, high = mean_interval(values)
    return Estimate(math.fsum(values) / len(values), (high - low) / 2)
