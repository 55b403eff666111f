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

from latentbench.analysis.core.metric import Metric
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


def difference(values: Sequence[float]) -> float:
    """The first value, less all others."""
    first, *others = values
    return math.fsum([first, *(-other for other in others)])


def error_of_difference(terms: Sequence[Metric], errors: Sequence[float | None]) -> float | None:
    """The standard error of the first term less the others, from theirs; None if none is known.

    The same judges see all terms and err alike in them, so what they add is the spread of the differences by
    judge, in place of the part that `over_judges` added to each term. Everything else is taken as
    independent, which makes the error rather too large.
    """
    known = [error for error in errors if error is not None]
    if not known:
        return None
    judges = {len(metric.by_judge) for metric in terms}
    if len(terms) < 2 or len(judges) > 1 or judges == {0}:
        return math.hypot(*known)
    of_judges = judge_error([difference(values) for values in zip(*(m.by_judge for m in terms), strict=True)])
    parts = map(error_of_images, terms, errors)
    return math.hypot(*(part for part in parts if part is not None), of_judges)


def error_of_images(metric: Metric, error: float | None) -> float | None:
    """A standard error of a metric without the part that `over_judges` added to it."""
    return None if error is None else math.sqrt(max(0.0, error**2 - judge_error(metric.by_judge) ** 2))


def _mean_error(errors: Sequence[float | None]) -> float | None:
    """The mean of the errors that are known."""
    known = [error for error in errors if error is not None]
    return math.fsum(known) / len(known) if known else None
