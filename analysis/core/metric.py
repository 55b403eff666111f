"""A metric: its definition, declared once next to its formula, and its measured value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from latentbench.analysis.features.request import Measures, measures, variant
from latentbench.analysis.statistics.intervals import as_normal, binomial_se, clustered_se, standard_error
from latentbench.data.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Better = Literal["higher", "lower", "neither"]
Doubt = Literal["contended", "collapsed"]
"""The reason why a value must not decide anything.

`contended` means that other work disturbed a timing, `collapsed` that a model's samples lack variety, which
the metric does not see.
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured number. If `value` is None, `reason` states why.

    A value with a `doubt` is shown but decides nothing: no gate, ranking or recommendation uses it. Its
    `reason` states what disturbed it.

    `se` is the standard error of `value`, None if no valid one exists; `n` the number of
    images, samples or repetitions behind it. `common_se` is the part of `se` that all seeds of a model share,
    such as that of the test images: averaging over seeds does not reduce it. Half of a 95 % interval is 1.96
    standard errors.
    """

    name: str
    version: int
    value: float | None
    se: float | None
    n: int | None
    unit: str
    better: Better
    reason: str | None = None
    doubt: Doubt | None = None
    common_se: float | None = None
    by_judge: tuple[float, ...] = ()
    """The value by each judge, of which `value` is the mean; empty where no judge has a part in it."""

    @property
    def decisive(self) -> float | None:
        """The value; None if it is missing or doubtful."""
        return self.value if self.doubt is None else None

    def doubted(self, doubt: Doubt, reason: str) -> Metric:
        """Return the same metric with a doubt about its value; a null stays unchanged."""
        return self if self.value is None else replace(self, doubt=doubt, reason=reason)


@dataclass(frozen=True)
class MetricDefinition:
    """The definition of a metric. A changed definition raises `version`; two versions are never compared."""

    name: str
    unit: str
    better: Better
    title: str
    """One short sentence for a table's legend, which starts with the quantity."""
    version: int = 1
    heading: str = ""
    """Short column heading; the name where empty."""
    tolerance: float = 0.01
    """Relative difference below which two runs of the same seed count as the same."""
    headline: bool = False
    """Shown in the terminal's table; the others are in the CSV, the Markdown and the report."""
    decimals: int = 3
    per: Measures | None = None
    """The kind of features that it is measured once for each of; see `of`."""
    timed: bool = False
    """Depends on other work on the machine, so that one process says little about the next."""

    def of(self, feature: str) -> MetricDefinition:
        """Return the metric in the features of a network by its name: `rfid` becomes `rfid (inception)`."""
        return self.labelled(variant(feature))

    def labelled(self, label: str) -> MetricDefinition:
        """Return the metric with a label in brackets after its name and heading."""
        return replace(
            self,
            name=f"{self.name} ({label})",
            heading=f"{self.heading or self.name} ({label})",
            title=f"{self.title.removesuffix('.')}: {label}.",
            per=None,
        )

    def expanded(self, features: Iterable[str]) -> tuple[MetricDefinition, ...]:
        """Return the metric for each of the named features that it can be measured in; else itself."""
        if self.per is None:
            return (self,)
        return tuple(self.of(feature) for feature in features if measures(feature) == self.per)

    def measured(
        self, value: float, *, se: float | None = None, n: int | None = None, common_se: float | None = None
    ) -> Metric:
        """Return the metric with a value; null with a reason if that is not finite.

        An error that is not finite is not known, and neither is one of 0, which would claim certainty.
        """
        if not math.isfinite(value):
            return self.missing(f"not finite ({value})", n=n)
        se, common_se = (error if error and math.isfinite(error) else None for error in (se, common_se))
        return Metric(
            self.name, self.version, float(value), se, n, self.unit, self.better, common_se=common_se
        )

    def share(self, hits: Tensor, clusters: Tensor | None = None) -> Metric:
        """Return the share of hits among the test images, in [0, 1], from bool `[N]`, N ≥ 1.

        Its standard error is binomial (`binomial_se`). With `clusters`, int64 `[N]`, images of one cluster
        may be alike (`clustered_se`).
        """
        if clusters is not None:
            return self.mean(hits, clusters)
        count, n = int(hits.sum()), len(hits)
        se = binomial_se(count, n)
        return self.measured(count / n, se=se, n=n, common_se=se)

    def mean(self, values: Tensor, clusters: Tensor | None = None) -> Metric:
        """Return the mean of a value for each image, `[N]`, N ≥ 1; every seed uses the same images.

        With `clusters`, int64 `[N]`, images of one cluster may be alike (`clustered_se`).
        """
        se = common = standard_error(values) if clusters is None else clustered_se(values, clusters)
        if clusters is not None and se is not None:
            common = as_normal(se, len(clusters.unique()) - 1)
        return self.measured(values.double().mean().item(), se=se, n=len(values), common_se=common)

    def difference(self, minuend: Metric, subtrahend: Metric, *, n: int | None) -> Metric:
        """Return minuend − subtrahend, of independent errors; null if either is missing or in doubt."""
        for part in (minuend, subtrahend):
            if part.decisive is None:
                return self.missing(part.reason or f"no {part.name}")
        assert minuend.value is not None
        assert subtrahend.value is not None
        known = minuend.se is not None and subtrahend.se is not None
        error = math.hypot(minuend.se or 0.0, subtrahend.se or 0.0) if known else None
        return self.measured(minuend.value - subtrahend.value, se=error, n=n)

    def missing(self, reason: str, *, n: int | None = None) -> Metric:
        """Return the metric as null, with the reason."""
        return Metric(self.name, self.version, None, None, n, self.unit, self.better, reason)


