"""The effect of each single difference between two protocols on a metric, for given images and a model."""

from __future__ import annotations

from dataclasses import dataclass

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.features.request import FeatureRequest, parse
from latentbench.analysis.protocols.measured import ProtocolMeasured, measure_under
from latentbench.analysis.protocols.protocol import MetricName, Protocol, network_of


@dataclass(frozen=True)
class Step:
    """A metric under the first protocol with one field of the second, whose choices are `a` and `b`."""

    field: str
    a: str
    b: str
    metric: Metric


@dataclass(frozen=True)
class Explanation:
    """A metric under two protocols, and the effect of each difference by itself."""

    first: Metric
    second: Metric
    steps: tuple[Step, ...]

    def change(self, metric: Metric) -> float | None:
        """Return how far a metric is from its value under the first protocol; None without both."""
        if metric.value is None or self.first.value is None:
            return None
        return metric.value - self.first.value

    @property
    def together(self) -> float | None:
        """The change by all differences together beyond the sum of their single effects."""
        total = self.change(self.second)
        single = [self.change(step.metric) for step in self.steps]
        known = [change for change in single if change is not None]
        return None if total is None or len(known) < len(single) else total - sum(known)


def explain(a: Protocol, b: Protocol, metric: MetricName, subject: ProtocolMeasured) -> Explanation:
    """Measure a metric under both protocols, and under the first with each single field of the second.

    A field on which the metric does not depend is left out.
    """
    steps = []
    for name in a.differences(b, metric):
        found = measure_under(a.with_field(b, name), metric, subject)
        steps.append(Step(name, shown(a, name), shown(b, name), found))
    return Explanation(measure_under(a, metric, subject), measure_under(b, metric, subject), tuple(steps))


def shown(protocol: Protocol, field: str) -> str:
    """Return a protocol's choice as text.

    >>> shown(Protocol(), "resize"), shown(Protocol(), "rounded"), shown(Protocol(), "clamped")
    ('bicubic', 'psnr, ssim, lpips, rfid', 'none')
    """
    value = getattr(protocol, field)
    text = (", ".join(value) or "none") if isinstance(value, tuple) else str(value)
    return f"{text} (batches of {protocol.batch})" if field == "averaged_by_batch" and value else text


def requests_of(
    protocols: tuple[Protocol, ...], metric: MetricName, given: tuple[FeatureRequest, ...] = ()
) -> tuple[FeatureRequest, ...]:
    """Return the networks that a metric needs under some protocols; those `given` name their local files."""
    files = {request.name: request for request in given}
    names = dict.fromkeys(network_of(metric, protocol) for protocol in protocols)
    return tuple(files.get(name, parse(name)) for name in names if name is not None)
