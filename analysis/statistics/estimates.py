"""The one estimate of a metric: its value, half of its 95 % interval, and the repetitions behind it.

Tables, figures, the report, claims and exports all use it, so that an interval is the same everywhere and
a missing error is shown as missing everywhere.

Over S seeds with values x_s, an interval has two parts. What differs between trainings is in the spread s of
the values. What all seeds share, such as the test images, is not: each x_s is off by the same amount, whose
standard error c_s each measurement states (`common_se`). So half of the 95 % interval is

    √(max(t_{S−1} s / √S, 1.96 m / √S)² + 1.96² · mean(c_s²)).

m² = mean(e_s² − c_s²) is the part of the stated errors e_s (`se`) that seeds do not share: values cannot
vary by less than they are measured. Without it, seeds that all read 0, as a value that is cut off there often
does, would claim certainty. Equal values without any stated error have no interval.

It covers in 95 % of cases or more, where Satterthwaite's degrees of freedom would give 87 % at two seeds. The
part of an image's error that differs between trainings is in both terms: the interval is rather too wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from latentbench.analysis.statistics.intervals import NORMAL_95, mean_interval

Repeated = Literal["seeds", "examples"]
TIED = 1e-12
"""Values that vary by less, relative to their size, are equal except for rounding."""


class MeasuredValue(Protocol):
    """A metric of one seed; `analysis.core.metric.Metric` is one."""

    @property
    def version(self) -> int: ...  # noqa: D102

    @property
    def value(self) -> float | None: ...  # noqa: D102

    @property
    def se(self) -> float | None: ...  # noqa: D102

    @property
    def n(self) -> int | None: ...  # noqa: D102

    @property
    def common_se(self) -> float | None: ...  # noqa: D102


MetricT = TypeVar("MetricT", bound=MeasuredValue)


@dataclass(frozen=True)
class Estimate:
    """A value with half of its 95 % interval.

    `repeated` is `seeds` where the value is the mean of `n` trainings, `examples` where the interval is over
    the `n` images or samples of one measurement, and None for a measurement without one. `half_width` is
    None where the error is not known, also if `n` trainings gave the same value and stated no error.
    `common` is the half width that would remain after any number of seeds, None if that is unknown.
    """

    value: float
    half_width: float | None = None
    n: int | None = None
    repeated: Repeated | None = None
    common: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the interval."""
        if self.half_width is None:
            return None
        return self.value - self.half_width, self.value + self.half_width

    @property
    def error_bar(self) -> float:
        """The half width for matplotlib: NaN, for which nothing is drawn, if there is none."""
        return math.nan if self.half_width is None else self.half_width

    def scaled(self, factor: float) -> Estimate:
        """Return the same estimate in another unit, `factor` > 0."""
        width, common = (None if each is None else factor * each for each in (self.half_width, self.common))
        return Estimate(factor * self.value, width, self.n, self.repeated, common)

    def overlaps(self, other: Estimate) -> bool:
        """Return True if the two intervals share a point; an estimate without an interval is a point."""
        return abs(self.value - other.value) <= (self.half_width or 0.0) + (other.half_width or 0.0)


def estimate(seeds: Iterable[MeasuredValue]) -> Estimate | None:
    """Estimate a metric over the seeds of one model; None if no seed has a value.

    Over several seeds with a value it is their mean, and its interval includes what the seeds share. A single
    seed keeps its value ± 1.96 standard errors. The part of the error that seeds share is used instead if it
    is larger, as it is when few clusters were measured. Only the newest version of the metric counts.
    """
    measured = [metric for metric in newest(seeds) if metric.value is not None]
    values = [metric.value for metric in measured if metric.value is not None]
    if not values:
        return None
    if len(values) > 1:
        return of_seeds(
            values,
            typical_error(metric.common_se for metric in measured),
            typical_error(map(error_of_one_seed, measured)),
        )
    errors = [error for error in (measured[0].se, measured[0].common_se) if error is not None]
    return of_one(values[0], max(errors, default=None), measured[0].n)


def typical_error(errors: Iterable[float | None]) -> float | None:
    """Return one standard error for several seeds: the root mean square of those that are known, if any."""
    known = [error for error in errors if error is not None]
    return math.sqrt(math.fsum(error**2 for error in known) / len(known)) if known else None


def error_of_one_seed(metric: MeasuredValue) -> float | None:
    """Return the part of a metric's standard error that other seeds do not share; None if it is not known."""
    if metric.se is None:
        return None
    return math.sqrt(max(metric.se**2 - (metric.common_se or 0.0) ** 2, 0.0))


def newest(seeds: Iterable[MetricT]) -> list[MetricT]:
    """Return the metrics of the newest version among them."""
    metrics = list(seeds)
    version = max((metric.version for metric in metrics), default=0)
    return [metric for metric in metrics if metric.version == version]


def of_seeds(
    values: Sequence[float], common_se: float | None = None, own_se: float | None = None
) -> Estimate:
    """Average over two or more seeds, whose values share an error with this standard error.

    `own_se` is the typical standard error of one value that the others do not share.

    >>> found = of_seeds([1.0, 2.0, 3.0])
    >>> found.value, round(found.half_width, 3), found.n, found.repeated
    (2.0, 2.484, 3, 'seeds')
    >>> round(of_seeds([1.0, 2.0, 3.0], common_se=1.0).half_width, 3)
    3.164
    >>> round(of_seeds([0.0, 0.0, 0.0, 0.0], own_se=0.1).half_width, 3), of_seeds([1.0, 1.0]).half_width
    (0.098, None)
    """
    n, mean = len(values), math.fsum(values) / len(values)
    low, high = mean_interval(values)
    measured = NORMAL_95 * (own_se or 0.0) / math.sqrt(n)
    common = None if common_se is None else NORMAL_95 * common_se
    width = math.hypot(max((high - low) / 2, measured), common or 0.0)
    certain = width <= TIED * max(map(abs, values))
    return Estimate(mean, None if certain else width, n, "seeds", common)


def of_one(value: float, se: float | None, n: int | None) -> Estimate:
    """Estimate from one measurement on `n` examples, with 1.96 of its standard errors; 0 is none.

    >>> of_one(0.5, 0.1, 100)
    Estimate(value=0.5, half_width=0.196, n=100, repeated='examples', common=None)
    >>> of_one(0.5, None, 100)
    Estimate(value=0.5, half_width=None, n=100, repeated=None, common=None)
    """
    if not se:
        return Estimate(value, None, n)
    return Estimate(value, NORMAL_95 * se, n, "examples")
