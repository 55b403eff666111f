"""The registry of analyses: each takes a Subject and returns a Measurement."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from latentbench.analysis.core.data_context import batch_size
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.core.test_pass import TestPass
from latentbench.data.images import ImageData
from latentbench.data.registry import Registry


@dataclass(frozen=True)
class Measurement:
    """The metrics of one analysis, and small arrays from which the figures are drawn."""

    metrics: tuple[Metric, ...]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    examples: dict[str, np.ndarray] = field(default_factory=dict)
    """The value for each of the n test images `[n]`, by metric: bool for hit or miss, else float.

    Two models are compared image by image from these; a metric that is not a mean over images has none.
    """
    clusters: dict[str, np.ndarray] = field(default_factory=dict)
    """The cluster of each example, int64 `[n]`, by metric, if examples of one cluster are not independent."""


Part = TypeVar("Part")


@dataclass(frozen=True)
class SharedPass(Generic[Part]):
    """A pass over the test images that several workers can share, each with some of its batches.

    All of it are functions of a module, so that it can travel to a worker.
    """

    name: str
    """The work on the images in words, for the user."""
    batches: Callable[[ImageData], int]
    """Counts the batches, which are the most shards; 0 if no analysis uses the pass on these data."""
    part: Callable[[Subject, int, int], Part | None]
    """Computes shard i of k; None if no analysis uses the pass for this model."""
    joined: Callable[[Sequence[Part]], Part]
    """Joins the parts of all shards, in order: equal to the part of shard 0 of 1."""
    give: Callable[[Subject, Part], None]
    """Lets a subject use the result in place of its own pass."""


def _test_batches(data: ImageData) -> int:
    return math.ceil(len(data.test) / batch_size(data.image_shape))


def _give_tested(subject: Subject, tested: TestPass) -> None:
    subject.tested = tested


TESTED = SharedPass("encoding and decoding", _test_batches, Subject.pass_over, TestPass.joined, _give_tested)
"""The pass whose result is `Subject.tested`."""


@dataclass(frozen=True)
class Analysis:
    """A named set of measurements: `measure(subject)` gives every metric in `metrics`, in order."""

    name: str
    metrics: tuple[MetricDefinition, ...]
    measure: Callable[[Subject], Measurement]
    exclusive: bool = False
    """True if it needs the machine to itself, as a timing does."""
    opt_in: bool = False
    """True if it takes minutes: a suite runs it only if the suite names it (opt-in)."""
    needs_judge: bool = False
    """True if it needs the judge of the data, which then has to be trained."""
    passes: tuple[SharedPass[Any], ...] = (TESTED,)
    """The passes over the test images whose results it uses."""

    def all_missing(self, reason: str, features: Sequence[str] = ()) -> Measurement:
        """Return every metric as null for one reason, also in each of the named features."""
        metrics = (metric for definition in self.metrics for metric in definition.expanded(features))
        return Measurement(tuple(metric.missing(reason) for metric in metrics))


ANALYSES: Registry[Analysis] = Registry("analysis")


def analysis(
    name: str,
    metrics: Sequence[MetricDefinition],
    *,
    exclusive: bool = False,
    opt_in: bool = False,
    needs_judge: bool = False,
    passes: tuple[SharedPass[Any], ...] = (TESTED,),
) -> Callable[[Callable[[Subject], Measurement]], Callable[[Subject], Measurement]]:
    """Register the decorated function as the analysis `name`, which measures `metrics`.

    If it raises Unmeasurable, all of them are null for that reason.
    """

    def decorator(measure: Callable[[Subject], Measurement]) -> Callable[[Subject], Measurement]:
        @functools.wraps(measure)
        def measure_or_say_why_not(subject: Subject) -> Measurement:
            try:
                return measure(subject)
            except Unmeasurable as reason:
                return ANALYSES[name].all_missing(str(reason), subject.context.feature_names)

        ANALYSES.register(name)(
            Analysis(
                name, tuple(metrics), measure_or_say_why_not, exclusive, opt_in, needs_judge, passes=passes
            )
        )
        return measure_or_say_why_not

    return decorator
