"""The judges of a data set as one ruler: a metric is the mean over them, and its error holds their spread.

Let k judges measure v_1 … v_k of the same images. They differ in the seed of their training alone, so the
mean over k judges differs from that over all such judges by Student's t (k − 1 degrees of freedom) times
s / √k, with s the standard deviation of the v's. That error is common to all seeds of a
model: other seeds are seen by the same judges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.features.judge import JudgedImages
from latentbench.analysis.statistics.intervals import NORMAL_95, mean_interval


def judge_error(values: Sequence[float]) -> float:
    """The error of a mean over k judges, t_{0.975, k − 1} s / (1.96 √k): 1.96 of it make a 95 % interval.

    0 for a single judge, whose error is not known.

    >>> round(judge_error([1.0, 2.0, 3.0]) * 1.96, 3)  # 4.303 / √3
    2.484
    """
    if len(values) < 2:
        return 0.0
    low, high = mean_interval(values)
    return (high - low) / 2 / NORMAL_95


def over_judges(metrics: Sequence[Metric]) -> Metric:
    """One metric as measured by each judge, to their mean.

    Its standard error is √(e² + j²): e is the mean of the errors that the judges state, since they see the
    same images and err together; j is `judge_error`. The part that seeds share has j too. Null, or doubted,
    where it is so by any judge.
    """
    first = metrics[0]
    values = [metric.value for metric in metrics if metric.value is not None]
    if len(values) < len(metrics):
        return next(metric for metric in metrics if metric.value is None)
    doubted = next((metric for metric in metrics if metric.doubt is not None), first)
    spread = judge_error(values)
    se = _mean_error([metric.se for metric in metrics])
    common = _mean_error([metric.common_se for metric in metrics])
    return replace(
        first,
        value=math.fsum(values) / len(values),
        se=None if se is None else math.hypot(se, spread),
        common_se=math.hypot(common or 0.0, spread) if common or spread else None,
        by_judge=tuple(values),
        doubt=doubted.doubt,
        reason=doubted.reason,
    )


def _mean_error(errors: Sequence[float | None]) -> float | None:
    """The mean of the errors that are known: a share of 0 or 1 states none, and has less than the others."""
    known = [error for error in errors if error is not None]
    return math.fsum(known) / len(known) if known else None


def joint_predictions(views: Sequence[JudgedImages]) -> Tensor:
    """The class that the judges together find most probable, int64 `[N]`."""
    return torch.stack([view.probabilities for view in views]).mean(0).argmax(1)
