"""The input of a figure, and the registry of figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.figure
import numpy as np

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.performance.point import SweepPoint
from latentbench.data.registry import Registry
from latentbench.models.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One model, trained from one seed, as the figures receive it.

    Keys of `arrays` are analysis and name, such as `reconstruction/originals`. Models with an equal `label`
    are the same model from different seeds.
    """

    label: str
    spec: ModelSpec
    seed: int
    metrics: dict[str, Metric]
    arrays: Mapping[str, np.ndarray]
    point: SweepPoint | None = None
    """The point of a sweep at which it was timed; None outside of a sweep."""

    def value(self, metric: str) -> float | None:
        """Return a metric's value; None if it is null or was not measured."""
        return self.metrics[metric].value if metric in self.metrics else None


Draw = Callable[[Sequence[ModelResult]], matplotlib.figure.Figure | None]


@dataclass(frozen=True)
class Figure:
    """A kind of figure. `draw` returns None if the models have no data for it."""

    name: str
    title: str
    caption: str
    """The content of the figure, and how to read it."""
    draw: Draw


FIGURES: Registry[Figure] = Registry("figure")


def figure(name: str, *, title: str, caption: str) -> Callable[[Draw], Draw]:
    """Register the decorated function as the figure `name`."""

    def decorator(draw: Draw) -> Draw:
        FIGURES.register(name)(Figure(name, title, caption, draw))
        return draw

    return decorator