class Unmeasurable(ValueError):
    """The error of an analysis with nothing to measure; its message becomes the reason of its metrics."""


NOT_FINITE = "codes hold values that are not finite"
"""The reason of a metric if an encoder gives non-finite numbers."""


def finite(codes: Tensor, reason: str = NOT_FINITE) -> Tensor:
    """Return the same codes. Raises Unmeasurable for non-finite values, which would spoil any result."""
    # The extremes are NaN if any value is; `isfinite` would make several copies of large codes.
    if codes.numel() and not all(bound.isfinite() for bound in codes.aminmax()):
        raise Unmeasurable(reason)
    return codes


def base_name(name: str) -> str:
    """Return the name of a metric without the features that it is measured in.

    >>> base_name("rfid (inception)"), base_name("psnr")
    ('rfid', 'psnr')
    """
    return name.partition(" (")[0]


def in_features(definitions: Mapping[str, MetricDefinition], name: str) -> MetricDefinition | None:
    """Return the definition of `rfid (inception)`, made from that of `rfid`; None if there is none."""
    base, mark, label = name.partition(" (")
    definition = definitions.get(base)
    if definition is None or definition.per is None or not mark:
        return definitions.get(name)
    return definition.labelled(label.removesuffix(")"))


class Metrics(Registry[MetricDefinition]):
    """The registry of metrics, which also knows those of features, such as `rfid (inception)`."""

    @override
    def __getitem__(self, name: str) -> MetricDefinition:
        return in_features(dict(self.items()), name) or super().__getitem__(name)

    @override
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and in_features(dict(self.items()), name) is not None


METRICS = Metrics("metric")


def define(
    name: str,
    *,
    title: str,
    unit: str = "",
    better: Better = "neither",
    version: int = 1,
    heading: str = "",
    tolerance: float = 0.01,
    headline: bool = False,
    decimals: int = 3,
    per: Measures | None = None,
    timed: bool = False,
) -> MetricDefinition:
    """Register the definition of a metric and return it."""
    definition = MetricDefinition(
        name, unit, better, title, version, heading, tolerance, headline, decimals, per, timed
    )
    return METRICS.register(name)(definition)


define_accuracy = partial(define, unit="accuracy", better="higher")
"""Register the definition of an accuracy; takes what `define` takes."""
define_cost = partial(define, tolerance=0.25)
"""Register the definition of a cost of computing; other versions of a library need more or less memory."""
define_speed = partial(define_cost, timed=True)
"""Register the definition of a timing; its tolerance is wide, because no machine repeats one exactly."""
